"""Who may send a bundle to a pod now. Pure: tickets in, tickets out.

Bounded are the transfers that run at a time, how many of them are one tenant's, and the
bytes of all bundles in memory; pods that wait for the same bundle share its bytes. Free
transfers go round the tenants, so that a tenant with five hundred pods holds up another
tenant's one by a transfer and not by five hundred; within a tenant, first come, first
served. Whoever's turn it is and finds too little memory waits for it and is overtaken by
nobody: a large bundle would wait for ever otherwise.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from rolehost_api.bundle import MAX_COMPRESSED

K = TypeVar("K", bound=Hashable)

TRANSFERS = 16
PER_TENANT = 8
"""One tenant's pods that read slowly leave the other half to everybody else."""
BYTES = 64 * 1_048_576


@dataclass(frozen=True, slots=True)
class Parcel:
    """A bundle as one tenant pushed it."""

    tenant: str
    digest: str


class Budget:
    """A bundle's size is known once it is fetched: until `weigh` it counts as the largest that there may be.

    >>> budget, small, other = Budget(transfers=2, bytes=10, largest=10), Parcel("a", "1"), Parcel("b", "2")
    >>> for ticket, parcel in [("a1", small), ("a2", small), ("b1", other)]: budget.join(ticket, parcel)
    >>> budget.admit()
    ['a1']
    >>> budget.weigh(small, 4); budget.admit()  # b is next in turn, and may need all ten
    []
    >>> budget.leave("a1"), budget.admit(), budget.waiting
    (True, ['b1'], 1)
    """

    def __init__(
        self,
        *,
        transfers: int = TRANSFERS,
        per_tenant: int = PER_TENANT,
        bytes: int = BYTES,
        largest: int = MAX_COMPRESSED,
    ) -> None:
        self._transfers, self._per_tenant, self._bytes, self._largest = transfers, per_tenant, bytes, largest
        self._lines: OrderedDict[str, OrderedDict[Hashable, Parcel]] = OrderedDict()
        """By tenant, the next in turn first; no line is empty."""
        self._moving: dict[Hashable, Parcel] = {}
        self._busy: Counter[str] = Counter()
        self._sizes: dict[Parcel, int] = {}
        self._shared: Counter[Parcel] = Counter()

    @property
    def waiting(self) -> int:
        """Tickets that are not admitted yet."""
        return sum(map(len, self._lines.values()))

    @property
    def held(self) -> int:
        """Bytes of the bundles in memory, or on their way there."""
        return sum(self._sizes.values())

    def join(self, ticket: Hashable, parcel: Parcel) -> None:
        """Wait in the tenant's line."""
        self._lines.setdefault(parcel.tenant, OrderedDict())[ticket] = parcel

    def admit(self) -> list[Hashable]:
        """Those that may start now, until they `leave`."""
        admitted: list[Hashable] = []
        while len(self._moving) < self._transfers and (tenant := self._next()) is not None:
            ticket, parcel = self._lines[tenant].popitem(last=False)
            self._lines.move_to_end(tenant)
            self._close_line(tenant)
            self._moving[ticket] = parcel
            self._busy[tenant] += 1
            self._shared[parcel] += 1
            self._sizes.setdefault(parcel, self._largest)
            admitted.append(ticket)
        return admitted

    def _next(self) -> str | None:
        """The tenant whose turn it is, if there is room for what it waits for."""
        for tenant, line in self._lines.items():
            if self._busy[tenant] < self._per_tenant:
                parcel = next(iter(line.values()))
                return tenant if self._fits(parcel) else None
        return None

    def _fits(self, parcel: Parcel) -> bool:
        return not self._sizes or parcel in self._sizes or self.held + self._largest <= self._bytes

    def weigh(self, parcel: Parcel, size: int) -> None:
        """An admitted parcel was fetched, and has so many bytes."""
        if parcel in self._sizes:
            self._sizes[parcel] = size

    def leave(self, ticket: Hashable) -> bool:
        """Sent, or given up. True: its parcel is needed by no other transfer, so let go of its bytes."""
        parcel = self._moving.pop(ticket, None)
        if parcel is None:
            for tenant, line in self._lines.items():
                if line.pop(ticket, None) is not None:
                    self._close_line(tenant)
                    break
            return False
        _take(self._busy, parcel.tenant)
        if _take(self._shared, parcel):
            return False
        del self._sizes[parcel]
        return True

    def _close_line(self, tenant: str) -> None:
        if not self._lines[tenant]:
            del self._lines[tenant]


def _take(counter: Counter[K], key: K) -> int:
    """One less; what is left."""
    counter[key] -= 1
    left = counter[key]
    if not left:
        del counter[key]
    return left
