"""A replay goes as fast as its channel has room, holds little, and live events neither overtake it nor are lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import (
    ACME,
    Clock,
    Ear,
    FakePod,
    PodDialer,
    Shelves,
    ask_and_commit,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import Overloaded, RolehostError
from rolehost_api.link.messages import Commit, PatchOp, Say, StartTurn, TurnFailed
from rolehost_api.wire import (
    ChannelDegraded,
    HeardPart,
    ResponseAmended,
    ResponseCreated,
    ResponseDone,
    Resumed,
    Said,
    ServerFrame,
    SessionCreated,
    Snapshot,
    StateDelta,
    TextDelta,
    Urgent,
)
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.ports import Shared
from rolehost_runtime.gateway.sessions.live import REPLAY_PAGE
from rolehost_runtime.gateway.sessions.service import SessionService


class Narrow(Ear):
    """A channel that has room when it is given some; what is sent to it without is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: asyncio.Queue[bool] = asyncio.Queue()
        self.asked = self.given = 0
        self.unasked = self.most = 0

    def send(self, event: ServerFrame) -> None:
        super().send(event)
        self.unasked += 1
        self.most = max(self.most, self.unasked)

    @property
    def waits(self) -> bool:
        return self.asked > self.given

    async def room(self) -> bool:
        self.asked += 1
        there = await self.steps.get()
        self.given += 1
        self.unasked = 0
        return there


class Paged(MemorySessionStore):
    """Counts records read by pages, and holds a commit's answer back where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.read_by_page = 0
        self.hold: asyncio.Event | None = None
        self.written = asyncio.Event()

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        await asyncio.sleep(0)
        found = await super().page(key, start, count)
        self.read_by_page += len(found)
        await asyncio.sleep(0)
        return found

    async def commit(self, key: str, record: Record, keep_seconds: int = 0) -> Shared | None:
        shared = await super().commit(key, record, keep_seconds)
        self.written.set()
        if self.hold is not None:
            await self.hold.wait()
        return shared


class Place:
    """A gateway's rooms with one pod and one session that is spoken in."""

    def __init__(self) -> None:
        self.tables, self.clock, self.dialer, self.store = world(ACME), Clock(), PodDialer(), Paged()
        self.pool = LinkPool(self.tables, self.dialer, Shelves(), self.dialer.key, self.clock, "gw")
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(self.tables, self.pool, self.store, models, self.clock)
        self.pod = self.dialer.add("p1")
        put(self.tables, pod_entry("p1"))

    async def start(self) -> "Place":
        await self.pool.start()
        self.speaker, self.ear = await self.attach(Ear())
        return self

    async def stop(self) -> None:
        await self.service.stop(0)
        await self.pool.stop()

    async def attach(self, ear: Any) -> tuple[Any, Any]:
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        return await self.service.attach(principal(ACME), role, "abc", ear), ear

    async def say(self, *messages: str) -> None:
        for message in messages:
            await self.speaker.say(Said(message=message))


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0)


def seqs(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    built = await Place().start()
    yield built
    await built.stop()


async def test_a_long_history_comes_as_fast_as_there_is_room_and_little_of_it_is_held(place: Place) -> None:
    await place.say(*map(str, range(30)))
    place.store.read_by_page = 0
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    for number in range(30):
        await until(lambda: narrow.asked == number + 1)  # noqa: B023
        assert seqs(narrow) == list(range(1, 2 * number + 3))
        assert place.store.read_by_page <= number + REPLAY_PAGE
        narrow.steps.put_nowait(True)
    await resuming
    assert narrow.most <= 4  # created and resumed, and one turn
    assert narrow.of(Resumed)[0].to_seq == 60


async def test_only_what_was_missed_is_read(place: Place) -> None:
    await place.say(*map(str, range(30)))
    place.store.read_by_page = 0
    late, ear = await place.attach(Ear())
    await late.resume(57)
    assert (seqs(ear), place.store.read_by_page) == ([58, 59, 60], 3)


async def test_a_turn_that_ends_during_a_replay_comes_after_it_and_once(place: Place) -> None:
    await place.say("one", "two")
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    await place.say("three")
    for _ in range(3):
        narrow.steps.put_nowait(True)
    await resuming
    await place.say("four")
    assert seqs(narrow) == list(range(1, 9))
    assert [done.replay for done in narrow.of(ResponseDone)] == [True, True, True, False]
    assert len(narrow.of(ResponseCreated)) == 1


async def hesitant(pod: FakePod, channel: int, start: StartTurn) -> None:
    """Says one word, and the rest when it is told to."""
    pod.send(channel, Say(index=0, text="Once "))
    await pod.go_on.wait()  # type: ignore[attr-defined]
    pod.send(channel, Say(index=1, text="upon "))
    pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))


