"""Memories at home in a store of their own: recalled at once, moved behind the turn's back, forgotten in both places."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, Clock, revision_entry, serve, world
from tests.unit.sessions.test_sessions_memory import ALL, KEY, NOBODY, U17, diary, say, template

from rolehost_api.errors import Unavailable
from rolehost_api.wire import ResponseDone
from rolehost_runtime.conformance.memory import ANN, MemoryStoreConformance, atom, texts
from rolehost_runtime.core.memory.atoms import Changes, Stored, marked
from rolehost_runtime.core.memory.uniting import moves
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.memories import MemoryStore
from rolehost_runtime.gateway.sessions.homed import Homed


class Elsewhere(MemorySessionStore):
    """A third party's store, which may be away."""

    away = False

    async def memories(self, key: str, known: Stored) -> Stored:
        self._reached()
        return await super().memories(key, known)

    async def change_memories(self, key: str, changes: Changes, *more: Any, **named: Any) -> int:
        self._reached()
        return await super().change_memories(key, changes, *more, **named)

    def _reached(self) -> None:
        if self.away:
            raise Unavailable("the memory store is away", code="state_unavailable")


class Homely:
    """Gateways `a` and `b`, on one log store and one home."""

    def __init__(self) -> None:
        self.shelf, self.home, self.counted = Shelf(), Elsewhere(), list[tuple[str, str]]()
        count = lambda what, outcome: self.counted.append((what, outcome))  # noqa: E731
        self.a, self.b = (House(world(ACME), self.shelf, home=self.home, memory=count) for _ in range(2))

    async def idle(self) -> None:
        for house in (self.a, self.b):
            await house.service._world.memories.idle()

    async def tail(self, key: str = KEY) -> Stored:
        return await self.a.store.memories(key, {})


@pytest.fixture
async def two() -> AsyncIterator[Homely]:
    built = Homely()
    for number, house in enumerate((built.a, built.b)):
        serve(house.tables, revision_entry(template=template(*ALL)))
        house.pod(f"p{number}", turn=playing(diary))
        await house.pool.start()
    yield built
    for house in (built.a, built.b):
        await house.service.stop(0)
        await house.pool.stop()


class TestHomed(MemoryStoreConformance):
    def make(self) -> MemoryStore:
        return Homed(MemorySessionStore(), MemorySessionStore(), lambda: 1)


async def test_what_was_just_acknowledged_is_recalled_by_every_gateway(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    other, heard = await two.b.attach("b", user="u-17")
    for number in range(4):
        await say(one, ear, f"+dragon {number}")
        assert f"dragon {number}" in await say(other, heard, "?dragons")
        assert f"dragon {number}" in await say(one, ear, "?dragons")
    await two.idle()
    assert texts(await two.home.memories(KEY, {})) == [f"dragon {number}" for number in range(4)]
    assert texts(await two.tail()) == []
    assert "dragon 3" in await say(other, heard, "?dragons"), "from home alone"


async def test_how_long_a_memory_took_to_its_home_is_told_when_it_is_there() -> None:
    home, clock, lags = Elsewhere(), Clock(0), list[float]()
    homed = Homed(MemorySessionStore(), home, clock, lag=lags.append)
    home.away = True
    await homed._tail.change_memories(ANN, Changes(added=(atom("a dragon"),)))
    homed.after_commit(ANN, 60, remembered=True)
    await homed.idle()
    assert lags == []
    clock.now_ms, home.away = 2500, False
    homed.after_commit(ANN, 60, remembered=True)
    await homed.idle()
    assert lags == [2.5]
    homed.after_commit(ANN, 60, remembered=False)
    await homed.idle()
    assert lags == [2.5]


async def test_a_home_that_is_away_fails_no_turn_that_remembers(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    two.home.away = True
    assert await say(one, ear, "+a dragon") == "noted"
    await say(one, ear, "?dragon")
    assert ear.of(ResponseDone)[-1].status == "completed"
    assert ("recall", "state_unavailable") in two.counted
    await two.idle()
    assert ("move", "state_unavailable") in two.counted
    assert texts(await two.tail()) == ["a dragon"]
    two.home.away = False
    assert await say(one, ear, "?dragon") == "a dragon"
    await say(one, ear, "+a spider")
    await two.idle()
    assert texts(await two.home.memories(KEY, {})) == ["a dragon", "a spider"]


async def test_what_is_at_home_is_confirmed_by_a_turn(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "!I am the admin")
    await two.idle()
    assert texts(await two.tail()) == []
    await say(one, ear, "=admin")
    assert await say(one, ear, "?admin") == "I am the admin"
    await two.idle()
    assert len(marked(await two.home.memories(KEY, {}), b"c")) == 1
    assert await say(one, ear, "?admin") == "I am the admin"


async def test_a_turn_forgets_what_is_at_home(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    await two.idle()
    assert await say(one, ear, "-dragon") == "1 gone"
    assert await say(one, ear, "?dragon") == "nothing"
    await two.idle()
    assert texts(await two.home.memories(KEY, {})) == []


async def test_a_forgotten_person_leaves_nothing_in_either_place(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    await two.idle()
    await say(one, ear, "+a spider")
    receipt = await two.b.service.kept.forget_user(U17)
    await two.idle()
    assert receipt.deleted["memories"] == 2
    assert texts(await two.home.memories(KEY, {})) == texts(await two.tail()) == []


async def test_forgetting_is_not_said_to_be_done_where_home_is_away(two: Homely) -> None:
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    await two.idle()
    two.home.away = True
    with pytest.raises(Unavailable):
        await two.b.service.kept.forget_user(U17)
    two.home.away = False
    await two.b.service.kept.forget_user(U17)
    assert texts(await two.home.memories(KEY, {})) == []


async def test_a_session_without_a_person_takes_its_memory_along(two: Homely) -> None:
    one, ear = await two.a.attach("a")
    await say(one, ear, "+a dragon")
    await two.idle()
    key = NOBODY.key("a")
    assert texts(await two.home.memories(key, {})) == ["a dragon"]
    receipt = await two.a.service.kept.forget(NOBODY, "a")
    assert receipt.deleted["memories"] == 1
    assert texts(await two.home.memories(key, {})) == []


async def test_a_move_that_comes_late_brings_nothing_back(two: Homely) -> None:
    """One gateway was about to move what another one forgets meanwhile."""
    tail, home = MemorySessionStore(), MemorySessionStore()
    slow, quick = Homed(tail, home, lambda: 1), Homed(tail, home, lambda: 1)
    await slow.change_memories(ANN, Changes(added=(atom("tea"),)))
    stale = await tail.memories(ANN, {})
    assert await quick.drop_memories(ANN) == 1
    for changes in moves(stale)[0]:
        await home.change_memories(ANN, changes)
    assert texts(await slow.memories(ANN, {})) == texts(await home.memories(ANN, {})) == []


async def test_a_home_is_kept_for_as_long_as_its_person_comes(two: Homely) -> None:
    day = 86_400_000
    two.home.shelf.now_ms = lambda: two.a.clock.now_ms
    one, ear = await two.a.attach("a", user="u-17")
    await say(one, ear, "+a dragon")
    await two.idle()
    for _ in range(8):
        two.a.clock.now_ms += 10 * day
        await say(one, ear, "hello")
        await two.idle()
    assert texts(await two.home.memories(KEY, {})) == ["a dragon"]
    two.a.clock.now_ms += 40 * day
    assert texts(await two.home.memories(KEY, {})) == []
