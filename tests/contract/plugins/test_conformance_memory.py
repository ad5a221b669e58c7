"""The suite for MemoryStores, which third parties run too, over our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support import redis_fleet
from tests.support.redis import running

from rolehost_runtime.conformance.memory import MemoryStoreConformance
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.memories import MemoryStore


class TestMemory(MemoryStoreConformance):
    def make(self) -> MemoryStore:
        return MemorySessionStore()


class _OverRedis(MemoryStoreConformance):
    url: str

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[MemoryStore]:
        store = RedisSessionStore.connect(self.url)
        try:
            yield store
        finally:
            await store._redis.everywhere("FLUSHALL")
            await store.close()


class TestRedis(_OverRedis):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls):  # type: ignore[no-untyped-def]
        with running() as server:
            cls.url = server.url
            yield


class TestRedisCluster(_OverRedis):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls):  # type: ignore[no-untyped-def]
        with redis_fleet.cluster() as fleet:
            cls.url = fleet.url
            yield
