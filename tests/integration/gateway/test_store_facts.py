"""What a real Redis says of itself, and that one that hides its settings is no failure."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from tests.support.redis import RedisServer, running

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running() as redis:
        yield redis


@pytest.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    redis = Redis.from_url(server.url)
    yield redis
    await redis.aclose()


async def test_durability_memory_and_clock(server: RedisServer, admin: Redis) -> None:
    store = RedisSessionStore.connect(server.url)
    try:
        facts = await store.facts()
        assert (facts.aof, facts.aof_writes, facts.appendfsync, facts.eviction) == (True, "ok", "always", "noeviction")
        assert facts.version.count(".") == 2
        assert facts.used_bytes > 0
        assert facts.max_bytes == 0
        assert abs(facts.now_ms - time.time() * 1000) < 60_000
        await admin.config_set("appendfsync", "everysec")
        await admin.config_set("maxmemory", "64mb")
        await admin.config_set("maxmemory-policy", "allkeys-lru")
        changed = await store.facts()
        assert (changed.appendfsync, changed.eviction, changed.max_bytes) == ("everysec", "allkeys-lru", 64 << 20)
    finally:
        await store.close()


async def test_settings_that_may_not_be_read_are_unknown(server: RedisServer, admin: Redis) -> None:
    await admin.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])
    store = RedisSessionStore.connect(f"unix://guest@{server.socket}", "x")
    try:
        facts = await store.facts()
        assert (facts.appendfsync, facts.aof) == ("", True)
    finally:
        await store.close()


async def test_a_redis_that_is_away_is_said_so(server: RedisServer) -> None:
    store = RedisSessionStore.connect(server.url)
    server.kill()
    try:
        with pytest.raises(Unavailable):
            await store.facts()
    finally:
        await store.close()
