"""How long a store keeps what: one suite for Redis as it may stand, and for the fake with a clock of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from msgspec.structs import replace
from tests.contract.broker.test_contract_library import talk, turn
from tests.contract.broker.test_contract_memory import remembering
from tests.support.rooms import Clock

from rolehost_api.errors import Conflict
from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import ForkedFrom
from rolehost_runtime.core.memory.atoms import Atom, Changes, atoms_of
from rolehost_runtime.core.merge import view_of
from rolehost_runtime.core.record import Record, last_seq
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Beginning, Whose
from rolehost_runtime.gateway.ports import Head, SessionStore, ShortenedLog

KEEP = 1
"""Seconds: as short as Redis can."""
WAIT_SECONDS = 10.0


def name(first: str, last: str) -> str:
    return f"u-1/u/s/l1/1-{first}-{last}-{32 * 'a'}"


@dataclass
class World:
    store: SessionStore
    log: ShortenedLog
    pass_seconds: Callable[[float], Awaitable[None]]
    redis: RedisSessionStore | None = None

    async def until_gone(self, key: str) -> None:
        """Its time passes; at any moment before it there is all of it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (head := await self.store.head(key)) is not None:
            records = await self.store.read(key)
            assert last_seq(records[-1]) == head.seq
            assert time.monotonic() < deadline
            await self.pass_seconds(0.05)

    async def lives(self) -> dict[str, int]:
        """Seconds that each key of the store has, by its name."""
        assert self.redis is not None
        redis = self.redis._redis
        names: list[bytes] = [one for names in await redis.everywhere("KEYS", "*") for one in names]
        return {one.decode(): await redis.run("TTL", one, key=one) for one in names}


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        clock = Clock()
        shelf = Shelf(now_ms=clock)

        async def moves(seconds: float) -> None:
            clock.now_ms += int(1000 * seconds)

        yield World(MemorySessionStore(shelf, "a"), MemoryShortenedLog(shelf, "a"), moves)
        return
    url: str = request.getfixturevalue(request.param).url
    store = RedisSessionStore.connect(url if request.param == "server" else f"{url}?replicas=1")
    yield World(store, store.shortened, asyncio.sleep, store)
    await store._redis.everywhere("FLUSHALL")
    await store.close()


async def full(world: World, key: str = "u:s", keep: int = KEEP) -> tuple[Head, list[Record]]:
    """A session with everything beside it, and what its user's sessions share."""
    head, records = await talk(world.store, key)
    for number in (1, 3):
        await world.store.keep(key, snapshot(head, number, 2 if number == 1 else last_seq(records[-1])))
    assert await world.log.shorten(key, head.log_id, head.epoch, (1, 0), (1, 0), name("1.0", "1.0"))
    for number in (4, 5):
        record = turn(head, number, last_seq(records[-1]) + 1)
        records.append(replace(record, version=3, patch=(), user_patch=(PatchOp("replace", "/n", number),)))
        await world.store.commit(key, records[-1], keep)
    return head, records


def snapshot(head: Head, number: int, seq: int) -> Snapshot:
    return Snapshot(
        log_id=head.log_id, epoch=head.epoch, turn=number, seq=seq, version=number, at_ms=number, revision="cat-1",
        state={"turns": number}, response_id=f"r{number}", past_from=number,
    )  # fmt: skip


async def test_a_session_that_nobody_speaks_in_is_gone_whole(world: World) -> None:
    await full(world)
    await world.until_gone("u:s")
    assert await world.store.fence("u:s") is None
    fresh, records = await world.store.open("u:s")
    assert (fresh.epoch, fresh.turn, fresh.seq, fresh.kept, records) == (1, 0, 0, None, [])
    assert (await world.store.read("u:s"), await world.log.shelved("u:s", (1, 0))) == ([], None)
    await world.store.commit("u:s", turn(fresh, 1, 1))
    assert [record.turn for record in await world.store.read("u:s")] == [1]


async def test_who_held_it_cannot_write_in_it_any_more(world: World) -> None:
    head, records = await full(world)
    await world.until_gone("u:s")
    late = turn(head, 6, last_seq(records[-1]) + 1)
    with pytest.raises(Conflict):
        await world.store.commit("u:s", late)
    with pytest.raises(Conflict):
        await world.store.keep("u:s", snapshot(head, 3, 2))
    with pytest.raises(Conflict):
        await world.log.shorten("u:s", head.log_id, head.epoch, (2, 0), (2, 0), name("2.0", "2.0"))
    assert await world.store.head("u:s") is None


async def test_every_turn_begins_the_time_anew(world: World) -> None:
    head, _ = await world.store.open("k")
    started = time.monotonic()
    for number in range(1, 9):
        await world.store.commit("k", turn(head, number, 2 * number - 1), 3)
        await world.pass_seconds(0.5)
    left = await world.store.head("k")
    if world.redis is None or time.monotonic() - started < 5:  # on a machine that stood still it may have gone
        assert left is not None
        assert left.turn == 8


