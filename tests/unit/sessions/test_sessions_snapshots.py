"""Sessions that were snapshotted: who opens them reads little, and they are as their whole log makes them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, principal, world
from tests.unit.sessions.test_sessions_ledger import counting

from rolehost_api.errors import Conflict, Unavailable
from rolehost_api.wire import ResponseDone, Resumed, Said
from rolehost_runtime.core import session, snapshot
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import Position, Record, TurnRecord, decode
from rolehost_runtime.core.rewind import MAX_RECORDS
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.sessions.snapshotting import MAX_AT_ONCE, Snapshotting

EVERY, PAST = 4, 3


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "EVERY_TURNS", EVERY)
    monkeypatch.setattr(session, "MAX_PAST_TURNS", PAST)


class Reading(MemorySessionStore):
    """Counts the records that it hands out."""

    handed = 0

    def _records(self, key: str, start: Position) -> Iterator[Record]:
        for record in super()._records(key, start):
            self.handed += 1
            yield record


async def built(shelf: Shelf | None = None) -> House:
    house = House(world(ACME), shelf)
    house.pod("p1", turn=playing(counting()))
    await house.pool.start()
    return house


async def end(house: House) -> None:
    await house.service.stop(0)
    await house.pool.stop()


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = await built()
    yield made
    await end(made)


async def say(house: House, handle: Any, *messages: str) -> None:
    for message in messages:
        await handle.say(Said(message=message, client_msg_id=message))
        await house.service._world.snapshotting.idle()


def words(count: int, first: int = 1) -> list[str]:
    return [f"w{number}" for number in range(first, first + count)]


def told(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


def texts(shelf: Shelf) -> list[str]:
    records = [decode(fields) for log in shelf.logs.values() for fields in log]
    return [record.input for record in records if isinstance(record, TurnRecord)]


def snaps(house: House) -> list[int]:
    return [seq for kept in house.store.shelf.snaps.values() for seq in kept]


async def test_one_is_taken_every_so_many_turns_and_two_are_kept(house: House) -> None:
    handle, _ = await house.attach()
    await say(house, handle, *words(EVERY - 1))
    assert snaps(house) == []
    await say(house, handle, "due")
    assert snaps(house) == [2 * EVERY]
    await say(house, handle, *words(3 * EVERY, 10))
    assert snaps(house) == [6 * EVERY, 8 * EVERY]


async def test_another_gateway_goes_on_from_it_and_reads_little(house: House) -> None:
    handle, _ = await house.attach()
    await say(house, handle, *words(21))
    other = await built(house.store.shelf)
    other.store = other.service._world.store  # type: ignore[assignment]
    reading = Reading(house.store.shelf)
    object.__setattr__(other.service._world, "store", reading)
    taken, ear = await other.attach()
    (live,) = other.service._live.values()
    assert (reading.handed, live.fold) == (0, None), "who only listens needs nothing of it"
    assert await live.loaded() is live.fold
    assert reading.handed == PAST + 1, "three for prompts, and the one after the snapshot"
    assert (live.fold.turn, live.fold.state["asked"]) == (21, 21)
    assert [exchange.input for exchange in live.fold.past] == ["w19", "w20", "w21"]
    await taken.say(Said(message="again", client_msg_id="w2"))
    (replayed,) = ear.of(ResponseDone)
    assert (replayed.client_msg_id, replayed.replay, replayed.seq) == ("w2", True, 4)
    await taken.say(Said(message="next"))
    assert texts(house.store.shelf) == [*words(21), "next"]
    await end(other)


async def test_the_state_is_read_from_it_and_what_came_after(house: House) -> None:
    handle, _ = await house.attach()
    await say(house, handle, *words(9))
    reading = Reading(house.store.shelf)
    object.__setattr__(house.service._world, "store", reading)
    for live in house.service._live.values():
        live.sleep()
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    seen = await house.service.state(principal(ACME), role, "abc")
    assert (seen.at.seq, seen.state["asked"], reading.handed) == (18, 9, 2)


async def test_who_listened_is_told_of_what_lies_before_all_that_was_read(house: House) -> None:
    handle, ear = await house.attach()
    await say(house, handle, "one")
    other = await built(house.store.shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, *words(17))
    with pytest.raises(Conflict):
        await say(house, handle, "mine")
    await say(house, handle, "mine")
    assert told(ear) == list(range(1, 2 * 19 + 1))
    assert not ear.of(Resumed)
    await end(other)


async def test_a_store_that_goes_away_while_they_are_told_is_asked_again_and_nothing_is_told_twice(
    house: House,
) -> None:
    handle, ear = await house.attach()
    await say(house, handle, "one")
    other = await built(house.store.shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, *words(17))
    page, asked = house.store.page, list[Position]()

    async def away_at_the_third(key: str, start: Position, count: int) -> list[Record]:
        asked.append(start)
        if len(asked) == 3:
            raise Unavailable("the store does not answer", code="state_unavailable")
        return await page(key, start, count)

    house.store.page = away_at_the_third  # type: ignore[method-assign]
    for refusal in (Conflict, Unavailable):
        with pytest.raises(refusal):
            await say(house, handle, "mine")
    await say(house, handle, "mine")
    assert told(ear) == list(range(1, 2 * 19 + 1))
    await end(other)


async def test_nobody_is_told_where_nobody_listens(house: House) -> None:
    handle, _ = await house.attach()
    await say(house, handle, "one")
    handle.detach()
    other = await built(house.store.shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, *words(17))
    await end(other)
    (live,) = house.service._live.values()
    live.sleep()
    reading = Reading(house.store.shelf)
    object.__setattr__(house.service._world, "store", reading)
    live.remembered._store = reading
    await house.attach()
    assert reading.handed < 12


async def test_a_turn_that_was_told_and_is_another_one_now_is_noticed_far_behind_the_snapshot(house: House) -> None:
    handle, ear = await house.attach()
    await say(house, handle, "one", "two")
    shelf = house.store.shelf
    rewind(shelf, 1)
    other = await built(shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, *words(17))
    with pytest.raises(Conflict):
        await say(house, handle, "mine")
    await say(house, handle, "mine")
    assert texts(shelf) == ["one", *words(17), "mine"]
    assert [lost.code for lost in ear.of(Resumed)] == ["resume_lost"]
    await end(other)


def rewind(shelf: Shelf, turns: int, *, snapshots: bool = True) -> None:
    """The last turns, and what else came with them, as if they had never been."""
    for key, entries in shelf.logs.items():
        kept = entries[: len(entries) - turns]
        last = decode(kept[-1])
        seq = last.seq_first + last.seq_count - 1
        shelf.logs[key] = kept
        shelf.heads[key] = replace(shelf.heads[key], turn=len(kept), seq=seq)
        if snapshots:
            shelf.snaps[key] = {at: data for at, data in shelf.snaps.get(key, {}).items() if at <= seq}


@pytest.mark.parametrize("snapshots", [True, False])
@pytest.mark.parametrize("turns", [2, MAX_RECORDS + 2])
async def test_a_store_that_goes_back_below_a_snapshot_gives_nothing_that_is_not_in_the_log(
    house: House, turns: int, snapshots: bool
) -> None:
    handle, ear = await house.attach()
    await say(house, handle, *words(4 * EVERY + 1))
    shelf = house.store.shelf
    rewind(shelf, turns, snapshots=snapshots)
    for message in words(6, 100):
        try:
            await say(house, handle, message)
        except Conflict:
            await say(house, handle, message)
    assert bool(ear.of(Resumed)) == (turns > MAX_RECORDS)
    kept = words(4 * EVERY + 1) if turns <= MAX_RECORDS else words(4 * EVERY + 1 - turns)
    assert texts(shelf) == [*kept, *words(6, 100)]
    other = await built(shelf)
    await other.attach()
    (live,) = other.service._live.values()
    await live.loaded()
    assert live.fold is not None
    whole = SessionFold.of(live.fold.log_id, live.fold.epoch, await other.log())
    assert (live.fold.turn, live.fold.state, live.fold.past) == (whole.turn, whole.state, whole.past)
    assert live.fold._seen == whole._seen
    await end(other)


async def test_a_snapshot_of_turns_in_whose_place_others_stand_is_not_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log went back, and another owner, who knew of nothing, went on from there past where it had been."""
    handle, _ = await house.attach()
    await say(house, handle, *words(EVERY))
    shelf = house.store.shelf
    rewind(shelf, 2, snapshots=False)
    monkeypatch.setattr(snapshot, "EVERY_TURNS", 1000)
    other = await built(shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, *words(3, 100))
    third = await built(shelf)
    why: list[str] = []
    third.store.doubted = why.append
    await third.attach()
    (live,) = third.service._live.values()
    await live.loaded()
    assert live.fold is not None
    assert [exchange.input for exchange in live.fold.past] == ["w100", "w101", "w102"]
    assert [live.fold.turn_of(word) for word in ("w2", "w3", "w102")] == [2, None, 5]
    assert why == ["stray_snapshot"]
    for each in (other, third):
        await end(each)


