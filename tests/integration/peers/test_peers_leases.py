"""Leases of several gateways that end in the same moment: what did that, told from the log, and that it makes nobody dead."""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from tests.support.killing import platform
from tests.support.proof import SOAK
from tests.support.redis import RedisServer, running
from tests.support.surviving import answered, given_up, owner_of, records, relayed, warm

from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.peers.lease import Lease
from rolehost_runtime.gateway.ports import LEASE_SECONDS

pytestmark = pytest.mark.timeout(60)
GATEWAYS = ("a/1", "b/1")
LONGER = LEASE_SECONDS + 0.5


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def lapsed(redis: RedisServer) -> AsyncIterator[Counter[str]]:
    """Two leases that are kept, each by a client of its own; how often each was held again after it had ended."""
    told: Counter[str] = Counter()
    clients = [RedisLeases.connect(redis.url) for _ in GATEWAYS]
    leases = [
        Lease(client, name, lambda name=name: told.update([name]))  # type: ignore[misc]
        for client, name in zip(clients, GATEWAYS, strict=True)
    ]
    for lease in leases:
        await lease.start()
    yield told
    for lease in leases:
        await lease.stop()
    for client in clients:
        await client.close()


def logged(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in message for message in caplog.messages)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_store_that_stands_still_ends_all_of_them_and_each_says_so(
    redis: RedisServer, lapsed: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A fork, or a disk that takes its time over what is synced always. Its own count goes on meanwhile."""
    caplog.set_level(logging.INFO, "rolehost_runtime.gateway.peers.lease")
    redis.send(SIGSTOP)
    await asyncio.sleep(LONGER)
    redis.send(SIGCONT)
    await until(lambda: set(lapsed) == set(GATEWAYS))
    assert lapsed == Counter(GATEWAYS), "once each"
    assert logged(caplog, "was not renewed") == logged(caplog, "lease had ended: the store left") == len(GATEWAYS)


async def test_a_process_that_stands_still_says_that_it_was_itself(
    lapsed: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine that has much else to do. No renewal fails, for none is tried."""
    caplog.set_level(logging.INFO, "rolehost_runtime.gateway.peers.lease")
    time.sleep(LONGER)
    await until(lambda: set(lapsed) == set(GATEWAYS))
    assert logged(caplog, "was not renewed") == 0
    assert logged(caplog, "lease had ended: this process stood still") == len(GATEWAYS)


async def test_a_store_that_forgets_or_whose_clock_is_set_forward_ends_them_though_every_renewal_went_well(
    redis: RedisServer, lapsed: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rolehost_runtime.gateway.peers.lease")
    store = RedisLeases.connect(redis.url)
    await store._redis.everywhere("FLUSHALL")
    await until(lambda: set(lapsed) == set(GATEWAYS))
    await store.close()
    assert logged(caplog, "was not renewed") == 0
    assert logged(caplog, "lease had ended: the store forgot it") == len(GATEWAYS)


@pytest.mark.parametrize(
    "still",
    ["store", pytest.param("gateways", marks=pytest.mark.skipif(not SOAK, reason="ROLEHOST_PROOF=soak"))],
)
@pytest.mark.timeout(120)
async def test_leases_that_end_together_make_nobody_dead(still: str, redis: RedisServer, tmp_path: Path) -> None:
    """Both gateways' end in the same moment, and neither is silent when it could be looked at: nobody is given up, the
    session stays with who answers it, and the log goes on."""
    async with platform(redis, tmp_path, ("a", "b")) as on:
        store = RedisSessionStore.connect(redis.url)
        await warm(on)
        at_a, at_b = await relayed(on)
        before = await given_up(on, "a"), await given_up(on, "b")
        mine = await owner_of(redis)
        if still == "store":
            redis.send(SIGSTOP)
            await asyncio.sleep(LONGER)
            redis.send(SIGCONT)
        else:
            pids = [gateway.pid for gateway in on.gateways.values()]
            for pid in pids:
                os.kill(pid, SIGSTOP)
            await asyncio.sleep(LONGER)
            for pid in pids:
                os.kill(pid, SIGCONT)
        for number in range(3):
            await answered(at_a, f"a {number}")
            await answered(at_b, f"b {number}")
        assert (await given_up(on, "a"), await given_up(on, "b")) == before
        assert await owner_of(redis) == mine
        log = await records(store)
        assert [record.turn for record in log] == list(range(1, len(log) + 1))
        for socket in (at_a, at_b):
            await socket.close()
        await store.close()
