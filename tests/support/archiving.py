"""Sessions whose logs are long, and an archive whose every step can be its last."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rolehost_api.wire import HeardPart
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.gateway.broker.archive.memory import MemorySegments
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.ports import Head, SessionStore
from rolehost_runtime.gateway.sessions.archive import Old
from rolehost_runtime.gateway.sessions.history import History, Past

KEY = "k"


class Died(BaseException):
    """The process is gone."""


class Mortal:
    """A port that dies at its `at`th step: before it is done, or after."""

    def __init__(self, real: Any, clock: "Steps") -> None:
        self._real, self._clock = real, clock

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def step(*arguments: Any) -> Any:
            self._clock.step()
            found = await getattr(self._real, name)(*arguments)
            self._clock.step()
            return found

        return step


class Steps:
    def __init__(self, at: int | None = None) -> None:
        self.done, self._at = 0, at

    def step(self) -> None:
        if self.done == self._at:
            raise Died
        self.done += 1


class Kept:
    """One session's log on a shelf and its segments, over the lives of several processes."""

    def __init__(self) -> None:
        self.shelf, self.segments = Shelf(), MemorySegments()
        self.store = MemorySessionStore(self.shelf, "one")

    def past(self, owner: str = "one", steps: Steps | None = None) -> Past:
        log, steps = MemoryShortenedLog(self.shelf, owner), steps or Steps()
        return Past(Mortal(log, steps), Mortal(self.segments, steps))  # type: ignore[arg-type]

    def history(self) -> History:
        return History(self.store, self.past(), KEY)

    async def whole(self, page: int = 3) -> list[Record]:
        return await read(self.history(), page)

    def old(self, head: Head, before: Position) -> Old:
        return Old("u-1", KEY, head.log_id, head.epoch, before)

    def named(self) -> list[str]:
        """Segments that the log refers to."""
        return [one.name for one in self.shelf.segments.get(KEY, [])]

    async def in_log(self) -> list[Position]:
        return [record.position for record in await self.store.read(KEY)]


async def read(history: History, page: int, start: Position = (1, 0)) -> list[Record]:
    """All from there on, checking that each page is full but the last."""
    found: list[Record] = []
    while True:
        more = await history.page(start, page)
        assert len(more) <= page
        found += more
        if len(more) < page:
            return found
        turn, number = more[-1].position
        start = (turn, number + 1)


async def talk(store: SessionStore, amends: Sequence[int], reply: str = "从前" * 20) -> tuple[Head, list[Record]]:
    """A log of as many turns as there are numbers, each amended so often; and its head when it was opened."""
    head, _ = await store.open(KEY)
    fold, records = SessionFold(head.log_id, head.epoch), list[Record]()
    for turn, times in enumerate(amends, 1):
        opened = fold.begin("hi", revision="r", response_id=f"r{turn}", rng_seed=1, now_ms=turn)
        records.append(fold.propose(opened, Outcome(reply=reply), now_ms=turn, max_bytes=65_536))
        await store.commit(KEY, records[-1])
        fold.committed()
        for number in range(times):
            amend = fold.amend(f"r{turn}", HeardPart(chars=len(reply) - 1 - number), now_ms=turn)
            assert amend is not None
            await store.commit(KEY, amend)
            records.append(amend)
            fold.amended()
    return head, records