async def test_where_snapshots_cannot_be_kept_turns_go_on_and_it_is_counted(house: House) -> None:
    outcomes: list[str] = []
    house.service._world.snapshotting._count = outcomes.append
    for error, code in (
        (Unavailable("away", code="state_unavailable"), "state_unavailable"),
        (ValueError(), "internal"),
    ):

        async def fails(key: str, snapshot: Snapshot, error: Exception = error) -> int:
            raise error

        house.store.keep = fails  # type: ignore[method-assign]
        handle, ear = await house.attach(code)
        await say(house, handle, *words(EVERY + 1))
        assert [done.status for done in ear.of(ResponseDone)] == ["completed"] * (EVERY + 1)
        assert outcomes.pop() == code
        assert outcomes == [], "it is not tried again with the next turn"


async def test_a_fenced_owner_keeps_none(house: House) -> None:
    outcomes: list[str] = []
    house.service._world.snapshotting._count = outcomes.append
    keep, store = house.store.keep, house.store

    async def too_late(key: str, snapshot: Snapshot) -> int:
        await MemorySessionStore(store.shelf).open(key)
        return await keep(key, snapshot)

    store.keep = too_late  # type: ignore[method-assign]
    handle, _ = await house.attach()
    await say(house, handle, *words(EVERY))
    assert (outcomes, snaps(house)) == (["superseded"], [])


