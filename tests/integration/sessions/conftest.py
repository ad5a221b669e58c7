"""Platforms of one gateway and of two that know each other, warm, over a Redis of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.killing import Platform, platform
from tests.support.redis import running
from tests.support.surviving import warm

from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[tuple[Platform, RedisSessionStore]]:
    with running() as redis:
        async with platform(redis, tmp_path) as built:
            store = RedisSessionStore.connect(redis.url)
            await warm(built)
            yield built, store
            await store.close()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Platform, RedisSessionStore]]:
    """Two gateways that know each other; `a` is the one that is killed."""
    with running() as redis:
        async with platform(redis, tmp_path, ("a", "b")) as built:
            store = RedisSessionStore.connect(redis.url)
            await warm(built)
            yield built, store
            await store.close()
