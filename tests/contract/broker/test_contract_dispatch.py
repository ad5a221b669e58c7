"""The dispatcher over real servers of every wire: storms, fallbacks from one vendor to another, and a line that lets go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from tests.support.model_servers import ANTHROPIC, OLLAMA, OPENAI, REPLY, SPEECHES, ModelServer, Speech, serving

from rolehost_api.crd.modelbackend import BackendSpec, Breaker, Concurrency, Retries, Timeouts
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelRequest
from rolehost_runtime.gateway.tables import Tables

REQUEST = ModelRequest("m-1", (ModelMessage("user", "Hello"),), {}, None, "uid", "main", "acme")


class World:
    def __init__(self) -> None:
        self.tables, self.registry = Tables(), CollectorRegistry()
        sink = PrometheusModelSink(self.registry)
        self.service = ModelService(HttpProvider(KeyRing(None)), self.tables, lambda: 0, MemoryLedger(), sink)

    def declare(self, name: str, spec: BackendSpec) -> None:
        self.tables.backends.put((name,), spec)

    async def ask(self) -> tuple[str, ModelEnd]:
        spec = self.tables.backends.get("main")
        assert spec is not None
        *texts, end = [item async for item in self.service.provider.stream(spec, REQUEST)]
        assert isinstance(end, ModelEnd)
        return "".join(map(str, texts)), end


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.service.close()


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.type.value)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ModelServer]:
    async with serving(request.param) as served:
        yield served


def after(server: ModelServer, refusals: int) -> None:
    """The server has too much to do for so many calls, and asks for no pause; then it speaks."""

    async def behaviour(request: web.Request) -> web.StreamResponse:
        if len(server.asked) <= refusals:
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await server.speak(request)

    server.behaviour = behaviour


async def test_a_short_storm_is_waited_out(server: ModelServer, world: World) -> None:
    after(server, 2)
    world.declare("main", server.backend())
    text, end = await world.ask()
    assert (text, end.model, len(server.asked)) == (REPLY, "main/small", 3)


async def test_a_long_storm_is_not_made_larger_and_opens_the_circuit(server: ModelServer, world: World) -> None:
    after(server, 10_000)
    world.declare("main", server.backend(breaker=Breaker(min_calls=10), retries=Retries(max_wait_seconds=0)))
    outcomes = await asyncio.gather(*(world.ask() for _ in range(50)), return_exceptions=True)
    codes = {one.code for one in outcomes if isinstance(one, RolehostError)}
    assert codes <= {"model_overloaded", "model_circuit_open"}
    assert len(server.asked) <= 50 + 10 + 10
    asked = len(server.asked)
    with pytest.raises(RolehostError) as raised:
        await world.ask()
    assert (raised.value.code, len(server.asked)) == ("model_circuit_open", asked)


@pytest.mark.parametrize(("first", "second"), [(OPENAI, ANTHROPIC), (ANTHROPIC, OLLAMA), (OLLAMA, OPENAI)])
async def test_another_vendor_answers_where_the_first_one_says_nothing(
    first: Speech, second: Speech, world: World
) -> None:
    async with serving(first) as silent, serving(second) as spare:
        silent.behaviour = silent.hanging([])
        quick = Timeouts(first_token_seconds=1)
        world.declare("main", silent.backend(timeouts=quick, retries=Retries(max_retries=0), fallbacks=["spare"]))
        world.declare("spare", spare.backend())
        text, end = await world.ask()
        assert (text, end.model) == (REPLY, "spare/small")
        await silent.gone.wait()


async def test_a_call_that_is_given_up_frees_its_place(server: ModelServer, world: World) -> None:
    server.behaviour = server.hanging([server.speech.piece("half")])
    world.declare("main", server.backend(concurrency=Concurrency(max_calls=1, max_queue=1)))
    spec = world.tables.backends.get("main")
    assert spec is not None
    async with aclosing(world.service.provider.stream(spec, REQUEST)) as answer:  # type: ignore[type-var]
        assert await anext(answer) == "half"
        waiting = asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        server.behaviour = None
    await server.gone.wait()
    assert (await waiting)[0] == REPLY
