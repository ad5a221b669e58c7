"""ports.Leases: one suite for Redis and for its fake."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.redis import running

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.broker.state.memory_leases import MemoryLeases
from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.ports import LEASE_SECONDS, Leases

Made = tuple[Leases, Callable[[str], Awaitable[Any]]]


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def made(request: pytest.FixtureRequest) -> AsyncIterator[Made]:
    """Leases, and a way to let one end before its time."""
    if request.param == "memory":
        leases = MemoryLeases()

        async def end(gateway: str) -> None:
            leases.board[gateway] = 0.0

        yield leases, end
        return
    redis = RedisLeases.connect(request.getfixturevalue(request.param).url)

    async def expire(gateway: str) -> None:
        key = f"rh:gw:{gateway}"
        await redis._redis.run("PEXPIRE", key, 1, key=key.encode())
        await asyncio.sleep(0.01)

    yield redis, expire
    await redis._redis.everywhere("FLUSHALL")
    await redis.close()


async def test_a_lease_is_held_by_whom_it_was_renewed(made: Made) -> None:
    leases, _ = made
    assert not await leases.held("a/1")
    assert not await leases.renew("a/1")
    assert await leases.renew("a/1")
    assert (await leases.held("a/1"), await leases.held("a/2"), await leases.held("b/1")) == (True, False, False)


async def test_who_renews_one_that_had_ended_is_told(made: Made) -> None:
    leases, end = made
    await leases.renew("a/1")
    await end("a/1")
    assert not await leases.held("a/1")
    assert not await leases.renew("a/1")
    assert await leases.held("a/1")


async def test_redis_ends_it_by_itself() -> None:
    """What is asked of it: to end the key so many seconds after the last renewal, by its own count."""
    with running() as server:
        redis = RedisLeases.connect(server.url)
        await redis.renew("a/1")
        left = int(await redis._redis.run("PTTL", "rh:gw:a/1", key=b"rh:gw:a/1"))
        assert 1000 * (LEASE_SECONDS - 1) < left <= 1000 * LEASE_SECONDS
        server.kill()
        with pytest.raises(Unavailable):
            await redis.renew("a/1")
        with pytest.raises(Unavailable):
            await redis.held("a/1")
        await redis.close()
