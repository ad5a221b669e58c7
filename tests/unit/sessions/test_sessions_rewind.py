"""A store that goes back in time under a live session: its history is written again, or its loss is said."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.house import House
from tests.support.rooms import ACME, Ear, world

from rolehost_api.errors import Conflict, Unavailable
from rolehost_api.wire import ResponseDone, Resumed, Said
from rolehost_runtime.core.record import Record, TurnRecord, decode
from rolehost_runtime.core.rewind import MAX_RECORDS
from rolehost_runtime.gateway.broker.state.memory_store import Shelf


@pytest.fixture
async def house() -> AsyncIterator[House]:
    built = House(world(ACME))
    built.pod("p1")
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()


def rewind(shelf: Shelf, turns: int, *, epochs: int = 0) -> None:
    """The last turns, and raises of the epoch, as if they had never been: a replica that lagged is the primary now."""
    for key, entries in shelf.logs.items():
        kept = entries[: len(entries) - turns]
        head, last = shelf.heads[key], decode(kept[-1]) if kept else None
        shelf.logs[key] = kept
        seq = last.seq_first + last.seq_count - 1 if last else 0
        shelf.heads[key] = replace(head, epoch=head.epoch - epochs, turn=len(kept), seq=seq)
        if epochs:
            shelf.owners[key] = "who held it before"


def told(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


def texts(shelf: Shelf) -> list[str]:
    records = [decode(fields) for log in shelf.logs.values() for fields in log]
    return [record.input for record in records if isinstance(record, TurnRecord)]


async def say(handle: object, *messages: str) -> None:
    for message in messages:
        await handle.say(Said(message=message, client_msg_id=message))  # type: ignore[attr-defined]


@pytest.mark.parametrize(("turns", "epochs"), [(1, 0), (3, 0), (2, 1), (0, 1)])
async def test_what_was_forgotten_is_written_again_with_the_next_commit(house: House, turns: int, epochs: int) -> None:
    handle, ear = await house.attach()
    await say(handle, "one", "two", "three")
    rewind(house.store.shelf, turns, epochs=epochs)
    await say(handle, "four", "five")
    assert texts(house.store.shelf) == ["one", "two", "three", "four", "five"]
    assert told(ear) == list(range(1, 11))
    assert [done.status for done in ear.of(ResponseDone)] == ["completed"] * 5
    assert not ear.of(Resumed)


async def test_a_session_of_which_the_store_knows_nothing_any_more_is_written_again_too(house: House) -> None:
    handle, ear = await house.attach()
    await say(handle, "one", "two")
    shelf = house.store.shelf
    shelf.logs.clear()
    shelf.heads.clear()
    shelf.owners.clear()
    await say(handle, "three")
    assert texts(shelf) == ["one", "two", "three"]
    assert told(ear) == [1, 2, 3, 4, 5, 6]


async def test_what_nobody_holds_any_more_is_said_to_be_lost_and_the_log_has_another_name(house: House) -> None:
    handle, ear = await house.attach()
    words = [f"w{number}" for number in range(MAX_RECORDS + 4)]
    await say(handle, *words)
    shelf = house.store.shelf
    ((key, before),) = shelf.heads.items()
    rewind(shelf, MAX_RECORDS + 1)
    with pytest.raises(Conflict) as refused:
        await say(handle, "after")
    assert (refused.value.code, refused.value.retryable) == ("superseded", True)
    await say(handle, "after", "more")
    assert texts(shelf) == [*words[:3], "after", "more"]
    (lost,) = ear.of(Resumed)
    assert (lost.gap, lost.code, lost.seq, lost.from_seq, lost.to_seq) == (True, "resume_lost", None, 7, 6)
    assert shelf.heads[key].log_id != before.log_id
    assert told(ear)[-4:] == [7, 8, 9, 10]
    again, late = await house.attach()
    await again.resume(0)
    assert told(late) == list(range(1, 11))


async def test_who_was_taken_over_writes_nothing_again(house: House) -> None:
    handle, ear = await house.attach()
    await say(handle, "one", "two")
    shelf = house.store.shelf
    rewind(shelf, 1)
    other = House(house.tables, shelf)
    other.dialer.add("p1")
    await other.pool.start()
    theirs, _ = await other.attach()
    await say(theirs, "theirs")
    with pytest.raises(Conflict):
        await say(handle, "three")
    assert texts(shelf) == ["one", "theirs"]
    await say(handle, "three")
    assert texts(shelf) == ["one", "theirs", "three"]
    assert [lost.code for lost in ear.of(Resumed)] == ["resume_lost"], "what it was told as its second turn is not"
    await other.service.stop(0)
    await other.pool.stop()


async def test_a_store_that_forgets_while_the_session_sleeps_is_noticed_when_it_wakes(house: House) -> None:
    handle, ear = await house.attach()
    await say(handle, "one", "two")
    (live,) = house.service._live.values()
    live.sleep()
    rewind(house.store.shelf, 1)
    await say(handle, "three")
    assert texts(house.store.shelf) == ["one", "three"]
    (lost,) = ear.of(Resumed)
    assert (lost.code, lost.to_seq) == ("resume_lost", 2)


async def test_a_store_that_goes_away_while_it_is_mended_is_mended_by_the_next_try(house: House) -> None:
    handle, ear = await house.attach()
    await say(handle, "one", "two", "three")
    shelf, commit, tries = house.store.shelf, house.store.commit, []
    shelf.logs.clear()
    shelf.heads.clear()
    shelf.owners.clear()

    async def away_at_the_third(key: str, record: Record, keep_seconds: int = 0) -> None:
        tries.append(record)
        if len(tries) == 3:
            raise Unavailable("the store does not answer", code="state_unavailable")
        await commit(key, record)

    house.store.commit = away_at_the_third  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await say(handle, "four")
    await say(handle, "four")
    assert texts(shelf) == ["one", "two", "three", "four"]
    assert told(ear) == list(range(1, 9))
    assert not ear.of(Resumed)
