"""Sessions that clients come back to: taken over with what was missed, and read only when somebody speaks."""

from collections.abc import AsyncIterator

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, world
from tests.unit.sessions.test_sessions_ledger import counting
from tests.unit.sessions.test_sessions_snapshots import end, rewind, say, texts, told, words

from rolehost_api.wire import ResponseDone, Resumed, Said, SessionCreated
from rolehost_runtime.core.record import CorruptRecord, Position, Record
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.ports import Head
from rolehost_runtime.gateway.sessions.live import NEWEST, LiveSession
from rolehost_runtime.gateway.sessions.room import Room

TURNS = 12
END = 2 * TURNS


class Asked(MemorySessionStore):
    """Keeps what it was asked for."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.asked: list[str] = []

    async def open(self, *asked: object) -> tuple[Head, list[Record]]:
        self.asked.append("open")
        return await super().open(*asked)  # type: ignore[arg-type]

    async def head(self, key: str) -> Head | None:
        self.asked.append("head")
        return await super().head(key)

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        self.asked.append("page")
        return await super().page(key, start, count)


async def built(shelf: Shelf | None = None) -> House:
    house = House(world(ACME), shelf)
    house.store = Asked(shelf or Shelf())  # type: ignore[assignment]
    object.__setattr__(house.service._world, "store", house.store)
    house.pod("p1", turn=playing(counting()))
    await house.pool.start()
    return house


def live(house: House) -> LiveSession:
    (found,) = house.service._live.values()
    return found


@pytest.fixture
async def heir() -> AsyncIterator[House]:
    """A gateway that knows nothing yet of the one session, which has some turns."""
    first = await built()
    handle, _ = await first.attach()
    await say(first, handle, *words(TURNS))
    made = await built(first.store.shelf)
    yield made
    for each in (first, made):
        await end(each)


def asked(house: House) -> list[str]:
    assert isinstance(house.store, Asked)
    return house.store.asked


async def test_who_comes_back_hears_what_it_missed_for_one_question(heir: House) -> None:
    handle, ear = await heir.attach()
    await handle.resume(END - NEWEST)
    assert (ear.of(SessionCreated)[0].head, told(ear)) == (END, list(range(END - NEWEST + 1, END + 1)))
    assert [done.message for done in ear.of(ResponseDone)] == ["You said w11.", "You said w12."]
    assert asked(heir) == ["open"]
    assert live(heir).fold is None


@pytest.mark.parametrize("heard", [0, 1, END - 2 * NEWEST - 1, END - 2 * NEWEST, END - 1, END])
async def test_wherever_it_had_been_it_hears_the_rest_once(heir: House, heard: int) -> None:
    handle, ear = await heir.attach()
    await handle.resume(heard)
    assert told(ear) == list(range(heard + 1, END + 1))
    (resumed,) = ear.of(Resumed)
    assert (resumed.from_seq, resumed.to_seq, resumed.gap) == (heard + 1, END, False)
    assert ("page" in asked(heir)) == (heard < END - 2 * NEWEST)


async def test_the_first_word_reads_the_log_and_raises_nothing(heir: House) -> None:
    handle, ear = await heir.attach()
    epoch = live(heir).epoch
    await handle.say(Said(message="again", client_msg_id="w3"))
    (replayed,) = ear.of(ResponseDone)
    assert (replayed.replay, replayed.message) == (True, "You said w3.")
    await handle.say(Said(message="next"))
    fold = live(heir).fold
    assert fold is not None
    assert (ear.of(ResponseDone)[-1].message, fold.turn) == ("You said next.", TURNS + 1)
    assert (live(heir).epoch, asked(heir).count("open")) == (epoch, 2)


@pytest.mark.parametrize("forgot", [1, NEWEST, NEWEST + 1])
async def test_a_store_that_forgets_what_a_silent_listener_knows_is_noticed_with_the_next_word(
    heir: House, forgot: int
) -> None:
    """What came with the session is written again; of what is nowhere any more everybody hears."""
    handle, ear = await heir.attach()
    await handle.resume(END)
    rewind(heir.store.shelf, forgot)
    await handle.say(Said(message="next"))
    held = forgot <= NEWEST
    kept = words(TURNS) if held else words(TURNS - forgot)
    assert texts(heir.store.shelf) == [*kept, "next"]
    assert [lost.code for lost in ear.of(Resumed)] == [None, *([] if held else ["resume_lost"])]


async def test_who_heard_more_elsewhere_is_not_told_that_it_is_lost(heir: House) -> None:
    """Another gateway took the session over unnoticed, and its client comes here."""
    await heir.attach()
    other = await built(heir.store.shelf)
    theirs, _ = await other.attach()
    await say(other, theirs, "elsewhere")
    handle, ear = await heir.attach()
    await handle.resume(END + 1)
    assert told(ear) == [END + 2]
    assert not ear.of(Resumed)[0].gap
    await end(other)


async def test_what_is_held_of_it_is_weighed_and_let_go_of(heir: House) -> None:
    room = Room(max_bytes=4 * 1000)
    object.__setattr__(heir.service._world, "room", room)
    await heir.attach()
    assert live(heir).epoch == 0, "it holds more than a tenant's share: it sleeps"
    handle, ear = await heir.attach()
    await handle.resume(END - 2)
    await handle.say(Said(message="next"))
    assert told(ear) == [END - 1, END, END + 1, END + 2]


async def test_a_second_listener_asks_nothing(heir: House) -> None:
    await heir.attach()
    handle, ear = await heir.attach()
    await handle.resume(END - 1)
    assert (asked(heir), told(ear)) == (["open"], [END])


async def test_a_log_that_does_not_fit_its_head_is_said_at_once(heir: House) -> None:
    (log,) = heir.store.shelf.logs.values()
    del log[-1]
    with pytest.raises(CorruptRecord, match="disagree"):
        await heir.attach()
