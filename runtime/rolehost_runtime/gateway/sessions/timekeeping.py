"""Whose timers are due: every gateway looks at the lists of all Roles that have any, and takes what is its own to take.

A session is its owner's: it fires what is due in it. One whose owner is gone is anybody's, and whoever claims it first takes
it over as it would for a client's word. So no two gateways answer in one session, and where two believe they may, the fence
lets one of them commit.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.record import CorruptRecord
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.sessions.firing import Looked
from rolehost_runtime.gateway.tables import RoleEntry, Tables
from rolehost_runtime.gateway.timers import KNOWN_SECONDS, Due

TICK_SECONDS = 1.0
LOOK_SECONDS = 5.0
"""Between two looks at one Role's list, more or less."""
INDEX_SECONDS = 30.0
"""Between two looks at which Roles have timers."""
CLAIM_MS = 60_000
"""After so long a claim whose holder said nothing more is anybody's."""
AWAY_SECONDS = 10.0
"""Nothing is looked at for so long after the store did not answer."""
LOOKED = 64
"""Sessions of one Role looked at in one go."""
AT_ONCE, AT_ONCE_OF_TENANT = 64, 8
"""Sessions whose timers are being looked at."""
PER_MINUTE = 600
"""Of one tenant, in this gateway; what is over it is due a little later."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Allowance:
    """How many timers of a tenant's may go off."""

    per_minute: int = PER_MINUTE
    _minute: int = 0
    _spent: Counter[str] = field(default_factory=Counter)

    def spend(self, tenant_uid: str, now_ms: int) -> bool:
        """One more, if there may be.

        >>> allowance = Allowance(per_minute=2)
        >>> [allowance.spend("t", 0), allowance.spend("t", 1), allowance.spend("t", 2), allowance.spend("u", 2)]
        [True, True, False, True]
        >>> allowance.spend("t", 60_000)
        True
        """
        if now_ms // 60_000 != self._minute:
            self._minute = now_ms // 60_000
            self._spent.clear()
        if self._spent[tenant_uid] >= self.per_minute:
            return False
        self._spent[tenant_uid] += 1
        return True


class TimerSink(Protocol):
    """Where it is counted."""

    def looked(self, outcome: str) -> None:
        """A value of Looked, or the code of an error."""


class NoTimerSink:
    """Counts nothing."""

    def looked(self, outcome: str) -> None:
        """Nothing."""


Fire = Callable[[RoleEntry, Whose, str], Awaitable[Looked]]


class Timekeeper:
    """A feed of the gateway."""

    def __init__(
        self,
        tables: Tables,
        store: SessionStore,
        fire: Fire,
        owners: Callable[[], Collection[str]],
        now_ms: Callable[[], int],
        sink: TimerSink | None = None,
        *,
        look_seconds: float = LOOK_SECONDS,
        allowance: Allowance | None = None,
    ) -> None:
        """`fire` looks at one session's timers; `owners` are the other gateways that are alive."""
        self._tables, self._store, self._fire, self._owners = tables, store, fire, owners
        self._now_ms, self._sink = now_ms, sink or NoTimerSink()
        self._look_seconds = look_seconds
        self._allowance = allowance or Allowance()
        self._timed: Mapping[tuple[str, str], int] = {}
        self._index_at = 0.0
        self._at: dict[tuple[str, str], float] = {}
        """When which Role's list is looked at next, by the loop's clock."""
        self._looking: dict[str, asyncio.Task[None]] = {}
        """By session."""
        self._of_tenant: Counter[str] = Counter()

    async def run(self) -> None:
        """For as long as the gateway lives."""
        try:
            while True:
                pause = min(TICK_SECONDS, self._look_seconds)
                try:
                    await self.tick()
                except RolehostError as error:
                    self._sink.looked(error.code)
                    pause = AWAY_SECONDS
                except Exception as error:
                    faults.internal(log, "looking at timers", error)
                    pause = AWAY_SECONDS
                await asyncio.sleep(pause)
        finally:
            left = tuple(self._looking.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def tick(self) -> None:
        """Begin to look at what is due. Raises Unavailable `state_unavailable`."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._index_at:
            self._timed = await self._store.timed_roles()
            self._index_at = loop.time() + min(INDEX_SECONDS, 2 * self._look_seconds)
        now_ms = self._now_ms()
        for role in tuple(self._tables.roles.values()):
            place = (role.tenant.uid, role.name)
            if now_ms - self._timed.get(place, -1000 * KNOWN_SECONDS) >= 1000 * KNOWN_SECONDS:
                continue
            if loop.time() < self._at.get(place, 0.0):
                continue
            self._at[place] = loop.time() + self._look_seconds * (0.75 + random.random() / 2)  # noqa: S311
            for due in await self._store.due_timers(*place, now_ms, LOOKED):
                self._begin(role, due, now_ms)

    async def idle(self) -> None:
        """Until nothing is being looked at."""
        while self._looking:
            await asyncio.wait(tuple(self._looking.values()))

    def _begin(self, role: RoleEntry, due: Due, now_ms: int) -> None:
        tenant = role.tenant.uid
        whose = Whose(tenant, role.name, due.row.user)
        key = whose.key(due.row.session_id)
        full = len(self._looking) >= AT_ONCE or self._of_tenant[tenant] >= AT_ONCE_OF_TENANT
        if key in self._looking or full or not self._allowance.spend(tenant, now_ms):
            return
        self._of_tenant[tenant] += 1
        self._looking[key] = task = asyncio.create_task(self._look(role, whose, due, now_ms), name="timer")
        task.add_done_callback(lambda _: self._over(key, tenant))

    def _over(self, key: str, tenant: str) -> None:
        del self._looking[key]
        self._of_tenant[tenant] -= 1
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]

    async def _look(self, role: RoleEntry, whose: Whose, due: Due, now_ms: int) -> None:
        try:
            looked = await self._looked(role, whose, due, now_ms)
            if looked is not None:
                self._sink.looked(looked.value)
        except RolehostError as error:  # it is due again when the claim is over
            self._sink.looked(error.code)
        except Exception as error:
            faults.internal(log, "looking at a session's timers", error)

    async def _looked(self, role: RoleEntry, whose: Whose, due: Due, now_ms: int) -> Looked | None:
        """None: it is another's to look at."""
        session_id = due.row.session_id
        try:
            fence = await self._store.fence(whose.key(session_id))
        except CorruptRecord:  # it is said by whoever speaks in it
            await self._store.claim_timers(whose, due, now_ms + CLAIM_MS)
            raise
        if fence is None:
            await self._store.drop_timers(whose, session_id)
            return Looked.GONE
        if not fence.ours and fence.owner in self._owners():
            return None
        if not await self._store.claim_timers(whose, due, now_ms + CLAIM_MS):
            return None
        return await self._fire(role, whose, session_id)
