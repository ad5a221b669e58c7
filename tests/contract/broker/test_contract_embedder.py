"""ports.Embedder over a real HTTP server: order, batches, and whose fault a refusal is."""

import asyncio
import base64
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from rolehost_api.crd.modelbackend import (
    BackendSpec,
    BackendType,
    Batching,
    Budgets,
    Retries,
    ServedModel,
    TokenBudget,
)
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.tables import Tables, Tenant

ACME, EVIL = Tenant("acme", "uid-1"), Tenant("evil", "uid-2")
POISON = "poison"


def vector(text: str) -> list[float]:
    return [float(len(text)), float(ord(text[0])), 0.5]


@dataclass
class Server:
    """Refuses poison, and says what it is told otherwise."""

    url: str = ""
    asked: list[list[str]] = field(default_factory=list)
    as_base64: bool = True
    behaviour: Callable[[dict[str, Any]], Awaitable[web.Response]] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked["input"])
        if self.behaviour is not None:
            return await self.behaviour(asked)
        if POISON in asked["input"]:
            return web.json_response({"error": {"message": f"bad: {asked['input']}"}}, status=400)
        rows = [
            {"object": "embedding", "index": place, "embedding": self._said(text)}
            for place, text in enumerate(asked["input"])
        ]
        return web.json_response({"data": rows[::-1], "usage": {"prompt_tokens": 3 * len(rows)}})

    def _said(self, text: str) -> Any:
        return base64.b64encode(array("f", vector(text)).tobytes()).decode() if self.as_base64 else vector(text)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served, app = Server(), web.Application()
    app.router.add_post("/v1/embeddings", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


class World:
    def __init__(self, url: str) -> None:
        self.tables, self.registry, self.url = Tables(), CollectorRegistry(), url
        sink = PrometheusModelSink(self.registry)
        self.service = ModelService(HttpProvider(KeyRing(None)), self.tables, lambda: 1000, MemoryLedger(), sink)
        self.embed = self.service.embedder.embed
        self.declare()

    def declare(self, **fields: Any) -> None:
        batching = fields.pop("batching", Batching(max_texts=8, window_milliseconds=5))
        spec = BackendSpec(
            type=BackendType.EMBEDDINGS,
            base_url=self.url,
            models=[ServedModel(name="e", model="e-1")],
            batching=batching,
            retries=Retries(max_retries=0),
            **fields,
        )
        self.tables.backends.put(("vectors",), spec)


@pytest.fixture
async def world(server: Server) -> AsyncIterator[World]:
    made = World(server.url)
    yield made
    await made.service.close()


def code(outcome: Any) -> str:
    assert isinstance(outcome, RolehostError)
    assert POISON not in str(outcome)
    return outcome.code


@pytest.mark.parametrize("as_base64", [True, False])
async def test_there_is_one_vector_for_each_text_in_order(server: Server, world: World, as_base64: bool) -> None:
    server.as_base64 = as_base64
    vectors = await world.embed(ACME, "vectors", ["a", "bb", "龙"], model="e")
    assert [list(one) for one in vectors] == [vector("a"), vector("bb"), vector("龙")]
    assert (await world.embed(ACME, "vectors", [])) == []


async def test_texts_of_one_tenant_travel_together_and_of_two_never(server: Server, world: World) -> None:
    world.declare(
        batching=Batching(max_texts=8, window_milliseconds=500)
    )  # a busy machine takes long to ask for them all
    await asyncio.gather(*(world.embed(tenant, "vectors", [f"{n}"]) for n in range(12) for tenant in (ACME, EVIL)))
    assert sorted(map(len, server.asked)) == [4, 4, 8, 8]
    assert sorted(text for batch in server.asked for text in batch) == sorted([f"{n}" for n in range(12)] * 2)
    assert world.registry.get_sample_value("rolehost_embedding_batch_texts_count", {"backend": "vectors"}) == 4


async def test_a_text_that_is_refused_fails_its_own_call_only(server: Server, world: World) -> None:
    calls = [world.embed(ACME, "vectors", [text]) for text in ("a", "b", POISON, "d", "e")]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert code(outcomes[2]) == "embedding_refused"
    assert [outcomes[place][0][1] for place in (0, 1, 3, 4)] == [float(ord(text)) for text in "abde"]  # type: ignore[index]
    assert len(server.asked) <= 1 + 2 * 3  # 5, then halves down to the one


async def test_calls_of_one_session_end_in_their_order(server: Server, world: World) -> None:
    world.declare(batching=Batching(max_texts=1, window_milliseconds=0))
    ended: list[tuple[str, int]] = []

    async def one(session: str, number: int) -> None:
        await world.embed(ACME, "vectors", ["x" * (9 - number)], session=session)
        ended.append((session, number))

    async def later_is_faster(asked: dict[str, Any]) -> web.Response:
        await asyncio.sleep(len(asked["input"][0]) / 1000)
        rows = [{"embedding": vector(text)} for text in asked["input"]]
        return web.json_response({"data": rows})

    server.behaviour = later_is_faster
    await asyncio.gather(*(one(session, number) for number in range(5) for session in "ab"))
    for session in "ab":
        assert [number for name, number in ended if name == session] == list(range(5))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"data": [{"embedding": [1.0]}]}, "model_unavailable", id="one-is-missing"),
        pytest.param(
            {"data": [{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}]}, "model_unavailable", id="two-lengths"
        ),
        pytest.param({"data": [{"embedding": []}, {"embedding": []}]}, "model_unavailable", id="empty"),
        pytest.param({"data": [{"embedding": "@@"}, {"embedding": "@@"}]}, "model_unavailable", id="no-base64"),
        pytest.param({"data": [{"embedding": "AAA="}, {"embedding": "AAA="}]}, "model_unavailable", id="half-a-float"),
        pytest.param({"nothing": 1}, "model_unavailable", id="another-shape"),
        pytest.param(None, "model_overloaded", id="a-storm"),
    ],
)
async def test_garbage_is_told_and_the_next_call_goes(server: Server, world: World, said: Any, expected: str) -> None:
    async def wrong(asked: dict[str, Any]) -> web.Response:
        return web.json_response(said, status=200) if said else web.Response(status=429)

    server.behaviour = wrong
    (outcome,) = await asyncio.gather(world.embed(ACME, "vectors", ["a", "b"]), return_exceptions=True)
    assert code(outcome) == expected
    server.behaviour = None
    assert len(await world.embed(ACME, "vectors", ["a", "b"])) == 2


