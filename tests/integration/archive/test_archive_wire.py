"""A long conversation whose begin leaves a real Redis over the S3 wire, while both are killed."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.state.helpers import persistently, turn
from tests.support.archiving import read
from tests.support.objects import BUILD_SECONDS, S3, s3
from tests.support.redis_fleet import DURABLE, Server

from rolehost_api.errors import RolehostError
from rolehost_runtime.core import segment
from rolehost_runtime.core.record import Record
from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import Head
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


async def written(store: RedisSessionStore) -> tuple[Head, list[Record]]:
    head, _ = await store.open("k")
    records: list[Record] = [turn(head, number, f"turn {number} " * 40) for number in range(1, TURNS + 1)]
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


async def test_what_is_taken_away_gives_its_memory_back(server: Server, tmp_path: Path) -> None:
    store = RedisSessionStore.connect(f"redis://{server.address}")
    past = Past(store.shortened, ObjectSegments.connect((tmp_path / "archive").as_uri()))
    head, _ = await written(store)
    before = int(server.ask("memory", "usage", "rh:{k}:k:wal"))
    assert await Archive(past).move(Old("u-1", "k", head.log_id, head.epoch, (STAY, 0))) == STAY - 1
    assert int(server.ask("memory", "usage", "rh:{k}:k:wal")) < before / 3
    assert len(list((tmp_path / "archive").rglob("1-1.0-*"))) == 1, "whole, and nothing half written beside it"
    await store.close()
