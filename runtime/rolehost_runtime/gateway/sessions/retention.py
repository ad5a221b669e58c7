"""What is left of sessions that lasted their time: Redis deletes their keys by itself, this their segments and their rows.

About once an hour some gateway claims a Role's register and goes through it by the page. Where a row's session is not
there any more, and the register itself proves that it has lasted its time (`core.lapse`), its segments go, then the row: a
sweep that ended in the middle finds what it left. A session that was begun anew meanwhile keeps its row. One that is gone
before its time was lost by Redis: it is counted, said, and left alone.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.lapse import Active, Left, left_of
from rolehost_runtime.core.record import CorruptRecord
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.kept import Row, Whose
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.tables import RoleEntry, Tables

EVERY_SECONDS = 3_600
CLAIM_SECONDS = 3_000
"""Less than a round, so that whoever swept last may sweep next."""
ROWS = 64
"""Looked at in one tick."""
TICK_SECONDS = 1.0
IDLE_SECONDS = 30.0
Place = tuple[str, str]
"""The tenant's UID and the Role's name."""

log = logging.getLogger(__name__)


def jittered(seconds: float, at: float) -> float:
    """Between a half and one and a half of it: gateways that started together do not ask together.

    >>> jittered(3600, 0), jittered(3600, 0.5), jittered(3600, 1)
    (1800.0, 3600.0, 5400.0)
    """
    return seconds * (0.5 + at)


@dataclass(slots=True)
class Rounds:
    """When which Role's turn is."""

    at: dict[Place, int] = field(default_factory=dict)
    """When it is tried next, in ms."""

    def due(self, places: Collection[Place], now_ms: int, chance: Callable[[], float]) -> Place | None:
        """The one that has waited longest; its next time is an hour or so away, whatever comes of it. One that is new
        is first tried within an hour, and one that is gone is forgotten.

        >>> rounds = Rounds()
        >>> rounds.due([("t", "cat")], 0, lambda: 0.5), rounds.due([("t", "cat")], 1_800_000, lambda: 0.5)
        (None, ('t', 'cat'))
        >>> rounds.due([("t", "cat")], 1_800_001, lambda: 0.5), rounds.at
        (None, {('t', 'cat'): 5400000})
        """
        self.at = {
            place: self.at.get(place, now_ms + int(1000 * EVERY_SECONDS * chance())) for place in dict.fromkeys(places)
        }
        place = min(self.at, key=lambda one: self.at[one], default=None)
        if place is None or self.at[place] > now_ms:
            return None
        self.at[place] = now_ms + int(1000 * jittered(EVERY_SECONDS, chance()))
        return place


class RetentionSink(Protocol):
    """Where it is counted."""

    def swept(self, segments: int) -> None:
        """What was left of one session is gone, so many segments among it."""

    def not_swept(self, code: str) -> None: ...

    def missing(self, sessions: int) -> None:
        """So many are in the register and not in the store, long before their time."""


class NoRetentionSink:
    """Counts nothing."""

    def swept(self, segments: int) -> None:
        """Nothing."""

    def not_swept(self, code: str) -> None:
        """Nothing."""

    def missing(self, sessions: int) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One Role's register, gone through as far as that row."""

    role: RoleEntry
    after: Row | None = None
    missing: int = 0
    """Sessions found so far that the store lost."""


class Sweeper:
    def __init__(
        self,
        tables: Tables,
        store: SessionStore,
        archive: Archive | None,
        now_ms: Callable[[], int],
        sink: RetentionSink | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`chance` is between 0 and 1."""
        self._tables, self._store, self._archive, self._now_ms = tables, store, archive, now_ms
        self._sink, self._chance = sink or NoRetentionSink(), chance
        self._rounds = Rounds()
        self._sweep: Sweep | None = None

    async def run(self) -> None:
        """Sweep for as long as the gateway lives."""
        while True:
            try:
                pause = await self.tick(self._now_ms())
            except RolehostError as error:  # what is left is found in the next round
                self._sweep, pause = None, IDLE_SECONDS
                self._sink.not_swept(error.code)
            except Exception as error:
                self._sweep, pause = None, IDLE_SECONDS
                self._sink.not_swept(RolehostError.code)
                faults.internal(log, "sweeping what is left of old sessions", error)
            await asyncio.sleep(pause)

    async def tick(self, now_ms: int) -> float:
        """A little of the work; seconds until more of it. Raises Unavailable `state_unavailable`."""
        if self._sweep is None:
            roles = {(role.tenant.uid, role.name): role for role in self._tables.roles.values()}
            place = self._rounds.due(roles, now_ms, self._chance)
            if place is None:
                return IDLE_SECONDS
            if not await self._store.claim(*place, CLAIM_SECONDS):
                return TICK_SECONDS
            self._sweep = Sweep(roles[place])
        self._sweep = await self.page(self._sweep, now_ms)
        return TICK_SECONDS

    async def page(self, sweep: Sweep, now_ms: int) -> Sweep | None:
        """At most ROWS rows; where it goes on, None at the register's end."""
        role = sweep.role
        place = (role.tenant.uid, role.name)
        rows = await self._store.rows(*place, None, sweep.after, ROWS)
        said = await self._store.activity(*place, rows)
        there = await asyncio.gather(*(self._there(Whose(*place, row.user).key(row.session_id)) for row in rows))
        missing = 0
        for row, active, lives in zip(rows, said, there, strict=True):
            whose = Whose(*place, row.user)
            match left_of(active, lives, now_ms):
                case Left.UNDATED:
                    now = Active(now_ms, role.spec.sessions.retention_seconds)
                    await self._store.enlist(whose, row.session_id, row.began_ms, now)
                case Left.MISSING:
                    missing += 1
                case Left.LAPSED:
                    await self._clean_or_later(whose, row.session_id, now_ms)
                case Left.KEPT:
                    pass
        self._sink.missing(missing)
        missing += sweep.missing
        if len(rows) == ROWS:
            return Sweep(role, rows[-1], missing)
        if missing:
            log.error(
                "%d sessions of Role %s/%s are on its list and not in Redis, long before their time; nothing of them "
                "was deleted: see docs/operating.md, How long what is kept",
                missing,
                role.tenant.name,
                role.name,
            )
        return None

    async def _clean_or_later(self, whose: Whose, session_id: str, now_ms: int) -> None:
        try:
            await self._clean(whose, session_id, now_ms)
        except RolehostError as error:
            if error.code == "state_unavailable":
                raise
            self._sink.not_swept(error.code)  # its row stays, and it is found in the next round

    async def _clean(self, whose: Whose, session_id: str, now_ms: int) -> None:
        """Segments first, the row last. Raises Unavailable `archive_unavailable` and `state_unavailable`."""
        key, segments = whose.key(session_id), 0
        while True:
            if await self._there(key):
                return
            gone = await self._archive.clear_some(whose.tenant_uid, key) if self._archive is not None else 0
            if not gone:
                break
            segments += gone
        await self._store.delist(whose, session_id)
        self._sink.swept(segments)
        if await self._there(key):  # begun anew just now, and found its old row
            await self._store.enlist(whose, session_id, now_ms, Active.begun(now_ms))

    async def _there(self, key: str) -> bool:
        try:
            return await self._store.head(key) is not None
        except CorruptRecord:
            return True