async def test_a_copied_log_lasts_as_long(world: World) -> None:
    head, records = await talk(world.store)
    origin = ForkedFrom("s", last_seq(records[-1]))
    beginning = Beginning("log", head.epoch, 3, last_seq(records[-1]), 3, "cat-1", 3, 1, origin)
    await world.store.draft("new", records)
    await world.store.found("new", beginning, KEEP)
    await world.until_gone("new")
    assert await world.store.head("k") is not None


async def test_what_is_shared_lasts_as_long_as_somebody_reads_it(world: World) -> None:
    head, _ = await world.store.open("u:s")
    patch = (PatchOp("replace", "/n", 7),)
    record = replace(turn(head, 1, 1), version=0, patch=(), user_patch=patch)
    await world.store.commit("u:s", record, 600)
    if world.redis is None:
        await world.pass_seconds(600)
        await world.store.user("u", {}, 600)
        await world.pass_seconds(600)
        assert view_of(await world.store.user("u", {})) == {"n": 7}, "looking does not prolong it"
        await world.pass_seconds(60)
        assert await world.store.user("u", {}) == {}
        return
    known = await world.store.user("u", {}, 5_000)
    assert 5_000 < (await world.lives())["rh:{u}:user"] <= 5_060
    assert await world.store.user("u", known, 7_000) is known
    assert await world.store.user("u", known) is known
    assert 7_000 < (await world.lives())["rh:{u}:user"] <= 7_060


@pytest.mark.parametrize("key", ["u:s", "k"])
async def test_what_is_remembered_lasts_as_long_as_somebody_speaks(world: World, key: str) -> None:
    head, _ = await world.store.open(key)
    await world.store.commit(key, remembering(head, "likes tea"), 600)
    one = head
    if key == "u:s":  # any session of the person's, with a turn that remembers nothing
        key = "u:t"
        one, _ = await world.store.open(key)
    record = turn(one, 1 if key == "u:t" else 2, 1 if key == "u:t" else 3)
    if world.redis is None:
        await world.pass_seconds(599)
        await world.store.commit(key, record, 600)
        await world.pass_seconds(600)
        assert [atom.text for atom in atoms_of(await world.store.memories(key, {}))] == ["likes tea"]
        await world.store.memories(key, {})
        await world.store.change_memories(key, Changes(confirmed=("nobody",)))
        await world.pass_seconds(60)
        assert await world.store.memories(key, {}) == {}, "neither looking nor correcting prolongs it"
        return
    name = keys.memories(key)
    assert 600 < (await world.lives())[name] <= 660
    await world.store.commit(key, record, 7_000)
    assert 7_000 < (await world.lives())[name] <= 7_060
    await world.store.memories(key, {})
    await world.store.change_memories(key, Changes(confirmed=("nobody",)), 90_000)
    assert 6_000 < (await world.lives())[name] <= 7_060


async def test_a_memory_that_no_turn_made_goes_too(world: World) -> None:
    atom = Atom(id="a1", text="likes tea", at_ms=1)
    await world.store.change_memories("u:s", Changes(added=(atom,)), 600)
    if world.redis is not None:
        assert 600 < (await world.lives())[keys.memories("u:s")] <= 660
        return
    await world.pass_seconds(659)
    assert len(atoms_of(await world.store.memories("u:s", {}))) == 1
    await world.pass_seconds(1)
    assert await world.store.memories("u:s", {}) == {}


async def test_a_session_that_begins_anew_does_not_remember_the_one_that_lasted_its_time(world: World) -> None:
    head, _ = await world.store.open("k")
    await world.store.commit("k", remembering(head, "likes tea"), KEEP)
    await world.until_gone("k")
    await world.store.open("k")
    assert await world.store.memories("k", {}) == {}


@pytest.mark.parametrize("world", ["server", "sentinels", "cluster"], indirect=True)
async def test_no_key_is_for_ever_and_all_outlive_the_head(world: World) -> None:
    head, records = await full(world, keep=3_000)
    await world.store.keep("u:s", snapshot(head, 3, last_seq(records[-1])))
    assert await world.log.shorten("u:s", head.log_id, head.epoch, (2, 0), (2, 0), name("2.0", "2.0"))
    await world.store.enlist(Whose("uid-acme", "cat", "anne"), "s", 1)
    assert await world.store.claim("uid-acme", "cat", 60)
    lives = await world.lives()
    of_session = {one.rpartition(":")[2]: life for one, life in lives.items() if one.startswith("rh:{u}:s:")}
    assert of_session.keys() == {"head", "wal", "snap", "segs"}
    assert 2_900 < of_session.pop("head") <= 3_000
    assert all(3_000 < life <= 3_061 for life in of_session.values()), of_session
    assert all(3_000 < lives[one] <= 3_060 for one in ("rh:{u}:user", "rh:{u}:user:comp"))
    assert all(life > 0 for life in lives.values()), lives


async def test_a_register_is_one_gateways_to_sweep(world: World) -> None:
    assert await world.store.claim("uid-acme", "cat", 1)
    assert await world.store.claim("uid-acme", "dog", 60)
    assert not await world.store.claim("uid-acme", "dog", 1)
    deadline = time.monotonic() + WAIT_SECONDS
    while not await world.store.claim("uid-acme", "cat", 60):
        assert time.monotonic() < deadline
        await world.pass_seconds(0.05)