async def test_the_open_turn_follows_the_replay_from_its_first_word(place: Place) -> None:
    await place.say("one")
    place.pod.turn = hesitant
    place.pod.go_on = asyncio.Event()  # type: ignore[attr-defined]
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    turn = asyncio.create_task(place.say("two"))
    await until(lambda: place.ear.text().endswith("Once "))
    assert narrow.of(TextDelta) == narrow.of(ResponseCreated) == []
    narrow.steps.put_nowait(True)
    await resuming
    assert [type(event) for event in narrow.heard[-2:]] == [ResponseCreated, TextDelta]
    place.pod.go_on.set()  # type: ignore[attr-defined]
    await turn
    assert [(delta.offset, delta.delta) for delta in narrow.of(TextDelta)] == [(0, "Once "), (5, "upon ")]
    assert seqs(narrow) == [1, 2, 3, 4]


async def test_who_heard_the_turns_beginning_hears_only_the_rest_after_a_replay(place: Place) -> None:
    await place.say("one")
    place.pod.turn = hesitant
    place.pod.go_on = asyncio.Event()  # type: ignore[attr-defined]
    late, narrow = await place.attach(Narrow())
    turn = asyncio.create_task(place.say("two"))
    await until(lambda: narrow.text() == "Once ")
    place.store.hold = asyncio.Event()
    resuming = asyncio.create_task(late.resume(2))
    await resuming
    again = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    place.store.written.clear()
    place.pod.go_on.set()  # type: ignore[attr-defined]
    await place.store.written.wait()
    assert narrow.text() == "Once "
    narrow.steps.put_nowait(True)
    await again
    assert [(delta.offset, delta.delta) for delta in narrow.of(TextDelta)] == [(0, "Once "), (5, "upon ")]
    assert (len(narrow.of(ResponseCreated)), seqs(narrow)) == (1, [1, 2])
    place.store.hold.set()
    await turn
    assert seqs(narrow) == [1, 2, 3, 4]


async def test_a_turn_that_is_kept_but_not_yet_told_is_told_once(place: Place) -> None:
    await place.say("one")
    late, ear = await place.attach(Ear())
    place.store.hold = asyncio.Event()
    place.store.written.clear()
    turn = asyncio.create_task(place.say("two"))
    await place.store.written.wait()
    await late.resume(0)
    assert seqs(ear) == [1, 2]
    place.store.hold.set()
    await turn
    assert seqs(ear) == [1, 2, 3, 4]


async def test_an_amend_that_is_kept_but_not_yet_told_is_told_once(place: Place) -> None:
    await place.say("one")
    late, ear = await place.attach(Ear())
    place.store.hold = asyncio.Event()
    place.store.written.clear()
    response_id = place.ear.of(ResponseDone)[0].response_id
    cancelling = asyncio.create_task(place.speaker.cancel(response_id, HeardPart(chars=3)))
    await place.store.written.wait()
    await late.resume(0)
    assert seqs(ear) == [1, 2]
    place.store.hold.set()
    await cancelling
    assert seqs(ear) == [1, 2, 3]


async def test_an_amend_during_a_replay_comes_after_it_and_once(place: Place) -> None:
    await place.say("one", "two")
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    await place.speaker.cancel(place.ear.of(ResponseDone)[1].response_id, HeardPart(chars=3))
    for _ in range(3):
        narrow.steps.put_nowait(True)
    await resuming
    await place.say("three")
    assert seqs(narrow) == list(range(1, 8))
    assert [event.replay for event in narrow.of(ResponseAmended)] == [True]


