"""What a client asks for when it opens a socket. Pure: request line and headers in, `Opening` out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl, unquote

from rolehost_api import identity
from rolehost_api.errors import BadRequest, NotFound
from rolehost_api.wire import BEARER, HEARTBEAT_MS, SUBPROTOCOL
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry, Table

PREFIX = "/role/"
KEY_PARAMETERS = frozenset({"token", "access_token", "key", "api_key", "apikey", "authorization"})
MAX_REVISION_CHARS = 128
FORMATS = ("json", "msgpack")

Headers = Sequence[tuple[str, str]]
"""Lower-case names."""


class Dialect(Enum):
    """How a client speaks, by the subprotocol that it offers: (milliseconds between pings, how many missed = dead)."""

    BARE = (20_000, 2)
    ROLE_V1 = (HEARTBEAT_MS, 3)


@dataclass(frozen=True, slots=True)
class Address:
    """`name`, `tenant/name`, `name@revision`."""

    name: str
    tenant: str | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    address: Address
    dialect: Dialect
    session_id: str | None = None
    after_seq: int | None = None
    stream: bool = True
    user: str | None = None
    """Whom the caller acts for, where its key may."""


def address(raw: str) -> Address:
    """A Role's address out of a path. Raises BadRequest.

    >>> address("Storyteller@r3")
    Address(name='storyteller', tenant=None, revision='r3')
    >>> address("acme/cat").tenant
    'acme'
    """
    whole, _, revision = raw.partition("@")
    tenant, slash, name = whole.rpartition("/")
    if len(revision) > MAX_REVISION_CHARS or not revision.isascii() or "/" in tenant:
        raise BadRequest("the address is not name, tenant/name or name@revision", code="invalid_role_name")
    return Address(
        name=identity.role_name(name), tenant=identity.role_name(tenant) if slash else None, revision=revision
    )


def find_role(roles: Table[RoleEntry], principal: Principal, at: Address) -> RoleEntry:
    """The Role at that address, of this principal's own tenant only, and of the one that its token is for. Raises
    NotFound, the same for what is not there and for what is another's."""
    entry = roles.get(principal.tenant.name, at.name)
    if entry is None or not may_know(principal, entry) or at.tenant not in (None, principal.tenant.name):
        raise NotFound(
            "there is no Role at this address", hint="GET /v1/roles lists the Roles of your key", code="role_not_found"
        )
    return entry


def may_know(principal: Principal, role: RoleEntry) -> bool:
    return role.tenant == principal.tenant and principal.role in ("", role.name)


def roles_of(roles: Table[RoleEntry], principal: Principal) -> list[RoleEntry]:
    """All Roles that this principal may talk to, by name."""
    return sorted((role for role in roles.values() if may_know(principal, role)), key=lambda role: role.name)


def dialect(headers: Headers) -> Dialect:
    return Dialect.ROLE_V1 if SUBPROTOCOL in _subprotocols(headers) else Dialect.BARE


def packed(target: str) -> bool:
    """The client wants msgpack. Known before anything else, so that a refusal is told in it too.

    >>> packed("/role/cat?fmt=msgpack"), packed("/role/cat")
    (True, False)
    """
    try:
        return dict(_pairs(target.partition("?")[2])).get("fmt") == "msgpack"
    except BadRequest:
        return False


def presented_key(headers: Headers) -> str | None:
    """The key or token of `Authorization: Bearer`, or of the subprotocol `bearer.<key>`, which is how browsers can send one."""
    for name, value in headers:
        if name == "authorization":
            scheme, _, key = value.partition(" ")
            return key.strip() if scheme.lower() == "bearer" else None
    return next((word.removeprefix(BEARER) for word in _subprotocols(headers) if word.startswith(BEARER)), None)


def refuse_key_in_url(query: str) -> None:
    """Raises BadRequest `key_in_url`: URLs end in logs and histories. Its value is not repeated."""
    for name, _ in _pairs(query):
        if name.lower() in KEY_PARAMETERS:
            raise BadRequest(
                "a key in the URL is not accepted; it would end in logs, so treat it as leaked",
                hint="Send 'Authorization: Bearer …' or the subprotocol 'bearer.…'",
                code="key_in_url",
            )


def opening(target: str, headers: Headers) -> Opening:
    """Read the request for a socket. Raises BadRequest, or NotFound for a path that has no sockets."""
    path, _, query = target.partition("?")
    refuse_key_in_url(query)
    if not path.startswith(PREFIX):
        raise NotFound("there are no sockets at this path", hint="Connect to /role/{name}", code="path_not_found")
    given = dict(_pairs(query))
    if given.get("fmt", "json") not in FORMATS:
        raise BadRequest(f"fmt is one of {', '.join(FORMATS)}", code="format_not_supported")
    return Opening(
        address=address(unquote(path.removeprefix(PREFIX))),
        dialect=dialect(headers),
        session_id=identity.session_id(given["session_id"]) if "session_id" in given else None,
        after_seq=_after_seq(given["after_seq"]) if "after_seq" in given else None,
        stream=given.get("stream", "1") != "0",
        user=given.get("user"),
    )


def _after_seq(raw: str) -> int:
    if raw.isascii() and raw.isdigit() and len(raw) <= 15:
        return int(raw)
    raise BadRequest("after_seq is a number, 0 or more", code="invalid_after_seq")


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        raise BadRequest("the URL's query has more than 32 parameters", code="invalid_query") from None


def _subprotocols(headers: Headers) -> list[str]:
    return [word.strip() for name, value in headers if name == "sec-websocket-protocol" for word in value.split(",")]
