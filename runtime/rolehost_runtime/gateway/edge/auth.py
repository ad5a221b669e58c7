"""Who is speaking: from the presented key or token alone, never from anything else a client says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from rolehost_api.errors import Forbidden, Unauthorized
from rolehost_api.identity import key_hash, service_principal, user_id, user_principal
from rolehost_runtime.gateway.edge.tokens import PREFIX, Claims, signed, verified
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import KeyEntry, Scope, Table, Tenant

MAX_KEY_CHARS = 512
END_USER = frozenset({Scope.CHAT})
"""What a token may do: talk to its Role, and read its own sessions with it."""


class Authenticator(Protocol):
    tokens: "Tokens | None"
    """None: end users have none here."""

    def principal(self, key: str | None) -> Principal:
        """The owner of a key, or of an end user's token. Raises Unauthorized."""


@dataclass(frozen=True, slots=True)
class Minted:
    token: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """End users' tokens as one process signs and reads them."""

    key: bytes
    now_ms: Callable[[], int]

    def mint(self, issuer: Principal, role: str, user: str, ttl_s: int, sequence: int = 0) -> Minted:
        """A token for one end user, for one Role or (empty) all of the tenant's; with `sequence`, for that revision of it.

        Raises Forbidden where the issuer may not act as a user, BadRequest `invalid_user`.
        """
        require(issuer, Scope.ACT_AS_USER)
        now = self.now_ms()
        claims = Claims(
            issuer=bytes.fromhex(issuer.key_sha256),
            tenant_uid=issuer.tenant.uid,
            role=role,
            user=user_id(user),
            issued_ms=now,
            expires_ms=now + 1000 * ttl_s,
            sequence=sequence,
        )
        return Minted(signed(self.key, claims), claims.expires_ms)

    def read(self, token: str) -> Claims:
        return verified(self.key, token, self.now_ms())


class KeyAuth:
    """Keys by their SHA-256: a table lookup of a hash, so timing tells nothing about a key.

    A token is as good as the key that issued it: where that is gone, belongs to another tenant by now, or may not act
    as a user any more, so is the token.
    """

    def __init__(self, keys: Table[KeyEntry], tokens: Tokens | None = None) -> None:
        self._keys, self.tokens = keys, tokens

    def principal(self, key: str | None) -> Principal:
        if not key:
            raise Unauthorized(
                "a key is needed",
                hint="Send it as 'Authorization: Bearer …', from a browser as the subprotocol 'bearer.…'",
            )
        if self.tokens is not None and key.startswith(PREFIX):
            return self._end_user(self.tokens.read(key))
        digest = key_hash(key[:MAX_KEY_CHARS])
        entry = self._keys.get(digest)
        if entry is None:
            raise Unauthorized("the key is not known, or was revoked", hint="`rolehost keys create` issues one")
        return _service(entry)

    def _end_user(self, claims: Claims) -> Principal:
        entry = self._keys.get(claims.issuer.hex())
        if entry is None or entry.tenant.uid != claims.tenant_uid or Scope.ACT_AS_USER not in entry.scopes:
            raise Unauthorized(
                "the key that issued this token is not valid any more",
                hint="Ask your server for another token",
                code="token_revoked",
            )
        return end_user(entry.tenant, claims)


@lru_cache(maxsize=1024)
def _service(entry: KeyEntry) -> Principal:
    """Whom a key speaks for: one object for all of its sockets."""
    return Principal(
        tenant=entry.tenant, id=service_principal(entry.tenant.uid), scopes=entry.scopes, key_sha256=entry.sha256
    )


class OpenAuth:
    """Local mode: everybody on this machine is the one tenant, but for who comes with a token of this process."""

    def __init__(self, tenant: Tenant, tokens: Tokens | None = None) -> None:
        self._principal = Principal(tenant=tenant, id=service_principal(tenant.uid), scopes=frozenset(Scope))
        self.tokens = tokens

    def principal(self, key: str | None) -> Principal:
        if self.tokens is not None and key is not None and key.startswith(PREFIX):
            return end_user(self._principal.tenant, self.tokens.read(key))
        return self._principal


def end_user(tenant: Tenant, claims: Claims) -> Principal:
    """Whom a token speaks for."""
    return Principal(
        tenant=tenant,
        id=user_principal(tenant.uid, claims.user),
        scopes=END_USER,
        key_sha256=claims.issuer.hex(),
        user=claims.user,
        role=claims.role,
        revision=f"r{claims.sequence}" if claims.sequence else "",
        until_ms=claims.until_ms,
    )


def acting(principal: Principal, user: str | None) -> Principal:
    """The principal, or the end user that it says it acts for; who came with a token is themselves whatever they say.

    Raises Forbidden `user_not_allowed`, BadRequest `invalid_user`.
    """
    if user is None or principal.until_ms is not None:
        return principal
    if Scope.ACT_AS_USER not in principal.scopes:
        raise Forbidden(
            "this key may not say who the user is",
            hint="Use a key with scope act-as-user, or leave `user` out",
            code="user_not_allowed",
        )
    return replace(principal, id=user_principal(principal.tenant.uid, user_id(user)), user=user)


def seconds_left(principal: Principal, now_ms: int) -> float | None:
    """How long this principal may still be here; None where nothing ends it but its key."""
    return None if principal.until_ms is None else max(0.0, (principal.until_ms - now_ms) / 1000)


def require(principal: Principal, scope: Scope) -> None:
    """Raises Forbidden where the key lacks `scope`; `admin` has them all but `act-as-user`."""
    if scope not in principal.scopes and not (Scope.ADMIN in principal.scopes and scope is not Scope.ACT_AS_USER):
        raise Forbidden(f"the key lacks the scope '{scope.value}'", hint="`rolehost keys create --scope` gives one")
