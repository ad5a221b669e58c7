"""ports.LastGoodStore: one suite for Redis and for its fake."""

from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from tests.support.redis import RedisServer

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.broker.state.memory_tables import MemoryLastGood
from rolehost_runtime.gateway.broker.state.redis_tables import KEY, RedisLastGood
from rolehost_runtime.gateway.ports import OUTLIVED_MS, LastGoodStore, Place

NOW = 1_730_000_000_000


class Stores(Protocol):
    """Makes gateways' stores over one and the same Redis, or memory."""

    def __call__(self) -> LastGoodStore: ...


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        kept: dict[str, tuple[Place, bytes]] = {}
        yield lambda: MemoryLastGood(kept)
        return
    url: str = request.getfixturevalue(request.param).url
    if request.param != "server":
        url += "?replicas=1"
    made: list[RedisLastGood] = []

    def make() -> LastGoodStore:
        made.append(RedisLastGood.connect(url))
        return made[-1]

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


async def test_nothing_was_kept(stores: Stores) -> None:
    store = stores()
    assert (await store.places(), await store.read("pods")) == ({}, None)


async def test_what_one_gateway_keeps_another_reads_byte_for_byte(stores: Stores) -> None:
    one, other = stores(), stores()
    body = bytes(range(256)) * 4096
    assert await one.keep("pods", Place(7, 3, NOW), body)
    assert await one.keep("keys", Place(2, 3, NOW - 5), b"")
    assert await other.read("pods") == (Place(7, 3, NOW), body)
    assert await other.read("keys") == (Place(2, 3, NOW - 5), b"")
    assert await other.places() == {"pods": Place(7, 3, NOW), "keys": Place(2, 3, NOW - 5)}


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        pytest.param(Place(8, 3, NOW - 1), True, id="a-higher-number-of-its-own"),
        pytest.param(Place(7, 4, NOW - 1), True, id="a-higher-number-of-namespaces"),
        pytest.param(Place(7, 3, NOW), True, id="the-same-again"),
        pytest.param(Place(7, 3, NOW + 1), True, id="the-same-confirmed-later"),
        pytest.param(Place(7, 3, NOW - 1), False, id="the-same-confirmed-earlier"),
        pytest.param(Place(6, 3, NOW + 1), False, id="a-lower-number"),
        pytest.param(Place(9, 2, NOW + 1), False, id="a-lower-number-of-namespaces"),
        pytest.param(Place(6, 2, NOW + OUTLIVED_MS - 1), False, id="lower-and-not-long-after"),
        pytest.param(Place(6, 2, NOW + OUTLIVED_MS), True, id="an-etcd-that-was-restored"),
    ],
)
async def test_an_older_picture_never_replaces_a_newer_one(stores: Stores, place: Place, kept: bool) -> None:
    one, other = stores(), stores()
    await one.keep("pods", Place(7, 3, NOW), b"there")
    assert await other.keep("pods", place, b"new") is kept
    assert await one.read("pods") == ((place, b"new") if kept else (Place(7, 3, NOW), b"there"))


async def test_numbers_are_compared_as_numbers(stores: Stores) -> None:
    store = stores()
    await store.keep("pods", Place(9, 1, NOW), b"a")
    assert await store.keep("pods", Place(10, 1, NOW), b"b")
    assert not await store.keep("pods", Place(9, 1, NOW), b"c")


async def test_one_kind_says_nothing_of_another(stores: Stores) -> None:
    store = stores()
    await store.keep("pods", Place(9, 9, NOW), b"a")
    assert await store.keep("roles", Place(1, 1, NOW - 1), b"b")


# ── what only Redis does ────────────────────────────────────────────────────────────


async def test_what_nobody_confirms_ends_by_itself(server: RedisServer) -> None:
    store = RedisLastGood.connect(server.url)
    await store.keep("pods", Place(1, 1, NOW), b"a")
    assert 86_000 < await store._redis.run("TTL", KEY) <= 86_400
    await store._redis.run("HSET", KEY, "pods.place", "what is this")
    assert (await store.places(), await store.read("pods")) == ({}, None)
    assert await store.keep("pods", Place(1, 1, NOW), b"b")
    await store._redis.everywhere("FLUSHALL")
    await store.close()


async def test_a_store_that_is_away_is_said(tmp_path: object) -> None:
    store = RedisLastGood.connect(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(Unavailable) as told:
        await store.places()
    assert told.value.code == "state_unavailable"
    await store.close()
