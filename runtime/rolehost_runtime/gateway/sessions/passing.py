"""A session that nobody keeps: its client tells the past itself, and its turns are in no log."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolehost_api.errors import RolehostError
from rolehost_api.wire import HeardPart, Said
from rolehost_runtime.core.channels import Word
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.memory.atoms import Changes
from rolehost_runtime.core.merge import Stored
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.gateway.kept import Beginning, Gone, Row, Whose
from rolehost_runtime.gateway.ports import NOBODY, Channel, Compensation, Head, Kept, Principal, Shared, ignore
from rolehost_runtime.gateway.sessions.live import LiveSession, Place, Start
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RoleEntry
from rolehost_runtime.gateway.timers import Due

DURABILITY = "none"
"""What session.created says of such a session."""


class NoLibrary:
    """Implements kept.Library and memories.MemoryStore, for what nobody keeps."""

    async def enlist(
        self, whose: Whose, session_id: str, began_ms: int, active: Active | None = None, *, promised: bool = True
    ) -> None:
        """Nobody would find it."""

    async def delist(self, whose: Whose, session_id: str) -> None:
        """It is not there."""

    async def claim(self, tenant_uid: str, role: str, seconds: int) -> bool:
        return False

    async def claim_unit(self, unit: str, seconds: int) -> bool:
        return False

    async def activity(self, tenant_uid: str, role: str, rows: Sequence[Row]) -> Sequence[Active | None]:
        return [None] * len(rows)

    async def sample(self, tenant_uid: str, role: str, count: int) -> tuple[int, Sequence[Row]]:
        return 0, ()

    async def rows(self, tenant_uid: str, role: str, user: str | None, after: Row | None, count: int) -> Sequence[Row]:
        return ()

    async def draft(self, key: str, records: Sequence[Record]) -> None:
        """Nothing is kept."""

    async def found(self, key: str, beginning: Beginning, keep_seconds: int = 0) -> None:
        """Nothing is kept."""

    async def forget(self, key: str, receipt: str) -> Gone | None:
        return None

    async def forget_user(self, tag: str) -> int:
        return 0

    async def memories(self, key: str, known: Stored) -> Stored:
        return {}

    async def change_memories(self, key: str, changes: Changes, keep_seconds: int = 0, *, renew: bool = False) -> int:
        return 0

    async def drop_memories(self, key: str) -> int:
        return 0

    async def keep_receipt(self, receipt: str, body: bytes) -> None:
        """There is none."""

    async def receipt(self, receipt: str) -> bytes | None:
        return None

    async def timers(self, whose: Whose, session_id: str) -> bytes:
        return b""

    async def set_timers(
        self, whose: Whose, session_id: str, before: bytes, body: bytes, at_ms: int | None, most: int = 0
    ) -> bool:
        return True

    async def due_timers(self, tenant_uid: str, role: str, now_ms: int, count: int) -> Sequence[Due]:
        return ()

    async def claim_timers(self, whose: Whose, due: Due, until_ms: int) -> bool:
        return False

    async def drop_timers(self, whose: Whose, session_id: str) -> bool:
        return False

    async def timed_roles(self) -> Mapping[tuple[str, str], int]:
        return {}

    async def note_timed(self, tenant_uid: str, role: str, now_ms: int) -> None:
        """Nothing is kept."""


class NoLog(NoLibrary):
    """Implements ports.SessionStore: takes everything and keeps nothing. A key is opened once."""

    async def open(
        self,
        key: str,
        yield_to: Collection[str] = (),
        given: Mapping[str, int] = NOBODY,
        newest: int = 0,
        mine: int = 0,
    ) -> tuple[Head, list[Record]]:
        return Head(secrets.token_hex(16), epoch=1, turn=0, seq=0, version=0, revision=""), []

    async def log_bytes(self, key: str) -> int:
        return 0

    async def head(self, key: str) -> Head | None:
        return None

    async def read(self, key: str, start: Position = (1, 0)) -> list[Record]:
        return []

    async def keep(self, key: str, snapshot: Snapshot) -> int:
        return 0

    async def kept(self, key: str) -> Kept | None:
        return None

    async def covered(self, key: str) -> Snapshot | None:
        return None

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        return []

    async def fence(self, key: str) -> Fence | None:
        return None

    async def rename(self, key: str, head: Head) -> Head:
        return head

    async def commit(self, key: str, record: Record, keep_seconds: int = 0) -> Shared | None:
        """Nothing is kept."""
        return None

    async def user(self, tag: str, known: Stored, keep_seconds: int = 0) -> Stored:
        return known

    async def compensations(self, tag: str, count: int) -> list[Compensation]:
        return []

    async def note(self, key: str, log_id: str, epoch: int, turn: int, opened: OpenTurn | None) -> bool:
        """Nobody takes it over, so it runs once."""
        return True


class PassingSeat:
    """Its one place. Implements ports.Seat."""

    def __init__(self, live: LiveSession, channel: Channel, start: Start) -> None:
        self._live, self._channel, self._start = live, channel, start

    async def say(self, said: Said, begun: Callable[[str], None] = ignore) -> None:
        accepted = Accepted(said, self._channel, asyncio.get_running_loop().time(), begun)
        await asyncio.shield(self._start(self._live, self._live.turns.say(accepted)))

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        await self._live.resume(self._channel, after_seq, whole=whole)

    def watch(self, word: Word) -> None:
        self._live.watch(self._channel, word)

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        await asyncio.shield(self._start(self._live, self._live.turns.cancel(response_id, heard)))

    def leave(self) -> None:
        self._live.leave(self._channel)


@dataclass(frozen=True, slots=True)
class Passing:
    """Implements handle.Seating for one handle: always here, whatever the other gateways do."""

    world: World
    """With NoLog for its store."""
    principal: Principal
    role: RoleEntry
    session_id: str
    key: str
    told: Told
    wanted: str
    start: Start
    errand: Callable[[Coroutine[Any, Any, None]], None]

    async def place(self, channel: Channel, moved: Callable[[], None]) -> PassingSeat:
        self.world.room.enter(self.role.tenant.uid, self.key, self.principal.end_user)
        live = LiveSession(self.world, self.principal, self.role, self.session_id, self.key, self.start, told=self.told)
        live.pinning.wanted = self.wanted
        await live.join(Place(channel, moved, guest=False), ())
        return PassingSeat(live, channel, self.start)

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        self.errand(work)

    def unheard(self, error: RolehostError) -> None:
        self.world.scores.refused(self.role.tenant, self.role.name, error)
