"""A client that only asks hears of a turn when it is committed, whichever gateway commits it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import Request
from tests.support.gateways import Fleet, House
from tests.support.rooms import ACME, principal

from rolehost_api.errors import BadRequest, Unauthorized
from rolehost_api.wire import Said
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.waiting import grown, wait_seconds
from rolehost_runtime.gateway.metrics import Metrics

LONG = 30.0


class Asking:
    """A request whose client stays until it is told to go."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    @property
    def request(self) -> Request:
        async def receive() -> Any:
            await self.left.wait()
            return {"type": "http.disconnect"}

        return Request({"type": "http", "method": "GET", "headers": []}, receive)


def gate_of(house: House) -> Gate:
    return Gate(
        tables=house.tables,
        sessions=house.service,
        hub=Hub(house.tables.keys),
        metrics=Metrics(),
        now_ms=house.clock,
    )


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    built = Fleet()
    await built.start("a", "b")
    yield built
    await built.stop()


def waiting(gate: Gate, after: int, asking: Asking, seconds: float = LONG) -> asyncio.Task[None]:
    role = gate.tables.roles.get("acme", "cat")
    assert role is not None
    return asyncio.create_task(grown(gate, principal(ACME), role, "abc", after, seconds, asking.request))


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_turn_committed_by_another_gateway_is_heard_of(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    gate = gate_of(fleet["b"])
    asked = waiting(gate, 0, Asking())
    await until(lambda: gate.hub.sockets == 1)
    assert not asked.done()
    await at_a.say(Said(message="one"))
    await asyncio.wait_for(asked, 5)
    assert (fleet["b"].pods_asked, fleet.epoch(), gate.hub.sockets) == (0, 1, 0)
    assert fleet["b"].service._away == {}


async def test_what_was_committed_between_the_look_and_the_place_is_heard_of(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    await asyncio.wait_for(waiting(gate_of(fleet["b"]), 0, Asking()), 5)


async def test_the_wait_ends_and_leaves_no_place_behind(fleet: Fleet) -> None:
    await fleet["a"].attach()
    gate = gate_of(fleet["b"])
    await asyncio.wait_for(waiting(gate, 0, Asking(), 0.01), 5)
    assert (gate.hub.sockets, fleet["b"].service._away, fleet.log()) == (0, {}, [])


async def test_a_client_that_is_gone_is_not_waited_for(fleet: Fleet) -> None:
    gate, asking = gate_of(fleet["a"]), Asking()
    asked = waiting(gate, 0, asking)
    await until(lambda: gate.hub.sockets == 1)
    asking.left.set()
    await asyncio.wait_for(asked, 5)
    assert gate.hub.sockets == 0


async def test_a_gateway_that_leaves_lets_nobody_wait(fleet: Fleet) -> None:
    gate = gate_of(fleet["a"])
    asked = waiting(gate, 0, Asking())
    await until(lambda: gate.hub.sockets == 1)
    await gate.hub.drain(0, 0)
    await asyncio.wait_for(asked, 5)
    await asyncio.wait_for(waiting(gate, 0, Asking()), 5)


async def test_a_key_that_is_revoked_waits_no_longer(fleet: Fleet) -> None:
    gate = gate_of(fleet["a"])
    asked = waiting(gate, 0, Asking())
    await until(lambda: gate.hub.sockets == 1)
    gate.tables.keys._ring(("",))
    with pytest.raises(Unauthorized):
        await asyncio.wait_for(asked, 5)


@pytest.mark.parametrize("raw", [-1.0, 50.1, float("nan"), float("inf")])
def test_a_wait_has_bounds(raw: float) -> None:
    with pytest.raises(BadRequest, match="0 to 50"):
        wait_seconds(raw)
