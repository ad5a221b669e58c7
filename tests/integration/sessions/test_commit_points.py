"""The way to Redis breaks at every single piece of a turn, before it is carried out and after; or the gateway dies there.

Whatever breaks where: a message that is said until it is answered is in the log once, and in its order.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.state.test_state_rewind import House, say
from tests.support.redis_fleet import DURABLE, FOLLOWED, Server, until
from tests.support.wire import Wire

from rolehost_api.wire import ResponseDone, Said

pytestmark = pytest.mark.timeout(120)
MOST = 24
"""Pieces that two turns may take, with all that is asked again."""


@pytest.fixture(params=["", "?replicas=1"], ids=["local", "replicated"])
def durability(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, durability: str) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE, *FOLLOWED)
    made.start()
    replica = Server(tmp_path / "replica", *DURABLE, *FOLLOWED, "--replicaof", "127.0.0.1", str(made.port))
    if durability:
        replica.start()
        until(lambda: replica.info("master_link_status") == "up", "no replica")
    yield made
    replica.stop()
    made.stop()


@asynccontextmanager
async def living(wire: Wire, durability: str) -> AsyncIterator[House]:
    house = House(f"redis://127.0.0.1:{wire.port}{durability}")
    await house.pool.start()
    try:
        yield house
    finally:
        await house.service.stop(0)
        await house.pool.stop()
        await house.store.close()


@pytest.mark.parametrize("harm", ["before", "after"])
async def test_the_connection_breaks_at_every_piece_of_a_turn(server: Server, durability: str, harm: str) -> None:
    broken = 0
    async with Wire(server.port) as wire:
        for point in range(1, MOST):
            server.ask("flushall")
            async with living(wire, durability) as house:
                handle, ear = await house.attach()
                await say(handle, "zero")
                wire.arm(lambda number, point=point: harm if number == point else "")  # type: ignore[misc]
                await say(handle, "one", "two")
                reached = wire.asked >= point
                wire.arm(lambda number: "")
                await say(handle, "one")
                await right(house, ear)
            broken += reached
            if not reached:
                break
    assert 4 <= broken < MOST - 1, "every piece was met, and there was an end of them"


@pytest.mark.parametrize("harm", ["before", "after"])
async def test_the_gateway_dies_at_every_piece_of_a_turn(server: Server, durability: str, harm: str) -> None:
    """Nothing that it would still say reaches Redis; another one takes the session over, and the client says it again."""
    died = 0
    async with Wire(server.port) as first, Wire(server.port) as second:
        for point in range(1, MOST):
            server.ask("flushall")
            async with living(first, durability) as house:
                handle, _ = await house.attach()
                await say(handle, "zero")
                first.arm(lambda number, point=point: "" if number < point else harm if number == point else "before")  # type: ignore[misc]
                saying = asyncio.create_task(handle.say(Said(message="one", client_msg_id="one")))
                while not saying.done() and first.asked < point:
                    await asyncio.sleep(0.001)
                reached = first.asked >= point
                async with living(second, durability) as other:
                    again, ear = await other.attach()
                    await again.resume(0)
                    await say(again, "one", "two", "one")
                    await right(other, ear)
                await asyncio.gather(saying, return_exceptions=True)
                first.arm(lambda number: "")
            died += reached
            if not reached:
                break
    assert 2 <= died < MOST - 1


async def right(house: House, ear: Any) -> None:
    assert await house.texts() == ["zero", "one", "two"]
    numbers = [done.seq for done in ear.of(ResponseDone) if done.seq is not None]
    assert list(dict.fromkeys(numbers)) == sorted(set(numbers)), "in order"
    answers: dict[int, set[str]] = {}
    for done in ear.of(ResponseDone):
        if done.seq is not None:
            answers.setdefault(done.seq, set()).add(done.message)
    assert all(len(said) == 1 for said in answers.values()), "and told the same each time"
