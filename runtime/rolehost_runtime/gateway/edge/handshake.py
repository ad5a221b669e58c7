"""What a client asks for when it opens a socket. Pure: request line and headers in, `Opening` out."""

import base64
import hashlib
import re
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

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455: what a server adds to the client's key, to show that it knows what it answers."""
TAKEN = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{}\r\n"
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_WORDS = re.compile(r"[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*[ \t]*")

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


def answer(method: str, headers: Headers) -> tuple[bool, bytes]:
    """Whether this is a WebSocket handshake, and the answer to it. `role.v1` is taken where it is offered; a key that
    rides beside it is never sent back.

    >>> asked = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")]
    >>> taken, said = answer("GET", [*asked, ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")])
    >>> taken, said.split(b"\\r\\n")[3]
    (True, b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    >>> answer("GET", asked)[0]
    False
    """
    why, key = _no_handshake(method, headers)
    if why:
        body = f"this is not a WebSocket handshake: {why}\n"
        head = (
            f"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}"
        )
        return False, f"{head}\r\nSec-WebSocket-Version: 13\r\n\r\n{body}".encode()
    proof = base64.b64encode(hashlib.sha1((key + MAGIC).encode(), usedforsecurity=False).digest()).decode()
    ours = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n" if SUBPROTOCOL in _subprotocols(headers) else ""
    return True, TAKEN.format(proof, ours).encode()


def _no_handshake(method: str, headers: Headers) -> tuple[str, str]:
    """What is missing or wrong, in a word, and the client's key. That it asks for an upgrade to a WebSocket is known."""
    keys = [value for name, value in headers if name == "sec-websocket-key"]
    if method != "GET":
        return "its method is not GET", ""
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return "Sec-WebSocket-Key is no key", ""
    if [value for name, value in headers if name == "sec-websocket-version"] != ["13"]:
        return "Sec-WebSocket-Version is not 13", ""
    names = [name for name, _ in headers]
    if names.count("origin") > 1 or names.count("upgrade") > 1:
        return "a header is there twice", ""
    for name, value in headers:
        if name == "sec-websocket-protocol" and not _WORDS.fullmatch(value):
            return "Sec-WebSocket-Protocol is no list of words", ""
    return "", keys[0]


def dialect(headers: Headers) -> Dialect:
    return Dialect.ROLE_V1 if SUBPROTOCOL in _subprotocols(headers) else Dialect.BARE


def packed(target: str) -> bool:
    """The client wants msgpack. Known before anything else, so that a refusal is told in it too.

    >>> packed("/role/cat?fmt=msgpack"), packed("/role/cat")
    (True, False)
    """
    query = target.partition("?")[2]
    if "msgpack" not in query and "%" not in query:  # as in nearly all
        return False
    try:
        return dict(_pairs(query)).get("fmt") == "msgpack"
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
    _without_key(query)


def _without_key(query: str) -> list[tuple[str, str]]:
    pairs = _pairs(query)
    if any(name.lower() in KEY_PARAMETERS for name, _ in pairs):
        raise BadRequest(
            "a key in the URL is not accepted; it would end in logs, so treat it as leaked",
            hint="Send 'Authorization: Bearer …' or the subprotocol 'bearer.…'",
            code="key_in_url",
        )
    return pairs


def opening(target: str, headers: Headers) -> Opening:
    """Read the request for a socket. Raises BadRequest, or NotFound for a path that has no sockets."""
    path, _, query = target.partition("?")
    given = dict(_without_key(query))
    if not path.startswith(PREFIX):
        raise NotFound("there are no sockets at this path", hint="Connect to /role/{name}", code="path_not_found")
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
