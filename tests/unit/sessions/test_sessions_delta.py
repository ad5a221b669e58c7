"""An answer shown to the logic while it is given: one batch at a time, and cut where it says so."""

import asyncio
from collections.abc import Callable

from tests.support.house import House
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, world

from rolehost_api.link.messages import Bound, CallModel, Commit, Delta, ModelResult, Noticed, StartTurn
from rolehost_api.wire import ResponseDone, Said
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.sessions.watching import BATCH_CHARS, MAX_BATCHES, Watching


def watching(stop_at: str, shown: list[str]) -> object:
    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
        while not isinstance(heard := await pod.answer(channel), ModelResult):
            assert isinstance(heard, Delta)
            shown.append(heard.text)
            pod.send(channel, Noticed(index=0, stop=stop_at in "".join(shown)))
        shown.append(f"= {heard.text}")
        pod.send(channel, Commit())

    return turn


async def test_an_answer_ends_where_the_logic_says_so_and_the_log_says_what_was_sent() -> None:
    shown: list[str] = []
    house = House(world(ACME))
    revision = house.tables.revisions.get("acme", house.tables.roles.get("acme", "cat").stable)  # type: ignore[union-attr]
    assert revision is not None
    house.pod("p1", turn=watching("dragon", shown), bound=Bound(hash=revision.spec.hash, deltas=True))
    slow = house.slow_model()
    await house.pool.start()
    try:
        handle, ear = await house.attach("abc")
        said = asyncio.ensure_future(handle.say(Said(message="a story")))
        for piece in ("Once ", "a dragon "):
            slow.pieces.put_nowait(piece)
            await house.until(lambda piece=piece: piece in shown)  # type: ignore[misc]
        await said
        done = ear.of(ResponseDone)[-1]
        assert (done.message, done.status, done.finish_reason) == ("Once a dragon ", "completed", "stop")
        assert [(one.hook, one.code) for one in done.degraded] == [("model", "stopped_by_logic")]
        assert shown == ["Once ", "a dragon ", "= Once a dragon "]
        assert slow.closed == 1, "the model is asked for no more"
        (record,) = await house.log()
        assert isinstance(record, TurnRecord)
        assert [entry.outcome for entry in record.journal] == ["Once a dragon "]
    finally:
        await house.service.stop(0)
        await house.pool.stop()


class Showing:
    """A pod's ear that answers when it is told to."""

    deltas = True

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.noticed: Callable[[bool], None] = lambda stop: None

    def notice(self, index: int, text: str, noticed: Callable[[bool], None]) -> None:
        self.shown.append(text)
        self.noticed = noticed


def test_one_batch_is_on_its_way_and_what_comes_meanwhile_travels_together() -> None:
    call, stops = Showing(), list[bool]()
    watch = Watching(call, 0, lambda: stops.append(True))  # type: ignore[arg-type]
    for word in ("one ", "two ", "three "):
        watch.said(word)
    assert call.shown == ["one "]
    call.noticed(False)
    assert call.shown == ["one ", "two three "]
    watch.said("x" * (BATCH_CHARS + 1))
    call.noticed(False)
    call.noticed(False)
    assert [len(text) for text in call.shown[2:]] == [BATCH_CHARS, 1]
    call.noticed(True)
    watch.said("more")
    assert (stops, len(call.shown)) == ([True], 4)


def test_it_is_bounded_and_a_word_after_the_end_is_nothing() -> None:
    call, stops = Showing(), list[bool]()
    watch = Watching(call, 0, lambda: stops.append(True))  # type: ignore[arg-type]
    for _ in range(MAX_BATCHES + 5):
        watch.said("x")
        call.noticed(False)
    assert len(call.shown) == MAX_BATCHES
    other = Watching(call, 0, lambda: stops.append(True))  # type: ignore[arg-type]
    other.said("y")
    other.over()
    call.noticed(True)
    assert stops == []
