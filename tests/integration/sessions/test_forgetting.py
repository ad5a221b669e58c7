"""All of a user is deleted from a real Redis, of one server and of a cluster, while gateways hold their sessions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.support import redis_fleet
from tests.support.house import House
from tests.support.redis import running
from tests.support.rooms import ACME, Ear, world

from rolehost_api.errors import Conflict
from rolehost_api.wire import Error, Said, Usage
from rolehost_runtime.core.record import last_seq
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.service import SessionService

SECRET = "swordfish"
U17, U18 = Whose(ACME.uid, "cat", "u-17"), Whose(ACME.uid, "cat", "u-18")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with running() as redis:
        yield redis


@pytest.fixture(scope="module")
def cluster() -> Iterator[redis_fleet.Fleet]:
    with redis_fleet.cluster() as fleet:
        yield fleet


@pytest.fixture(params=["server", "cluster"])
async def houses(request: pytest.FixtureRequest) -> AsyncIterator[list[House]]:
    """Two gateways that do not know each other: only the store tells one what the other did."""
    url = request.getfixturevalue(request.param).url
    found = []
    for name in ("a/1", "b/1"):
        house = House(world(ACME))
        store = RedisSessionStore.connect(url, owner=name)
        house.service = SessionService(
            house.tables, house.pool, store, house.service._world.models, house.clock, commit_pauses=(0, 0)
        )
        house.store = store  # type: ignore[assignment]
        house.pod(f"pod-{name[0]}")
        await house.pool.start()
        found.append(house)
    yield found
    for house in found:
        await house.service.stop(0)
        await house.pool.stop()
    await found[0].store._redis.everywhere("FLUSHALL")  # type: ignore[attr-defined]
    for house in found:
        await house.store.close()  # type: ignore[attr-defined]


async def everything(house: House) -> bytes:
    """Every key of the store, and every value."""
    redis = house.store._redis  # type: ignore[attr-defined]
    names = [name for names in await redis.everywhere("KEYS", "*") for name in names]
    return b"".join([name + (await redis.run("DUMP", name, key=name) or b"") for name in names])


async def test_no_word_of_a_forgotten_user_is_left_in_the_store(houses: list[House]) -> None:
    a, b = houses
    handles = []
    for number in range(20):
        handle, _ = await a.attach(f"s{number}", user="u-17")
        await handle.say(Said(message=f"{SECRET} {number}"))
        handles.append(handle)
    other, _ = await a.attach("s0", user="u-18")
    await other.say(Said(message="kept"))
    slow = a.slow_model()
    running_, ear = await a.attach("s3", user="u-17")
    turn = asyncio.create_task(running_.say(Said(message=f"{SECRET} again")))
    await a.until(lambda: bool(slow.asked))
    while SECRET.encode() not in await everything(a):
        await asyncio.sleep(0)
    receipt = await b.service.kept.forget_user(U17)
    assert (receipt.sessions, receipt.deleted) == (20, {"records": 20})
    assert SECRET.encode() not in await everything(a)
    slow.pieces.put_nowait(SECRET)
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    with pytest.raises(Conflict):
        await turn
    late = asyncio.create_task(handles[7].say(Said(message="hello")))  # its gateway still believes to hold it
    await a.until(lambda: len(slow.asked) == 2)
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    with pytest.raises(Conflict):
        await late
    assert SECRET.encode() not in await everything(a)
    assert [row.session_id for row in await b.store.rows(ACME.uid, "cat", None, None, 99)] == ["s0"]
    assert len(await b.store.read(U18.key("s0"))) == 1
    assert isinstance(ear, Ear)
    assert not ear.of(Error), "nobody told it"


async def test_a_fork_of_a_long_session_is_whole_and_of_its_own(houses: list[House]) -> None:
    a, b = houses
    handle, _ = await a.attach("long", user="u-17")
    for number in range(150):
        await handle.say(Said(message=str(number)))
    log = await a.store.read(U17.key("long"))
    fresh = await b.service.kept.fork(U17, "long", last_seq(log[99]))
    assert await b.store.read(U17.key(fresh)) == log[:100]
    forked, ear = await b.attach(fresh, user="u-17")
    await forked.say(Said(message="again"))
    assert ear.heard[-1].message == "Before: 99"  # type: ignore[union-attr]
    assert await a.store.read(U17.key("long")) == log
    await b.service.kept.forget(U17, "long")
    assert len(await a.store.read(U17.key(fresh))) == 101
