"""A long conversation whose begin leaves a real Redis over the S3 wire, while both are killed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.state.helpers import persistently, turn
from tests.support.archiving import Died, read
from tests.support.objects import BUILD_SECONDS, S3, s3
from tests.support.redis_fleet import DURABLE, Server
from tests.support.wire import Wire

from rolehost_api.errors import Conflict, RolehostError
from rolehost_runtime.core import segment
from rolehost_runtime.core.record import Record
from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import Head, SegmentStore
from rolehost_runtime.gateway.sessions.archive import Archive, Old
from rolehost_runtime.gateway.sessions.history import History, Past

TURNS, STAY = 300, 250
pytestmark = pytest.mark.timeout(120 + BUILD_SECONDS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def wire() -> Iterator[S3]:
    with s3() as served:
        yield served


async def written(store: RedisSessionStore, turns: int = TURNS) -> tuple[Head, list[Record]]:
    head, _ = await store.open("k")
    records: list[Record] = [turn(head, number, f"turn {number} " * 40) for number in range(1, turns + 1)]
    for record in records:
        await store.commit("k", record)
    return head, records


async def test_redis_is_killed_while_records_leave_it_and_each_is_there_once(
    server: Server, wire: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "MAX_ENTRIES", 10)
    store = RedisSessionStore.connect(f"redis://{server.address}")
    with wire.environment():
        past = Past(store.shortened, ObjectSegments.connect(f"{wire.url}/{tmp_path.name}"))
    head, records = await written(store)
    segments, kills = past.segments, iter((1, 4, 9))
    assert segments is not None
    put, puts, next_kill = segments.put, 0, next(kills)

    async def put_and_kill(name: str, body: bytes) -> None:
        nonlocal puts, next_kill
        await put(name, body)
        puts += 1
        if puts == next_kill:
            next_kill = next(kills, 0)
            server.kill()

    monkeypatch.setattr(segments, "put", put_and_kill)
    refused: list[str] = []
    while (await persistently(lambda: store.page("k", (1, 0), 1)))[0].turn != STAY:
        try:
            await Archive(past).move(Old("u-1", "k", head.log_id, head.epoch, (STAY, 0)))
        except RolehostError as away:
            refused.append(away.code)
            await asyncio.to_thread(server.start)
    assert refused == ["state_unavailable"] * 3
    assert await read(History(store, past, "k"), 7) == records
    assert await read(History(store, past, "k"), 4, (STAY - 9, 0)) == records[STAY - 10 :]
    assert [record.turn for record in await store.read("k")] == [*range(STAY, TURNS + 1)]
    assert len(await segments.list("u-1/k/", 1000)) == 25, (
        "what was written before a kill was written again under its name"
    )
    await store.close()


def s3_past(store: RedisSessionStore, wire: S3, folder: Path) -> tuple[Past, SegmentStore]:
    with wire.environment():
        segments = ObjectSegments.connect(f"{wire.url}/{folder.name}")
    return Past(store.shortened, segments), segments


def named(server: Server) -> list[str]:
    """Segments that the log refers to."""
    return [word for word in server.ask("xrange", "rh:{k}:k:segs", "-", "+").split() if word.startswith("u-1/")]


async def test_gateways_die_between_writing_a_segment_and_naming_it_and_no_object_is_left_over(
    server: Server, wire: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each had been told that more may go than the one before it: none writes under another one's name."""
    monkeypatch.setattr(segment, "MAX_ENTRIES", 10)
    stores = [RedisSessionStore.connect(f"redis://{server.address}") for _ in range(4)]
    head, records = await written(stores[0], 60)
    for puts, before, store in zip((2, 1, 1), (13, 17, 25), stores, strict=False):
        past, segments = s3_past(store, wire, tmp_path)

        class Mortal:
            get, list, delete = segments.get, segments.list, segments.delete
            left = puts

            async def put(self, name: str, body: bytes, segments: SegmentStore = segments) -> None:
                await segments.put(name, body)
                self.left -= 1
                if not self.left:
                    raise Died

        with pytest.raises(Died):
            await Archive(Past(past.log, Mortal())).move(Old("u-1", "k", head.log_id, head.epoch, (before, 0)))
        head, _ = await stores[stores.index(store) + 1].open("k", given={store._owner: head.epoch})
    past, segments = s3_past(stores[-1], wire, tmp_path)
    assert set(await segments.list("u-1/k/", 1000)) > set(named(server)), "somebody died just there"
    await Archive(past).move(Old("u-1", "k", head.log_id, head.epoch, (40, 0)))
    assert sorted(await segments.list("u-1/k/", 1000)) == sorted(named(server))
    assert await read(History(stores[-1], past, "k"), 7) == records
    for store in stores:
        await store.close()


async def test_an_answer_is_lost_and_another_owner_comes_and_what_was_named_stays(
    server: Server, wire: S3, tmp_path: Path
) -> None:
    """The call is sent again over another connection, and refused: it had been carried out before."""
    other = RedisSessionStore.connect(f"redis://{server.address}")
    async with Wire(server.port) as between:
        store = RedisSessionStore.connect(f"redis://127.0.0.1:{between.port}")
        head, records = await written(store, 30)
        past, segments = s3_past(store, wire, tmp_path)
        get, taking = segments.get, list[asyncio.Task[None]]()

        async def taken() -> None:
            while not named(server):
                await asyncio.sleep(0.01)
            await other.open("k", given={store._owner: head.epoch})
            between.flow()

        def harm(number: int) -> str:
            if number > 1:
                return ""
            between.hole()
            taking.append(asyncio.create_task(taken()))
            return "after"

        async def get_and_harm(name: str) -> bytes:
            body = await get(name)
            between.arm(harm)
            return body

        segments.get = get_and_harm  # type: ignore[method-assign]
        with pytest.raises(Conflict):
            await Archive(past).move(Old("u-1", "k", head.log_id, head.epoch, (20, 0)))
        await asyncio.gather(*taking)
        assert list(await segments.list("u-1/k/", 1000)) == named(server)
        assert await read(History(other, s3_past(other, wire, tmp_path)[0], "k"), 7) == records
        await store.close()
    await other.close()


async def test_what_is_taken_away_gives_its_memory_back(server: Server, tmp_path: Path) -> None:
    store = RedisSessionStore.connect(f"redis://{server.address}")
    past = Past(store.shortened, ObjectSegments.connect((tmp_path / "archive").as_uri()))
    head, _ = await written(store)
    before = int(server.ask("memory", "usage", "rh:{k}:k:wal"))
    assert await Archive(past).move(Old("u-1", "k", head.log_id, head.epoch, (STAY, 0))) == STAY - 1
    assert int(server.ask("memory", "usage", "rh:{k}:k:wal")) < before / 3
    assert len(list((tmp_path / "archive").rglob("1-1.0-*"))) == 1, "whole, and nothing half written beside it"
    await store.close()