async def test_a_turn_that_fails_during_a_replay_is_told(place: Place) -> None:
    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, TurnFailed(code="logic_failed"))

    await place.say("one")
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    place.pod.turn = fails
    with pytest.raises(RolehostError):
        await place.say("two")
    narrow.steps.put_nowait(True)
    await resuming
    assert [done.status for done in narrow.of(ResponseDone)] == ["completed", "failed"]
    place.pod.turn = ask_and_commit
    await place.say("three")
    assert seqs(narrow) == [1, 2, 3, 4]


async def test_nothing_more_is_read_for_who_is_gone(place: Place) -> None:
    await place.say(*map(str, range(30)))
    place.store.read_by_page = 0
    late, narrow = await place.attach(Narrow())
    narrow.steps.put_nowait(False)
    await late.resume(0)
    late.detach()
    assert (place.store.read_by_page, seqs(narrow)) == (REPLAY_PAGE, [1, 2])


async def test_two_replays_to_one_channel_are_not_mixed(place: Place) -> None:
    await place.say("one")
    late, narrow = await place.attach(Narrow())
    resuming = asyncio.create_task(late.resume(0))
    await until(lambda: narrow.waits)
    with pytest.raises(Overloaded) as raised:
        await late.resume(0)
    assert raised.value.code == "busy"
    narrow.steps.put_nowait(True)
    await resuming
    assert seqs(narrow) == [1, 2]


async def test_a_log_that_cannot_be_read_leaves_the_channel_among_the_living(place: Place) -> None:
    await place.say("one")
    late, ear = await place.attach(Ear())
    page = place.store.page

    async def broken(key: str, start: Position, count: int) -> list[Record]:
        raise RolehostError("no", code="state_unavailable")

    place.store.page = broken  # type: ignore[method-assign]
    with pytest.raises(RolehostError):
        await late.resume(0)
    place.store.page = page  # type: ignore[method-assign]
    await place.say("two")
    assert seqs(ear) == [3, 4]


async def sometimes_changing(pod: FakePod, channel: int, start: StartTurn) -> None:
    """Every third turn changes the state and is two events, the others are one."""
    patch = (PatchOp("incr", "/turns", 1),) if start.turn % 3 == 0 else ()
    pod.send(channel, Commit(patch=patch))


@given(
    history=st.integers(0, 2 * REPLAY_PAGE + 1),
    after=st.integers(0, 4 * REPLAY_PAGE),
    speaks=st.lists(st.booleans(), max_size=12),
)
def test_whatever_happens_meanwhile_every_event_comes_once_and_in_order(
    history: int, after: int, speaks: list[bool]
) -> None:
    """Between any two steps of the replay a turn may end; `speaks` says between which."""

    async def run() -> None:
        place = await Place().start()
        place.pod.turn = sometimes_changing
        await place.say(*map(str, range(history)))
        late, narrow = await place.attach(Narrow())
        resuming = asyncio.create_task(late.resume(after))
        for speak in speaks:
            await until(lambda: narrow.waits or resuming.done())
            if speak:
                await place.say("meanwhile")
            if narrow.waits:
                narrow.steps.put_nowait(True)
                asked = narrow.asked
                await until(lambda: narrow.asked > asked or resuming.done())  # noqa: B023
        for _ in range(history + len(speaks)):
            narrow.steps.put_nowait(True)
        await resuming
        await place.say("after all")
        first = after if after <= narrow.of(Resumed)[0].to_seq else 0
        (log,) = place.store.shelf.heads.values()
        assert log.turn == history + sum(speaks) + 1
        assert seqs(narrow) == list(range(first + 1, log.seq + 1))
        told = [type(event) for event in narrow.heard[:2]]
        assert told == [SessionCreated, Resumed]
        await place.stop()

    asyncio.run(run())


class Trimmed(Paged):
    """A store whose logs begin later than their sessions did."""

    def __init__(self) -> None:
        super().__init__()
        self.begins = 0

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        return await super().page(key, max(start, (self.begins, 0)), count)


@pytest.fixture
async def trimmed() -> AsyncIterator[Place]:
    built = Place()
    built.store = Trimmed()
    models = Models({BackendType.SCRIPTED: ScriptedProvider()})
    built.service = SessionService(built.tables, built.pool, built.store, models, built.clock)
    built.pod.turn = counted
    await built.start()
    yield built
    await built.stop()


async def counted(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Say(index=0, text=f"answer {start.turn}"))
    pod.send(channel, Commit(patch=(PatchOp("add", "/turns", start.turn),)))


