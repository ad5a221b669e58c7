"""Whether a tenant may have one more session. Those that it has are never asked about.

Who opens a session waits for nobody: how many there are is known from a moment ago, and counted again beside it. Only a
tenant that is refused has the store asked whether the session is there already.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from rolehost_api.errors import Overloaded, RolehostError
from rolehost_runtime.core.shares import CROWDED_PERCENT
from rolehost_runtime.gateway.kept import MAX_KEPT, too_many_of_tenant
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.tables import Tables

COUNTED_MS = 10_000
"""How long a count is used. What a tenant opens meanwhile may be over its bound."""
RETRY_MS = 60_000
MAX_TENANTS = 4_096


class AdmissionSink(Protocol):
    """Where it is counted."""

    def refused(self, tenant: str, code: str) -> None: ...


class NoAdmissionSink:
    """Counts nothing."""

    def refused(self, tenant: str, code: str) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Counted:
    sessions: int
    at_ms: int


class Admission:
    def __init__(
        self,
        tables: Tables,
        store: SessionStore,
        now_ms: Callable[[], int],
        over: Callable[[], Collection[str]] = frozenset,
        most: int = MAX_KEPT,
        sink: AdmissionSink | None = None,
    ) -> None:
        """`over`: UIDs of the tenants that are over their share of a crowded store. `most`: sessions of one tenant."""
        self._tables, self._store, self._now_ms = tables, store, now_ms
        self._over, self._most, self._sink = over, most, sink or NoAdmissionSink()
        self._counts: dict[str, Counted] = {}
        self._counting: dict[str, asyncio.Task[None]] = {}

    async def admit(self, tenant_uid: str, key: str | None) -> None:
        """Nothing where this session is there, or may be begun; None: a new one.

        Raises Overloaded `tenant_over_share`, `tenant_sessions_full`.
        """
        refusal = self._refusal(tenant_uid)
        if refusal is None:
            return
        if key is not None and (head := await self._store.head(key)) is not None and not head.void:
            return
        self._sink.refused(self._name(tenant_uid), refusal.code)
        raise refusal

    def _refusal(self, tenant_uid: str) -> Overloaded | None:
        if tenant_uid in self._over():
            return over_its_share()
        counted = self._counts.get(tenant_uid)
        if counted is None or self._now_ms() - counted.at_ms >= COUNTED_MS:
            self._count(tenant_uid)
        return too_many_of_tenant(self._most) if counted is not None and counted.sessions >= self._most else None

    def _count(self, tenant_uid: str) -> None:
        if tenant_uid not in self._counting:
            self._counting[tenant_uid] = task = asyncio.create_task(self._counted(tenant_uid), name="counting")
            task.add_done_callback(lambda _: self._counting.pop(tenant_uid, None))

    async def _counted(self, tenant_uid: str) -> None:
        roles = [role.name for role in self._tables.roles.values() if role.tenant.uid == tenant_uid]
        try:
            counts = await asyncio.gather(*(self._store.sample(tenant_uid, role, 0) for role in roles))
        except RolehostError:
            return  # the last count stands
        while len(self._counts) >= MAX_TENANTS and tenant_uid not in self._counts:
            del self._counts[next(iter(self._counts))]
        self._counts[tenant_uid] = Counted(sum(many for many, _ in counts), self._now_ms())

    def _name(self, tenant_uid: str) -> str:
        tenants = (role.tenant for role in self._tables.roles.values() if role.tenant.uid == tenant_uid)
        return next((tenant.name for tenant in tenants), "")

    async def stop(self) -> None:
        """Count no more."""
        left = tuple(self._counting.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def over_its_share() -> Overloaded:
    refusal = Overloaded(
        f"the platform's store is {CROWDED_PERCENT} % full, and this tenant takes more than its share of it",
        hint="Sessions that are there go on. Forget some, or try again later; for the platform team: raise maxmemory",
        code="tenant_over_share",
    )
    refusal.retry_after_ms = RETRY_MS
    return refusal
