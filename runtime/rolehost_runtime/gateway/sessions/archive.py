"""Taking old records out of sessions' logs: into segments of the archive, so that Redis holds what is recent.

Whoever knows that nobody needs a log's begin any more says so by `offer`, which never waits; `run` does the work beside
the turns. A segment is written, read back, and compared; only then its records leave the log, by the same call that
notes where they are. Death at any moment leaves each record in the log or behind its segment's name, never in neither:
at worst an object is written that nobody refers to. The next run writes one of the same name, or another owner's deletes
it (`orphans`).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rolehost_api.errors import Conflict, RolehostError
from rolehost_runtime.core.record import CorruptRecord, Position
from rolehost_runtime.core.segment import Entry, Segment, Shelved, folder, pack, readable, room_for, unpack
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.orphans import Orphans, named

MAX_WAITING = 4096
"""Sessions that wait for their turn; the oldest offer is forgotten then, and comes again with the next snapshot."""
AT_ONCE = 2
PAGE = 8
"""Entries read at once: each may be over 1 MiB."""
CLEARED_AT_ONCE = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Old:
    """Which records of a session may leave its log."""

    tenant_uid: str
    key: str
    log_id: str
    epoch: int
    """Of the owner who says so: once there is another one, nothing goes."""
    before: Position
    """What is here or later stays: restoring the session reads it."""


class ArchiveSink(Protocol):
    """Where it is counted."""

    def archived(self, records: int, size: int) -> None:
        """A segment of so many bytes has taken so many records; 0 bytes: they are nowhere any more."""

    def not_archived(self, code: str) -> None: ...


class NoArchiveSink:
    """Counts nothing."""

    def archived(self, records: int, size: int) -> None:
        """Nothing."""

    def not_archived(self, code: str) -> None:
        """Nothing."""


class Archive:
    def __init__(self, past: Past, *, forget: bool = False, sink: ArchiveSink | None = None) -> None:
        """`forget`: where there is no object store, what nobody needs for restoring leaves the log all the same, and
        history ends there. By default it stays."""
        self.past = past
        self._forget = forget
        self._sink = sink or NoArchiveSink()
        self._orphans = Orphans()
        self._waiting: OrderedDict[str, Old] = OrderedDict()
        self._rung = asyncio.Event()

    @property
    def takes(self) -> bool:
        """Whether anything that is offered would go at all."""
        return self.past.segments is not None or self._forget

    def offer(self, old: Old) -> None:
        """These may go, when there is time. The newest word for a session counts."""
        if not self.takes:
            return
        self._waiting[old.key] = old
        self._waiting.move_to_end(old.key)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        self._rung.set()

    async def run(self) -> None:
        """Move what is offered, for as long as the gateway lives."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._rung.clear()
                await self._rung.wait()
            _, old = self._waiting.popitem(last=False)
            try:
                await self.move(old)
            except Conflict:
                continue  # the session has another owner, who will say what may go
            except RolehostError as error:
                self._sink.not_archived(error.code)
            except Exception as error:
                self._sink.not_archived(RolehostError.code)
                faults.internal(log, "archiving a session's log", error)

    async def move(self, old: Old) -> int:
        """How many records have left the log now. Said again, it goes on where it was.

        Raises Conflict `superseded` where the session is another owner's, CorruptRecord where a record cannot be read
        (it stays, and all after it) or a segment is not what was written, Unavailable `archive_unavailable`.
        """
        moved, after_seq = 0, None
        while entries := await self._oldest(old):
            after_seq = await asyncio.to_thread(readable, entries, after_seq)
            await self._orphans.clear(self.past, old.tenant_uid, old.key, old.log_id, old.epoch)
            first, last = entries[0].position, entries[-1].position
            name, size = await self._kept(old, entries)
            try:
                shortened = await self.past.log.shorten(old.key, old.log_id, old.epoch, first, last, name)
            except Conflict:  # another owner's by now, or forgotten
                await self._discard(old.key, name)
                raise
            if not shortened:
                break
            self._sink.archived(len(entries), size)
            moved += len(entries)
        return moved

    async def _discard(self, key: str, name: str) -> None:
        """What was just written, and will never be named; unless it was, and only the answer was lost before another
        owner came."""
        if name and self.past.segments is not None and not await named(self.past, key, Shelved.of(name)):
            await self.past.segments.delete([name])

    async def clear(self, tenant_uid: str, key: str) -> int:
        """Delete all segments of a session that is to be forgotten, orphans too; how many there were.

        Raises Unavailable `archive_unavailable`; said again, it goes on.
        """
        gone = 0
        while some := await self.clear_some(tenant_uid, key):
            gone += some
        return gone

    async def clear_some(self, tenant_uid: str, key: str) -> int:
        """The same for at most CLEARED_AT_ONCE of them; 0 where none is left."""
        store = self.past.segments
        names = await store.list(folder(tenant_uid, key), CLEARED_AT_ONCE) if store is not None else ()
        if store is not None and names:
            await store.delete(names)
        return len(names)

    async def _oldest(self, old: Old) -> list[Entry]:
        """What the next segment takes."""
        taken: list[Entry] = []
        size, start = 0, (1, 0)
        while True:
            page = await self.past.log.entries(old.key, start, PAGE)
            for one in page:
                if one.position >= old.before or not room_for(size, len(taken), one.size):
                    return taken
                taken.append(one)
                size += one.size
            if len(page) < PAGE:
                return taken
            turn, number = page[-1].position
            start = (turn, number + 1)

    async def _kept(self, old: Old, entries: Sequence[Entry]) -> tuple[str, int]:
        """The name and size of the segment that has them for sure; nothing where there is no archive."""
        store = self.past.segments
        if store is None:
            return "", 0
        segment = Segment(log_id=old.log_id, epoch=old.epoch, entries=tuple(entries))
        name, body = await asyncio.to_thread(pack, old.tenant_uid, old.key, segment)
        await store.put(name, body)
        if await asyncio.to_thread(unpack, name, await store.get(name)) != segment:
            raise CorruptRecord("a segment that was just written holds something else")
        return name, len(body)
