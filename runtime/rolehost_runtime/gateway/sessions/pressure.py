"""Whether the store is short of memory, and which tenants take no new sessions then.

Every gateway looks for itself, every few seconds and beside the turns. Only while the store is crowded it asks what each
tenant takes: of each Role how many sessions there are, and of a few of them at random what their logs take. That is an
estimate. It misses snapshots and what a person's sessions share, and where few sessions are large and most are small it may
be wrong by a factor of two; who is ten times as large as another one is told from it for sure.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.shares import over_share, room_of
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.tables import RoleEntry, Tables

EVERY_SECONDS = 5.0
MEASURED_MS = 30_000
"""How long an estimate of what tenants take is used."""
SAMPLE = 16
"""Sessions of a Role whose logs are looked at."""
SESSION_BYTES = 4_096
"""What a session takes beside its log: its keys, its head, its row."""
AT_ONCE = 16
"""Roles that are asked about at once."""

log = logging.getLogger(__name__)


class Pressure:
    """A feed of the gateway. While the store does not answer, the last word stands."""

    def __init__(
        self,
        tables: Tables,
        store: SessionStore,
        memory: Callable[[], Awaitable[tuple[int, int]]],
        now_ms: Callable[[], int],
        told: Callable[[int], None] = lambda tenants: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`memory`: bytes that the store's fullest server uses, and may use (0: no bound). `told`: how many tenants take
        no new sessions. `chance` is between 0 and 1."""
        self._tables, self._store, self._memory, self._now_ms = tables, store, memory, now_ms
        self._told, self._chance = told, chance
        self._usages: Counter[str] = Counter()
        self._measured_ms: int | None = None
        self.over: frozenset[str] = frozenset()
        """UIDs of the tenants that take no new sessions now."""

    async def run(self) -> None:
        """Look for as long as the gateway lives."""
        while True:
            try:
                await self.look()
            except RolehostError:
                pass  # that it is away is told elsewhere
            except Exception as error:
                faults.internal(log, "looking at the store's memory", error)
            await asyncio.sleep(EVERY_SECONDS * (0.5 + self._chance()))

    async def look(self) -> None:
        """Once. Raises Unavailable `state_unavailable`."""
        used, bound = await self._memory()
        over: frozenset[str] = frozenset()
        if bound and used > room_of(bound):
            now_ms = self._now_ms()
            if self._measured_ms is None or now_ms - self._measured_ms >= MEASURED_MS:
                self._usages, self._measured_ms = await self._measure(), now_ms
            over = over_share(self._usages, used, bound)
        if bool(over) != bool(self.over):
            word = "takes no new sessions of %d tenants that are over their share" if over else "has room again"
            log.warning("the store %s", word % len(over) if over else word)
        self.over = over
        self._told(len(over))

    async def _measure(self) -> Counter[str]:
        """By tenant's UID, what its sessions take, more or less."""
        usages: Counter[str] = Counter()
        roles = tuple(self._tables.roles.values())
        for start in range(0, len(roles), AT_ONCE):
            some = roles[start : start + AT_ONCE]
            for role, usage in zip(some, await asyncio.gather(*map(self._usage, some)), strict=True):
                usages[role.tenant.uid] += usage
        return usages

    async def _usage(self, role: RoleEntry) -> int:
        place = (role.tenant.uid, role.name)
        many, rows = await self._store.sample(*place, SAMPLE)
        heads = await asyncio.gather(
            *(self._store.log_bytes(Whose(*place, row.user).key(row.session_id)) for row in rows)
        )
        return estimate(many, heads)


def estimate(many: int, sample: Sequence[int]) -> int:
    """What so many sessions take, if the others are as those of the sample: bytes of their logs.

    >>> estimate(100, [1_000, 3_000]), estimate(100, []), estimate(0, [])
    (609600, 409600, 0)
    """
    mean = sum(sample) // len(sample) if sample else 0
    return many * (SESSION_BYTES + mean)