async def test_a_call_that_is_given_up_takes_nobody_with_it(server: Server, world: World) -> None:
    given_up = asyncio.create_task(world.embed(ACME, "vectors", ["a"]))
    kept = asyncio.create_task(world.embed(ACME, "vectors", ["b"]))
    await asyncio.sleep(0)
    given_up.cancel()
    assert len(await kept) == 1
    assert server.asked == [["b"]]


async def test_bounds_and_names_are_checked_first(server: Server, world: World) -> None:
    wrong = [
        world.embed(ACME, "vectors", ["x" * 40_000]),
        world.embed(ACME, "vectors", ["x"] * 3000),
        world.embed(ACME, "nothing", ["x"]),
        world.embed(ACME, "vectors", ["x"], model="other"),
    ]
    codes = [code(one) for one in await asyncio.gather(*wrong, return_exceptions=True)]
    assert codes == ["text_too_large", "text_too_large", "backend_not_found", "model_not_served"]
    assert server.asked == []


async def test_embeddings_are_on_the_tenants_budget(server: Server, world: World) -> None:
    world.declare(budgets=Budgets(per_tenant=TokenBudget(tokens_per_day=20)))
    assert len(await world.embed(ACME, "vectors", ["a"])) == 1
    (outcome,) = await asyncio.gather(world.embed(ACME, "vectors", ["x" * 200]), return_exceptions=True)
    assert code(outcome) == "budget_exhausted"
