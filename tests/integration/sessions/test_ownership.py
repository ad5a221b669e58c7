"""Gateways that die, and gateways that sleep: who answers a session from then on, how soon, and what the sleeper may do.

F33 and F40 of the faults; what takes long is in `make soak` only. A promise may be missed in a round or two: a busy machine is slow at times, and a broken promise is
broken every time.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from tests.support.killing import Platform
from tests.support.proof import SOAK
from tests.support.surviving import KEY, LONG, Frame, answered, given_up, heard_until, records, relayed

from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

pytestmark = pytest.mark.timeout(240)

ROUNDS = 3
OVER_THE_LEASE_SECONDS = 6
"""Longer than any lease lasts from its last renewal, and than it takes to look."""
BUSY, BUSY_SECONDS = 20, 60
"""So many processes that want a core each, for so long."""
soak = pytest.mark.skipif(not SOAK, reason="ROLEHOST_PROOF=soak")
HEAD = keys.head(KEY)
Two = tuple[Platform, RedisSessionStore]


async def owner(store: RedisSessionStore) -> str:
    found: bytes = await store._redis.run("HGET", HEAD, "owner", key=HEAD.encode())
    return found.decode()


async def until_owned(store: RedisSessionStore, name: str) -> None:
    async with asyncio.timeout(20):
        while not (await owner(store)).startswith(f"{name}/"):
            await asyncio.sleep(0.02)


async def taken_over_in(
    two: Two, promised: float, why: str, harm: Callable[[], None], mend: Callable[[], Awaitable[None]]
) -> float:
    """Seconds from the harm to `a` until `b` answers the session, in the first round that kept the promise.

    Nobody says a word meanwhile: one socket at `b` only listens. In every round `b` gave `a` up once, and for `why`.
    """
    on, store = two
    best = float("inf")
    for _ in range(ROUNDS):
        sockets = await relayed(on)
        before, began = await given_up(on, "b"), time.monotonic()
        harm()
        await until_owned(store, "b")
        best = min(best, time.monotonic() - began)
        assert await given_up(on, "b") - before == Counter({why: 1})
        await mend()
        for socket in sockets:
            await socket.close()
        if best <= promised:
            break
    return best


async def test_a_session_is_taken_over_within_a_second_of_its_owners_death(two: Two) -> None:
    on, _ = two

    async def back() -> None:
        """It is started again by itself; `relayed` waits for it."""

    assert await taken_over_in(two, 1.0, "ended", on.gateways["a"].kill, back) <= 1.0


async def test_a_session_is_taken_over_within_four_seconds_of_its_owner_falling_silent(two: Two) -> None:
    """SIGSTOP is what a dead host looks like: sockets stand, and nothing comes. Its lease ends."""
    on, _ = two
    pid = on.gateways["a"].pid

    async def wake() -> None:
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(1.5)

    assert await taken_over_in(two, 4.0, "lease", lambda: os.kill(pid, signal.SIGSTOP), wake) <= 4.0


def answer_to(message_id: str) -> Callable[[Frame], bool]:
    return lambda frame: frame["type"] == "response.done" and frame.get("client_msg_id") == message_id


def seqs(frames: list[Frame]) -> list[int]:
    return [frame["seq"] for frame in frames if frame["seq"] is not None]


async def test_an_owner_that_wakes_up_late_writes_nothing_and_its_clients_are_moved(two: Two) -> None:
    """F33: it sleeps in mid-answer and past its lease. The other gives that answer and more; the sleeper's commit is
    refused, its client hears what it missed in order, and its next word is answered where the session lives now."""
    on, store = two
    at_a, at_b = await relayed(on)
    before = len(await records(store))
    await at_a.send(json.dumps({"message": LONG, "client_msg_id": "long"}))
    created = (
        await heard_until(
            at_a, lambda frame: frame["type"] == "response.created" and frame.get("client_msg_id") == "long"
        )
    )[-1]
    for socket in (at_a, at_b):
        await heard_until(socket, lambda frame: "delta" in frame and frame["response_id"] == created["response_id"])
    pid, sleeper = on.gateways["a"].pid, await owner(store)
    os.kill(pid, signal.SIGSTOP)
    try:
        frames = await heard_until(at_b, answer_to("long"))
        assert (frames[-1]["response_id"], frames[-1]["status"]) == (created["response_id"], "completed")
        await at_b.send(json.dumps({"message": "while you slept", "client_msg_id": "meanwhile"}))
        frames += await heard_until(at_b, answer_to("meanwhile"))
        mine = await owner(store)
        assert mine != sleeper
    finally:
        os.kill(pid, signal.SIGCONT)
    late = await heard_until(at_a, answer_to("meanwhile"))  # moved, without a word of its own
    assert seqs(late) == list(range(seqs(late)[0], seqs(late)[-1] + 1))
    await at_a.send(json.dumps({"message": "and I am awake", "client_msg_id": "awake"}))
    late += await heard_until(at_a, answer_to("awake"))
    frames += await heard_until(at_b, answer_to("awake"))
    for heard in (late, frames):
        assert seqs(heard) == list(range(seqs(heard)[0], seqs(heard)[-1] + 1))
    assert seqs(late)[-1] == seqs(frames)[-1]
    assert await owner(store) == mine  # nobody took it back
    log = await records(store)
    assert [record.turn for record in log] == list(range(1, len(log) + 1))
    assert [record.client_msg_id for record in log[before:]] == ["long", "meanwhile", "awake"]
    for socket in (at_a, at_b):
        await socket.close()


@asynccontextmanager
async def kept(on: Platform, gateway: str) -> AsyncIterator[None]:
    """The lease of this gateway does not end meanwhile, whatever became of it."""
    leases = RedisLeases.connect(on.redis.url)

    async def keep() -> None:
        while True:
            await leases.renew(gateway)
            await asyncio.sleep(0.5)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await leases.close()


@soak
async def test_an_owner_that_is_silent_and_holds_its_lease_is_given_up_later(two: Two) -> None:
    """What two gateways are to each other that both reach Redis and not one another."""
    on, store = two
    at_a, at_b = await relayed(on)
    before, sleeper, pid = await given_up(on, "b"), await owner(store), on.gateways["a"].pid
    async with kept(on, sleeper):
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(OVER_THE_LEASE_SECONDS)
            assert (await given_up(on, "b"), await owner(store)) == (before, sleeper)
            await until_owned(store, "b")
            assert await given_up(on, "b") - before == Counter({"silent": 1})
        finally:
            os.kill(pid, signal.SIGCONT)
    await answered(at_b, "you were not to be reached")
    await answered(at_a, "here I am")
    log = await records(store)
    assert [record.turn for record in log] == list(range(1, len(log) + 1))
    assert [record.input for record in log[-2:]] == ["you were not to be reached", "here I am"]
    for socket in (at_a, at_b):
        await socket.close()


@contextmanager
def busy() -> Iterator[None]:
    """Much else to do on this machine, and nothing of it less urgent than we are."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


@soak
async def test_a_busy_machine_makes_nobody_dead(two: Two) -> None:
    on, store = two
    at_a, at_b = await relayed(on)
    before, mine = (await given_up(on, "a"), await given_up(on, "b")), await owner(store)
    until = time.monotonic() + BUSY_SECONDS
    with busy():
        while time.monotonic() < until:
            await answered(at_b, "are you very busy?")
            await asyncio.sleep(1)
        assert (await given_up(on, "a"), await given_up(on, "b")) == before
    assert await owner(store) == mine
    for socket in (at_a, at_b):
        await socket.close()
