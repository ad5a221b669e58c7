"""Tenants' budgets as this gateway spends them: leases cut from the store's counter, see core.models.budget."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import Overloaded, RolehostError
from rolehost_runtime.core.models.budget import Amount, Lease, bound_of, day_of, wanted
from rolehost_runtime.gateway.ports import TokenLedger

ASK_AGAIN_MS = 5000
"""A budget that was found spent is not asked for again so soon, unless it was changed."""


@dataclass(slots=True)
class _Purse:
    day: int
    lease: Lease = field(default_factory=Lease)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    spent_bound: Amount | None = None
    """Of this bound nothing was left."""
    ask_at_ms: int = 0


@dataclass(slots=True)
class Reservation:
    """What one call may take; settled once."""

    lease: Lease
    need: Amount
    is_open: bool = True

    def settle(self, spent: Amount) -> None:
        if self.is_open:
            self.is_open = False
            self.lease.settle(self.need, spent)


class Purses:
    """By tenant and backend. What is left of leases goes back when the gateway stops."""

    def __init__(self, ledger: TokenLedger, now_ms: Callable[[], int]) -> None:
        self._ledger, self._now_ms = ledger, now_ms
        self._purses: dict[tuple[str, str], _Purse] = {}

    async def reserve(
        self, tenant_uid: str, tenant: str, backend: str, spec: BackendSpec, need: Amount
    ) -> Reservation | None:
        """None: there is no bound. Raises Overloaded `budget_exhausted`, or Unavailable `state_unavailable`."""
        bound = bound_of(spec.budget_of(tenant))
        if bound == Amount():
            return None
        day, left_ms = day_of(self._now_ms())
        purse = self._purse(tenant_uid, backend, day)
        if not purse.lease.reserve(need, bound):
            async with purse.asking:
                await self._fill(purse, tenant_uid, backend, need, bound, left_ms)
        return Reservation(purse.lease, need)

    async def _fill(
        self, purse: _Purse, tenant_uid: str, backend: str, need: Amount, bound: Amount, left_ms: int
    ) -> None:
        """Take a lease and reserve from it; who waited for another's may find it large enough."""
        lease, now_ms = purse.lease, self._now_ms()
        if lease.reserve(need, bound):
            return
        if purse.spent_bound == bound and now_ms < purse.ask_at_ms:
            raise exhausted(left_ms)
        want = wanted(bound, lease.short(need))
        granted = await self._ledger.take(tenant_uid, backend, purse.day, want, bound)
        lease.grant(granted)
        if granted != want:
            purse.spent_bound, purse.ask_at_ms = bound, now_ms + ASK_AGAIN_MS
        if not lease.reserve(need, bound):
            raise exhausted(left_ms)

    def _purse(self, tenant_uid: str, backend: str, day: int) -> _Purse:
        found = self._purses.get((tenant_uid, backend))
        if found is None or found.day != day:
            self._purses = {key: one for key, one in self._purses.items() if one.day == day}
            found = self._purses[tenant_uid, backend] = _Purse(day)
        return found

    async def close(self) -> None:
        """Give back what is left, as far as the store can be told."""
        for (tenant_uid, backend), purse in self._purses.items():
            left = Amount(*(-max(0, part) for part in purse.lease.left))
            if left == Amount():
                continue
            try:
                await self._ledger.take(tenant_uid, backend, purse.day, left, Amount())
            except RolehostError:
                return  # what is not given back counts as spent until the day ends
        self._purses.clear()


def exhausted(left_ms: int) -> Overloaded:
    error = Overloaded(
        "this tenant's budget for the model is spent",
        hint="It is new at 00:00 UTC; the platform's team may raise it in the ModelBackend",
        code="budget_exhausted",
    )
    error.retry_after_ms = left_ms
    return error