async def test_what_the_log_does_not_hold_any_more_comes_as_one_snapshot(trimmed: Place) -> None:
    await trimmed.say(*map(str, range(8)))
    assert isinstance(trimmed.store, Trimmed)
    trimmed.store.begins = 5  # of turns of two events each: 9 is the first that is kept
    late, ear = await trimmed.attach(Ear())
    await late.resume(3)
    (told,) = ear.of(Snapshot)
    assert (told.at_seq, told.version, told.state, told.truncated) == (16, 8, {"turns": 8}, False)
    assert [(turn.input, turn.reply) for turn in told.transcript][-1] == ("7", "answer 8")
    resumed = ear.of(Resumed)[0]
    assert (resumed.gap, resumed.code, resumed.from_seq, resumed.to_seq) == (True, "resume_lost", 9, 16)
    assert seqs(ear) == [*range(9, 17)], "whoever takes no snapshot has what is still there"
    await trimmed.say("on")
    assert seqs(ear) == [*range(9, 19)]


async def test_who_is_not_behind_the_logs_begin_is_told_event_by_event(trimmed: Place) -> None:
    await trimmed.say(*map(str, range(8)))
    assert isinstance(trimmed.store, Trimmed)
    trimmed.store.begins = 5
    late, ear = await trimmed.attach(Ear())
    await late.resume(8)
    assert (ear.of(Snapshot), seqs(ear)) == ([], list(range(9, 17)))


async def test_a_whole_is_told_once_there_is_room_and_live_events_come_after_it(trimmed: Place) -> None:
    await trimmed.say("one", "two")
    behind, narrow = await trimmed.attach(Narrow())
    telling = asyncio.create_task(behind.resume(0, whole=True))
    await until(lambda: narrow.waits)
    await trimmed.say("three")
    assert narrow.of(Snapshot) == []
    narrow.steps.put_nowait(True)
    await telling
    await trimmed.say("four")
    (told,) = narrow.of(Snapshot)
    assert (told.at_seq, seqs(narrow), narrow.of(Resumed)) == (6, [7, 8], [])


async def test_who_makes_no_room_is_told_nothing(trimmed: Place) -> None:
    await trimmed.say("one")
    behind, narrow = await trimmed.attach(Narrow())
    narrow.steps.put_nowait(False)
    await behind.resume(0, whole=True)
    assert narrow.of(Snapshot) == []


async def marked(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Say(index=0, text="!"))
    pod.send(channel, Commit(patch=(PatchOp("add", "/turns", start.turn),), urgent=True))


async def test_an_urgent_change_is_told_as_one_and_hurries_the_session(trimmed: Place) -> None:
    trimmed.pod.turn = marked
    await trimmed.say("fire")
    role = trimmed.tables.roles.get("acme", "cat")
    assert role is not None
    assert [event.is_urgent for event in trimmed.ear.of(StateDelta)] == [True]
    (told,) = trimmed.ear.of(Urgent)
    assert (told.version, told.is_urgent, told.heartbeat_ms, told.reason) == (1, True, 500, "state")
    seen = await trimmed.service.state(principal(ACME), role, "abc")
    assert (seen.at.version, seen.is_urgent) == (1, True)
    _, late = await trimmed.attach(Ear())
    assert [event.is_urgent for event in late.of(Urgent)] == [True]


async def test_a_watcher_that_stalls_is_told_to_the_others_with_where_to_ask(trimmed: Place) -> None:
    await trimmed.say("one")
    watcher, _ = await trimmed.attach(Ear())
    watcher.watch("flows")
    watcher.watch("stalled")
    (told,) = trimmed.ear.of(ChannelDegraded)
    assert (told.mode, told.last_version, told.poll_ms) == ("ws+poll", 1, 1000)
    assert told.poll == "/v1/roles/cat/sessions/abc/state?after_version=1"
    assert [event.reason for event in trimmed.ear.of(Urgent)] == ["grpc_stalled"]


async def test_a_watcher_that_leaves_without_a_word_is_not_missed(trimmed: Place) -> None:
    watcher, _ = await trimmed.attach(Ear())
    watcher.watch("flows")
    watcher.detach()
    await asyncio.sleep(0)
    assert trimmed.ear.of(ChannelDegraded) == trimmed.ear.of(Urgent) == []
