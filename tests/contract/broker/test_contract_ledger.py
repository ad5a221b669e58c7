"""ports.TokenLedger: one suite for Redis and for its fake."""

from collections.abc import AsyncIterator

import pytest
from tests.support.redis import running

from rolehost_api.errors import Unavailable
from rolehost_runtime.core.models.budget import Amount
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.broker.state.redis_ledger import KEEP_SECONDS, RedisLedger
from rolehost_runtime.gateway.ports import TokenLedger

BOUND = Amount(100, 2**53)


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[TokenLedger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    redis = RedisLedger.connect(request.getfixturevalue(request.param).url)
    yield redis
    await redis._redis.everywhere("FLUSHALL")
    await redis.close()


async def test_it_hands_out_no_more_than_the_bound(ledger: TokenLedger) -> None:
    granted = [await ledger.take("u", "b", 1, Amount(40, 0), BOUND) for _ in range(4)]
    assert [one.tokens for one in granted] == [40, 40, 20, 0]


async def test_each_part_is_by_itself(ledger: TokenLedger) -> None:
    assert await ledger.take("u", "b", 1, Amount(500, 2**52), BOUND) == Amount(100, 2**52)
    assert await ledger.take("u", "b", 1, Amount(1, 2**53), BOUND) == Amount(0, 2**52)


async def test_tenants_backends_and_days_have_each_their_own(ledger: TokenLedger) -> None:
    await ledger.take("u", "b", 1, Amount(100, 0), BOUND)
    for where in (("v", "b", 1), ("u", "c", 1), ("u", "b", 2)):
        assert (await ledger.take(*where, Amount(60, 0), BOUND)).tokens == 60


async def test_what_is_given_back_is_there_again_and_a_bound_may_change(ledger: TokenLedger) -> None:
    await ledger.take("u", "b", 1, Amount(100, 0), BOUND)
    assert await ledger.take("u", "b", 1, Amount(-30, 0), Amount()) == Amount(-30, 0)
    assert (await ledger.take("u", "b", 1, Amount(100, 0), BOUND)).tokens == 30
    assert (await ledger.take("u", "b", 1, Amount(5, 0), Amount(50, 0))).tokens == 0
    assert (await ledger.take("u", "b", 1, Amount(5, 0), Amount(103, 0))).tokens == 3


async def test_redis_ends_it_by_itself_and_its_absence_is_said() -> None:
    with running() as server:
        redis = RedisLedger.connect(server.url)
        await redis.take("u", "b", 1, Amount(1, 1), BOUND)
        left = int(await redis._redis.run("TTL", "rh:{budget:u}:b:1", key=b"rh:{budget:u}:b:1"))
        assert KEEP_SECONDS - 60 < left <= KEEP_SECONDS
        server.kill()
        with pytest.raises(Unavailable):
            await redis.take("u", "b", 1, Amount(1, 1), BOUND)
        await redis.close()
