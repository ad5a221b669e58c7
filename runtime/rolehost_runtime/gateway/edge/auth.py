"""Who is speaking: from the presented key alone, never from anything else a client says."""

from typing import Protocol

from rolehost_api.errors import Forbidden, Unauthorized
from rolehost_api.identity import key_hash, service_principal
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import KeyEntry, Scope, Table, Tenant

MAX_KEY_CHARS = 512


class Authenticator(Protocol):
    def principal(self, key: str | None) -> Principal:
        """The owner of `key`. Raises Unauthorized."""


class KeyAuth:
    """Keys by their SHA-256: a table lookup of a hash, so timing tells nothing about a key."""

    def __init__(self, keys: Table[KeyEntry]) -> None:
        self._keys = keys

    def principal(self, key: str | None) -> Principal:
        if not key:
            raise Unauthorized(
                "a key is needed",
                hint="Send it as 'Authorization: Bearer …', from a browser as the subprotocol 'bearer.…'",
            )
        digest = key_hash(key[:MAX_KEY_CHARS])
        entry = self._keys.get(digest)
        if entry is None:
            raise Unauthorized("the key is not known, or was revoked", hint="`rolehost keys create` issues one")
        return Principal(
            tenant=entry.tenant, id=service_principal(entry.tenant.uid), scopes=entry.scopes, key_sha256=digest
        )


class OpenAuth:
    """Local mode: everybody on this machine is the one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self._principal = Principal(tenant=tenant, id=service_principal(tenant.uid), scopes=frozenset(Scope))

    def principal(self, key: str | None) -> Principal:
        return self._principal


def require(principal: Principal, scope: Scope) -> None:
    """Raises Forbidden where the key lacks `scope`; `admin` has them all but `act-as-user`."""
    if scope not in principal.scopes and not (Scope.ADMIN in principal.scopes and scope is not Scope.ACT_AS_USER):
        raise Forbidden(f"the key lacks the scope '{scope.value}'", hint="`rolehost keys create --scope` gives one")
