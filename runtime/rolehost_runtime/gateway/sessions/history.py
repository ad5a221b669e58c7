"""Reading a session's past: what left its log for the archive, then the log, in order and by the page.

The log is asked first. Where it has what follows, nothing else is asked and nothing is held: reading what is recent costs
what it did before there was an archive. One segment is held at a time while it is read, and unpacked beside the loop.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rolehost_api.errors import NotFound, Unavailable
from rolehost_runtime.core.record import CorruptRecord, Position, Record, following, last_seq
from rolehost_runtime.core.segment import Entry, Shelved, unpack
from rolehost_runtime.gateway.ports import SegmentStore, SessionStore, ShortenedLog

WHOLE_PAGE = 32
"""Records decoded before the other sessions have their turn."""


@dataclass(frozen=True, slots=True)
class Past:
    """Where records are that are not in their log any more."""

    log: ShortenedLog
    segments: SegmentStore | None = None
    """None: no archive is named any more; what it has cannot be read."""

    async def entries(self, shelved: Shelved) -> Sequence[Entry]:
        """Raises CorruptRecord, Unavailable `archive_unavailable`."""
        if self.segments is None:
            raise Unavailable(
                "this part of the conversation is in an archive that is not configured here",
                hint="Set archive.url to where the archive is",
                code="archive_unavailable",
                retryable=False,
            )
        try:
            body = await self.segments.get(shelved.name)
        except NotFound:
            raise CorruptRecord("a segment of this session's log is not in the archive") from None
        return (await asyncio.to_thread(unpack, shelved.name, body)).entries


class History:
    """One reading. `page` is as SessionStore.page, each time from where the last one ended, or from elsewhere."""

    def __init__(self, store: SessionStore, past: Past | None, key: str) -> None:
        self._store, self._past, self._key = store, past, key
        self._last: Record | None = None
        self._held: Sequence[Entry] = ()
        """Of the segment that is being read."""

    async def page(self, start: Position, count: int) -> list[Record]:
        """At most `count` records from that place on, in order; fewer only where the log ends.

        Where older ones are nowhere any more it begins with the oldest that is: `gap_before` says so. Raises
        CorruptRecord, Unavailable `archive_unavailable` and `state_unavailable`.
        """
        found: list[Record] = []
        while len(found) < count:
            more, ended = await self._some(start, count - len(found))
            found += more
            if more:
                self._last, start = more[-1], following(more[-1])
            if ended:
                break
        return found

    async def whole(self) -> list[Record]:
        """All of it in memory, for whoever can do with no less. Raises as `page` does."""
        found: list[Record] = []
        while True:
            more = await self.page(following(found[-1]) if found else (1, 0), WHOLE_PAGE)
            found += more
            if len(more) < WHOLE_PAGE:
                return found

    async def _some(self, start: Position, count: int) -> tuple[list[Record], bool]:
        """Some records, all from one place, and whether the log ends with them."""
        if self._held and self._held[0].position <= start <= self._held[-1].position:
            return self._from_segment(start, count), False
        reading, self._held = bool(self._held), ()
        if reading and await self._load(start):  # who reads segments reads on there
            return self._from_segment(start, count), False
        page = await self._store.page(self._key, start, count)
        if not self._follows(start, page) and await self._load(start):
            return self._from_segment(start, count), False
        return page, len(page) < count

    def _follows(self, start: Position, page: Sequence[Record]) -> bool:
        """Whether nothing can be between that place and this page of the log."""
        if self._past is None or not page or page[0].position == start:
            return True
        last = self._last
        return last is not None and following(last) == start and page[0].seq_first == last_seq(last) + 1

    async def _load(self, start: Position) -> bool:
        """Hold the segment that has what comes at or after that place."""
        if self._past is None or (shelved := await self._past.log.shelved(self._key, start)) is None:
            return False
        self._held = await self._past.entries(shelved)
        return True

    def _from_segment(self, start: Position, count: int) -> list[Record]:
        wanted = [one for one in self._held if one.position >= start][:count]
        return [one.record() for one in wanted]


def gap_before(records: Sequence[Record], after_seq: int) -> bool:
    """Whether events between that one and the first of these records are nowhere any more."""
    return bool(records) and records[0].seq_first > after_seq + 1
