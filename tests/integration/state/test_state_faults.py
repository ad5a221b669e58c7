"""Redis dies, forgets, or cannot be reached, under live sessions: what was acknowledged is there, or the loss is told."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.integration.state.helpers import persistently, turn
from tests.integration.state.test_state_rewind import House, say
from tests.support.redis_fleet import DURABLE, Server, until
from tests.support.wire import Wire

from rolehost_api.errors import Conflict, Unavailable
from rolehost_api.wire import ResponseDone, Resumed, Said
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

pytestmark = pytest.mark.timeout(60)
EVERYSEC = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory", "64mb")
UNTRIMMED = ("--auto-aof-rewrite-percentage", "0")


@pytest.fixture(params=["always", "everysec"])
def fsync(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    often = request.getfixturevalue("fsync") if "fsync" in request.fixturenames else "always"
    made = Server(tmp_path / "redis", *(DURABLE if often == "always" else EVERYSEC), *UNTRIMMED)
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def living(url: str) -> AsyncIterator[House]:
    house = House(url)
    await house.pool.start()
    try:
        yield house
    finally:
        await house.service.stop(0)
        await house.pool.stop()
        await house.store.close()


def log_file(server: Server) -> Path:
    """Where Redis appends; from 7 on it is one file of several."""
    [newest] = [path for path in server.folder.rglob("*.aof") if ".base." not in path.name]
    return newest


def lose_power(server: Server, keep: int) -> None:
    """The machine died with all that the disk did not have yet: of the log only so many bytes are there."""
    server.kill()
    path = log_file(server)
    with path.open("r+b") as file:
        assert keep <= path.stat().st_size
        file.truncate(keep)
    server.start()


# ── F29: killed between the acknowledgement and the next write ──────────────────────


async def test_killed_between_an_acknowledgement_and_the_next_write_it_loses_nothing(
    server: Server, fsync: str
) -> None:
    """The kernel has what the process wrote: that Redis dies costs nothing, however often it syncs."""
    async with living(f"redis://{server.address}") as house:
        handle, ear = await house.attach()
        words = [f"word{number}" for number in range(6)]
        for word in words:
            await say(handle, word)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        assert await house.texts() == words
        assert not ear.of(Resumed)


async def test_a_machine_that_dies_within_the_second_takes_what_nobody_holds_and_that_is_told(tmp_path: Path) -> None:
    """everysec: what a live owner holds it writes again; what only a client remembers is told as `resume_lost`."""
    server = Server(tmp_path / "redis", *EVERYSEC, *UNTRIMMED)
    server.start()
    try:
        async with living(f"redis://{server.address}") as house:
            handle, ear = await house.attach()
            await say(handle, "one")
            synced = log_file(server).stat().st_size
            await say(handle, "two")
            await asyncio.to_thread(lose_power, server, synced)
            await say(handle, "three")
            assert await house.texts() == ["one", "two", "three"], "its owner held it"
            assert not ear.of(Resumed)
            heard = max(done.seq for done in ear.of(ResponseDone))
            synced = log_file(server).stat().st_size
            await say(handle, "four")
            known = max(done.seq for done in ear.of(ResponseDone))
            assert known > heard
        await asyncio.to_thread(lose_power, server, synced)
        async with living(f"redis://{server.address}") as house:  # and its gateway died with it
            handle, ear = await house.attach()
            await handle.resume(known)
            [told] = ear.of(Resumed)
            assert (told.code, told.gap) == ("resume_lost", True)
            assert [done.seq for done in ear.of(ResponseDone)][-1] == heard, "all there is, is told"
            await say(handle, "four")
            assert await house.texts() == ["one", "two", "three", "four"]
    finally:
        server.stop()


# ── F30: the log's end is torn ──────────────────────────────────────────────────────


@pytest.mark.parametrize("torn", [1, 40, 200])
async def test_a_torn_end_of_the_log_ends_at_the_last_whole_record_and_what_is_missing_is_told(
    server: Server, torn: int
) -> None:
    async with living(f"redis://{server.address}") as house:
        handle, ear = await house.attach()
        await say(handle, "one", "two", "three")
        known = max(done.seq for done in ear.of(ResponseDone))
    whole = log_file(server).stat().st_size
    await asyncio.to_thread(lose_power, server, whole - torn)
    assert server.ask("ping") == "PONG", "it starts, and does not end again"
    async with living(f"redis://{server.address}") as house:
        kept = await house.texts()
        assert kept == ["one", "two", "three"][: len(kept)]
        handle, ear = await house.attach()
        await handle.resume(known)
        lost = [told.code for told in ear.of(Resumed) if told.gap]
        assert lost == (["resume_lost"] if len(kept) < 3 else [])
        await say(handle, *["one", "two", "three"][len(kept) :])
        assert await house.texts() == ["one", "two", "three"]


async def test_a_log_that_is_torn_in_every_place_of_a_commit_has_it_whole_or_not_at_all(server: Server) -> None:
    """A script's writes are one transaction of the log: no cut leaves a record without its head."""
    store = RedisSessionStore.connect(f"redis://{server.address}")
    head, _ = await store.open("k")
    await store.commit("k", turn(head, 1))
    before = log_file(server).stat().st_size
    await store.commit("k", turn(head, 2))
    after = log_file(server).stat().st_size
    await asyncio.to_thread(server.kill)
    copy = server.folder.with_name("copy")
    found = set()
    for keep in sorted(
        {before, before + 1, *range(before + 7, after, max(1, (after - before) // 8)), after - 1, after}
    ):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(server.folder, copy)
        other = Server(copy, *DURABLE, *UNTRIMMED)
        with log_file(other).open("r+b") as file:
            file.truncate(keep)
        await asyncio.to_thread(other.start)
        there = RedisSessionStore.connect(f"redis://{other.address}")
        records, stands = await there.read("k"), await there.head("k")
        assert stands is not None
        assert [record.turn for record in records] == list(range(1, stands.turn + 1)), keep
        assert stands.seq == len(records)
        found.add(stands.turn)
        await there.close()
        other.stop()
    assert found == {1, 2}
    await store.close()


# ── F32: a partition between gateway and Redis ──────────────────────────────────────

SLOWEST_SECONDS = 2.0
"""What is promised; the rest is what a busy machine takes to run the loop at all."""
SLACK_SECONDS = 1.5


async def away(server: Server, wire: Wire, how: str) -> None:
    if how == "hole":
        wire.hole()
    elif how == "reset":
        wire.arm(lambda number: "before")
        wire.reset()
    else:
        await asyncio.to_thread(server.kill)


async def back(server: Server, wire: Wire, how: str) -> None:
    if how == "hole":
        wire.flow()
    elif how == "reset":
        wire.arm(lambda number: "")
    else:
        await asyncio.to_thread(server.start)


@pytest.mark.parametrize("how", ["hole", "reset", "down"])
async def test_a_partition_fails_turns_in_two_seconds_and_keeps_sessions(server: Server, how: str) -> None:
    async with Wire(server.port) as wire, living(f"redis://127.0.0.1:{wire.port}") as house:
        troubles: list[str] = []
        house.store._redis.noticed = troubles.append
        handle, ear = await house.attach()
        await say(handle, "one")
        await away(server, wire, how)
        clock = asyncio.get_running_loop().time
        for _ in range(2):  # in mid-commit, and where the log must be read first
            began = clock()
            with pytest.raises(Unavailable) as told:
                await handle.say(Said(message="two", client_msg_id="two"))
            assert (told.value.code, told.value.status, told.value.retryable) == ("state_unavailable", 503, True)
            assert clock() - began < SLOWEST_SECONDS + SLACK_SECONDS
        assert {"lost", "overdue"} & set(troubles)
        await back(server, wire, how)
        await say(handle, "two", "three")
        assert await house.texts() == ["one", "two", "three"]
        assert [done.message for done in ear.of(ResponseDone) if done.status == "completed"] != []
        assert not ear.of(Resumed)


async def test_who_cannot_connect_tries_again_ever_more_slowly_and_not_in_step_with_others(server: Server) -> None:
    async with Wire(server.port) as wire:
        stores = [RedisSessionStore.connect(f"redis://127.0.0.1:{wire.port}") for _ in range(6)]
        for store in stores:
            assert await store.answers()
        before, clock = len(wire.accepted), asyncio.get_running_loop().time
        wire.arm(lambda number: "before")
        wire.reset()
        began = clock()

        async def ask(store: RedisSessionStore) -> None:
            while clock() < began + 4:
                assert not await store.answers()

        await asyncio.gather(*map(ask, stores))
        tries = wire.accepted[before:]
        # The pauses reach a second, and half of each is chance.
        assert len(tries) <= len(stores) * (8 + (clock() - began) / 0.5)
        late = [one for one in tries if one > began + 1.5]
        together = sum(later - earlier < 0.003 for earlier, later in pairwise(late))
        assert together < len(late) / 2, "they come in step"
        wire.arm(lambda number: "")
        for store in stores:
            await persistently(lambda store=store: store.open("k"))  # type: ignore[misc]
            await store.close()


# ── F34: what Redis refuses, beside test_state_client ───────────────────────────────


async def test_a_redis_that_cannot_write_its_log_is_said_and_takes_more_when_it_can(server: Server) -> None:
    """MISCONF: a snapshot that failed forbids writes."""
    troubles: list[str] = []
    store = RedisSessionStore.connect(f"redis://{server.address}", noticed=troubles.append)
    head, _ = await store.open("k")
    assert server.ask("config", "set", "save", "1 1") == "OK"
    (server.folder / "dump.rdb").mkdir()  # what cannot be replaced by a file
    server.ask("bgsave")
    until(lambda: "rdb_last_bgsave_status:err" in server.ask("info", "persistence"), "the snapshot did not fail")
    with pytest.raises(Unavailable) as told:
        await store.commit("k", turn(head, 1))
    assert (told.value.code, told.value.retryable) == ("state_unavailable", True)
    assert "disk" in told.value.message
    assert troubles == ["MISCONF"]
    (server.folder / "dump.rdb").rmdir()
    assert server.ask("config", "set", "save", "") == "OK"
    await persistently(lambda: store.commit("k", turn(head, 1)))
    assert len(await store.read("k")) == 1
    await store.close()


# ── F36: the same turn again, out of order, a gap ───────────────────────────────────


async def test_the_same_again_is_answered_from_the_log_and_disorder_changes_nothing(server: Server) -> None:
    async with living(f"redis://{server.address}") as house:
        handle, ear = await house.attach()
        await say(handle, "one", "two", "one")
        dones: list[Any] = ear.of(ResponseDone)
        assert [done.client_msg_id for done in dones] == ["one", "two", "one"]
        assert (dones[2].message, dones[2].seq, dones[2].replay) == (dones[0].message, dones[0].seq, True)
        assert await house.texts() == ["one", "two"]
        fence = await house.store.fence(house.key)
        there = await house.store.head(house.key)
        assert fence is not None
        assert there is not None
        for number in (1, 2, 4):  # others in the place of what is there, and one too far
            with pytest.raises(Conflict) as told:
                await house.store.commit(house.key, turn(there, number))
            assert told.value.code == "superseded"
        assert await house.store.head(house.key) == there
        await handle.resume(99)
        [lost] = [resumed for resumed in ear.of(Resumed) if resumed.gap]
        assert (lost.code, lost.from_seq, lost.to_seq) == ("resume_lost", 1, there.seq), "where it goes on is said"
