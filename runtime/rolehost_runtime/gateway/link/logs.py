"""What role logic printed, gathered from several pods for one reader of the tenant's own."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable

from msgspec.structs import replace

from rolehost_api.link.messages import LogBatch, LogLine
from rolehost_runtime.gateway.link.hearsay import session_word

MAX_LINES = 2048
MAX_CHARS = 1_048_576
"""Lines, and characters of them, that may wait for a slow reader; the oldest give way, and their number is said."""
SILENCE_SECONDS = 3.0
"""A reader that does not follow waits so long for a pod that says nothing."""


class LogReader:
    """Lines in, from any number of links; lines out, to one `async for`. What waits within is bounded."""

    def __init__(self, now_ms: Callable[[], int], *, follow: bool) -> None:
        self._now_ms = now_ms
        self._follow = follow
        self._lines: deque[LogLine] = deque()
        self._chars = 0
        self._lost = 0
        self._rung = asyncio.Event()
        self._sources: set[Hashable] = set()

    def add(self, source: Hashable) -> None:
        """One more pod whose lines are to come."""
        self._sources.add(source)

    def end(self, source: Hashable) -> None:
        """Nothing more comes from this pod."""
        self._sources.discard(source)
        self._rung.set()

    def receive(self, source: Hashable, batch: LogBatch) -> None:
        """A pod's batch. Whose line it is is the pod's word, as the line is: the tenant's own logic wrote both."""
        self._lost += batch.lost
        for line in batch.lines:
            self._lines.append(replace(line, session=session_word(line.session)))
            self._chars += len(line.text)
            while len(self._lines) > MAX_LINES or self._chars > MAX_CHARS:
                self._take()
                self._lost += 1
        if not batch.lines and not self._follow:
            self._sources.discard(source)
        self._rung.set()

    def _take(self) -> LogLine:
        line = self._lines.popleft()
        self._chars -= len(line.text)
        return line

    async def lines(self) -> AsyncIterator[LogLine]:
        """Until the reader goes, or, where it does not follow, until every pod has told all."""
        while True:
            while self._lines:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    yield LogLine(number=0, at_ms=self._now_ms(), stream="log", text=f"({lost} lines were dropped)")
                    continue
                yield self._take()
            if not self._follow and not self._sources:
                return
            self._rung.clear()
            try:
                async with asyncio.timeout(None if self._follow else SILENCE_SECONDS):
                    await self._rung.wait()
            except TimeoutError:
                return