class Waiting(MemorySessionStore):
    """Keeps a snapshot when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.asked = asyncio.Event(), 0

    async def keep(self, key: str, snapshot: Snapshot) -> int:
        self.asked += 1
        await self.go.wait()
        return 100


def grown(turns: int) -> SessionFold:
    fold = SessionFold("log", 1)
    for turn in range(1, turns + 1):
        opened = fold.begin("hi" * 50, revision="r", response_id=f"r{turn}", rng_seed=1, now_ms=turn)
        fold.propose(opened, session.Outcome("yes"), now_ms=turn, max_bytes=1000)
        fold.committed()
    return fold


async def test_one_at_a_time_for_a_session_and_a_few_in_all() -> None:
    store, outcomes = Waiting(), list[str]()
    snapshotting, folds = Snapshotting(store, outcomes.append), [grown(EVERY) for _ in range(MAX_AT_ONCE + 2)]
    for _ in range(2):
        for number, fold in enumerate(folds):
            snapshotting.after_turn("u", f"k{number}", fold)
    await asyncio.sleep(0)
    assert store.asked == MAX_AT_ONCE
    store.go.set()
    await snapshotting.idle()
    for number, fold in enumerate(folds):
        snapshotting.after_turn("u", f"k{number}", fold)
    await snapshotting.idle()
    assert (store.asked, outcomes) == (len(folds), ["kept"] * len(folds))


async def test_what_is_being_taken_is_given_up_at_the_end() -> None:
    store = Waiting()
    snapshotting = Snapshotting(store)
    snapshotting.after_turn("u", "k", grown(EVERY))
    await asyncio.sleep(0)
    await snapshotting.stop()
    await snapshotting.idle()
    assert store.asked == 1


async def test_no_turn_waits_for_a_snapshot(house: House) -> None:
    go = asyncio.Event()

    async def never(key: str, snapshot: Snapshot) -> int:
        await go.wait()
        return 1

    house.store.keep = never  # type: ignore[method-assign]
    handle, ear = await house.attach()
    for message in words(3 * EVERY):
        await handle.say(Said(message=message))
    assert len(ear.of(ResponseDone)) == 3 * EVERY
    go.set()


async def test_a_session_that_nobody_keeps_has_none() -> None:
    made = await built()
    handle, ear = await made.attach(told=Told())
    await say(made, handle, *words(EVERY + 1))
    assert len(ear.of(ResponseDone)) == EVERY + 1
    assert made.store.shelf.snaps == {}
    await end(made)
