"""Line, breaker, budget, retries and fallbacks around calls, with servers that do as they are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from rolehost_api.crd.modelbackend import (
    Abilities,
    BackendSpec,
    BackendType,
    Breaker,
    Budgets,
    Concurrency,
    Price,
    Retries,
    ServedModel,
    TenantBudget,
    TokenBudget,
)
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_api.link.tools import ToolCall, ToolSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.budget import DAY_MS, Amount
from rolehost_runtime.gateway.broker.models.dispatcher import Desks, Dispatcher
from rolehost_runtime.gateway.broker.models.failures import overloaded, unavailable
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.purse import Purses
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.ports import Called, ModelEnd, ModelMessage, ModelRequest
from rolehost_runtime.gateway.tables import Tables

END = ModelEnd("stop", Usage(input_tokens=10, output_tokens=5))
SMALL = ServedModel(name="small", model="m-1", price=Price(input_micros=1_000_000, output_micros=2_000_000))
REQUEST = ModelRequest(
    "m-1", (ModelMessage("user", "Hello you"),), {"temperature": 0, "seed": 7}, 20, "uid-acme", "main", "acme"
)
Said = str | ModelEnd | RolehostError | asyncio.Event


class Servers:
    """ports.ModelProvider: what each server says next, by the name in its baseURL."""

    def __init__(self) -> None:
        self.plans: dict[str, list[list[Said]]] = {}
        self.asked: list[tuple[str, ModelRequest]] = []
        self.closed = 0

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        name = backend.base_url
        self.asked.append((name, request))
        plan: list[Said] = self.plans[name].pop(0) if self.plans.get(name) else ["Hi", END]
        try:
            for item in plan:
                if isinstance(item, RolehostError):
                    raise item
                if isinstance(item, asyncio.Event):
                    await item.wait()
                    continue
                yield item
        finally:
            self.closed += 1


class World:
    def __init__(self) -> None:
        self.tables, self.servers, self.ledger = Tables(), Servers(), MemoryLedger()
        self.registry, self.now_ms, self.waits = CollectorRegistry(), 1000, list[float]()
        sink = PrometheusModelSink(self.registry)
        self.purses = Purses(self.ledger, lambda: self.now_ms)
        self.dispatcher = Dispatcher(
            self.servers, self.tables, Desks(self.tables, sink), self.purses, sink, lambda: 0.0, self._sleep
        )
        self.declare("main")

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def declare(self, name: str, **fields: Any) -> BackendSpec:
        made = {"type": BackendType.OPENAI, "models": [SMALL], **fields}
        spec = BackendSpec(base_url=name, **made)
        self.tables.backends.put((name,), spec)
        return spec

    def spec(self, name: str = "main") -> BackendSpec:
        found = self.tables.backends.get(name)
        assert found is not None
        return found

    async def hear(self, request: ModelRequest = REQUEST) -> tuple[str, ModelEnd]:
        *texts, end = [item async for item in self.dispatcher.stream(self.spec(request.backend), request)]
        assert isinstance(end, ModelEnd)
        return "".join(map(str, texts)), end

    async def fails(self, request: ModelRequest = REQUEST) -> RolehostError:
        with pytest.raises(RolehostError) as raised:
            await self.hear(request)
        return raised.value

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


# ── retries ─────────────────────────────────────────────────────────────────────────


async def test_a_call_that_fails_before_its_first_token_is_tried_again(world: World) -> None:
    world.servers.plans["main"] = [[unavailable("x")], [overloaded("2")]]
    text, end = await world.hear()
    assert (text, end.model) == ("Hi", "main/small")
    assert world.waits == [0.05, 2.0]
    assert world.metric("rolehost_model_retries_total", backend="main") == 2
    assert world.metric("rolehost_model_attempts_total", backend="main", outcome="model_overloaded") == 1


async def test_text_that_was_heard_is_never_asked_for_again(world: World) -> None:
    world.declare("main", fallbacks=["spare"])
    world.declare("spare")
    world.servers.plans["main"] = [["Once", unavailable("x")]]
    heard = []
    stream = world.dispatcher.stream(world.spec(), REQUEST)
    heard.append(await anext(stream))
    with pytest.raises(Unavailable):
        await anext(stream)
    assert heard == ["Once"]
    assert len(world.servers.asked) == 1


async def test_a_server_that_asks_for_a_long_pause_is_not_waited_for(world: World) -> None:
    world.servers.plans["main"] = [[overloaded("60")]]
    error = await world.fails()
    assert (error.code, error.retry_after_ms, world.waits) == ("model_overloaded", 60_000, [])


async def test_what_would_end_the_same_is_not_tried_again(world: World) -> None:
    world.declare("main", fallbacks=["spare"])
    world.declare("spare")
    world.servers.plans["main"] = [[BadRequest("no", code="model_refused")]]
    assert (await world.fails()).code == "model_refused"
    assert len(world.servers.asked) == 1


async def test_a_storm_is_not_made_larger(world: World) -> None:
    world.declare("main", retries=Retries(max_retries=10, budget_percent=20), breaker=Breaker(min_calls=10_000))
    world.servers.plans["main"] = [[overloaded("0")] for _ in range(2000)]
    for _ in range(100):
        assert (await world.fails()).code == "model_overloaded"
    assert len(world.servers.asked) <= 100 + 10 + 20


# ── fallbacks ───────────────────────────────────────────────────────────────────────


async def test_the_next_one_answers_and_is_named(world: World) -> None:
    world.declare("main", fallbacks=["gone", "spare/large"], retries=Retries(max_retries=0))
    large = ServedModel(name="large", model="m-9", abilities=Abilities(max_output_tokens=8))
    world.declare("spare", type=BackendType.OLLAMA, models=[SMALL, large])
    world.servers.plans["main"] = [[unavailable("x")]]
    _, end = await world.hear()
    assert end.model == "spare/large"
    name, asked = world.servers.asked[-1]
    assert (name, asked.model, asked.max_tokens) == ("spare", "m-9", 8)
    assert asked.params == {"temperature": 0}  # a wire of another kind knows no others
    assert world.metric("rolehost_model_fallbacks_total", backend="main", to="spare") == 1


@pytest.mark.parametrize("code", ["model_key_refused", "model_not_found", "model_key_missing"])
async def test_a_backend_that_is_set_up_wrongly_falls_back_too(world: World, code: str) -> None:
    world.declare("main", fallbacks=["spare"])
    world.declare("spare")
    world.servers.plans["main"] = [[BadRequest("no", code=code)]]
    assert (await world.hear())[1].model == "spare/small"


async def test_where_all_fail_the_last_failure_is_told(world: World) -> None:
    world.declare("main", fallbacks=["spare"], retries=Retries(max_retries=0))
    world.declare("spare", retries=Retries(max_retries=0))
    world.servers.plans = {"main": [[unavailable("x")]], "spare": [[overloaded()]]}
    assert (await world.fails()).code == "model_overloaded"


async def test_a_prompt_that_is_too_long_for_one_goes_to_the_next(world: World) -> None:
    tiny = ServedModel(name="tiny", model="m-1", abilities=Abilities(context_tokens=4))
    world.declare("main", models=[tiny])
    assert (await world.fails()).code == "context_too_long"
    assert world.servers.asked == []
    world.declare("main", models=[tiny], fallbacks=["spare"])
    world.declare("spare")
    assert (await world.hear())[1].model == "spare/small"


async def test_with_a_deadline_each_has_an_equal_part_of_the_time(world: World) -> None:
    world.declare("main", fallbacks=["spare"], retries=Retries(max_retries=0))
    world.declare("spare")
    world.servers.plans["main"] = [[unavailable("x")]]
    now = asyncio.get_running_loop().time()
    await world.hear(replace(REQUEST, deadline=now + 100))
    first, second = (asked.deadline for _, asked in world.servers.asked)
    assert first is not None
    assert second is not None
    assert 49 < first - now < 51
    assert 99 < second - now <= 100


# ── the breaker ─────────────────────────────────────────────────────────────────────


async def test_a_backend_that_keeps_failing_is_left_alone_and_its_fallback_asked_at_once(world: World) -> None:
    world.declare("main", breaker=Breaker(min_calls=3), retries=Retries(max_retries=0))
    world.servers.plans["main"] = [[unavailable("x")] for _ in range(3)]
    for _ in range(3):
        await world.fails()
    error = await world.fails()
    assert error.code == "model_circuit_open"
    assert error.retryable
    assert 0 < (error.retry_after_ms or 0) <= 15_000
    assert len(world.servers.asked) == 3
    assert world.metric("rolehost_model_circuit", backend="main") == 2
    world.declare("main", breaker=Breaker(min_calls=3), fallbacks=["spare"])
    world.declare("spare")
    assert (await world.hear())[1].model == "spare/small"
    assert len(world.servers.asked) == 4


async def test_nobody_opens_a_circuit_by_a_deadline_or_by_hanging_up_or_by_bad_parameters(world: World) -> None:
    world.declare("main", breaker=Breaker(min_calls=1, failure_percent=1), retries=Retries(max_retries=0))
    late = Unavailable("slow", code="model_timeout")
    world.servers.plans["main"] = [[late], [BadRequest("no", code="model_refused")], ["Hi", asyncio.Event()]]
    await world.fails(replace(REQUEST, deadline=asyncio.get_running_loop().time()))
    await world.fails()
    async with aclosing(world.dispatcher.stream(world.spec(), REQUEST)) as stream:  # type: ignore[type-var]
        assert await anext(stream) == "Hi"
    assert world.servers.closed == 3 or world.servers.closed == 2  # a call past its deadline may not even begin
    assert (await world.hear())[0] == "Hi"


async def test_a_changed_rule_holds_from_the_next_call_on(world: World) -> None:
    world.declare("main", retries=Retries(max_retries=0))
    world.servers.plans["main"] = [[unavailable("x")], [unavailable("x")]]
    await world.fails()
    world.declare("main", retries=Retries(max_retries=1))
    assert (await world.hear())[0] == "Hi"


# ── at the same time ────────────────────────────────────────────────────────────────


async def test_calls_over_the_bound_wait_tenants_take_turns_and_the_rest_is_refused(world: World) -> None:
    world.declare("main", concurrency=Concurrency(max_calls=1, max_queue=2))
    go = asyncio.Event()
    world.servers.plans["main"] = [[go, "Hi", END]]

    def ask(tenant: str) -> "asyncio.Task[tuple[str, ModelEnd]]":
        return asyncio.create_task(world.hear(replace(REQUEST, tenant_uid=tenant)))

    first, second, third = ask("a"), ask("a"), ask("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.metric("rolehost_model_calls_waiting", backend="main") == 2
    other = ask("b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RolehostError) as raised:
        await third
    assert raised.value.code == "model_busy"
    go.set()
    await asyncio.gather(first, second, other)
    assert [asked.tenant_uid for _, asked in world.servers.asked] == ["a", "a", "b"]
    assert world.metric("rolehost_model_calls_running", backend="main") == 0


async def test_who_gives_up_in_line_leaves_no_place_taken(world: World) -> None:
    world.declare("main", concurrency=Concurrency(max_calls=1, max_queue=2))
    go = asyncio.Event()
    world.servers.plans["main"] = [[go, "Hi", END]]
    first = asyncio.create_task(world.hear())
    await asyncio.sleep(0)
    second = asyncio.create_task(world.hear())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go.set()
    await first
    assert (await world.hear())[0] == "Hi"
    assert world.metric("rolehost_model_calls_waiting", backend="main") == 0


# ── budgets ─────────────────────────────────────────────────────────────────────────


def bounded(tokens: int = 0, micros: int = 0, **tenants: int) -> Budgets:
    own = [TenantBudget(name=name, tokens_per_day=most) for name, most in tenants.items()]
    return Budgets(per_tenant=TokenBudget(tokens_per_day=tokens, cost_micros_per_day=micros), tenants=own)


async def test_a_call_is_not_begun_where_what_it_may_take_is_not_left(world: World) -> None:
    world.declare("main", budgets=bounded(tokens=60), fallbacks=["spare"])
    world.declare("spare")
    for _ in range(3):  # 7 + 20 are reserved, 15 are taken
        await world.hear()
    error = await world.fails()
    assert (error.code, error.retryable, error.retry_after_ms) == ("budget_exhausted", True, DAY_MS - 1000)
    assert world.metric("rolehost_model_over_budget_total", tenant="acme", backend="main") == 1
    assert [name for name, _ in world.servers.asked] == ["main"] * 3  # a decision is not evaded by a fallback
    assert (await world.hear(replace(REQUEST, tenant_uid="uid-other", tenant="other")))[0] == "Hi"
    world.now_ms += DAY_MS
    assert (await world.hear())[0] == "Hi"


async def test_a_budget_that_is_raised_holds_at_once_and_one_tenant_may_have_its_own(world: World) -> None:
    world.declare("main", budgets=bounded(tokens=10))
    assert (await world.fails()).code == "budget_exhausted"
    world.declare("main", budgets=bounded(tokens=10, acme=1000))
    assert (await world.hear())[0] == "Hi"


async def test_cost_is_bounded_by_the_models_prices_and_counted(world: World) -> None:
    world.declare("main", budgets=bounded(micros=60))
    await world.hear()  # 10 tokens at 1 and 5 at 2
    assert world.metric("rolehost_model_cost_micros_total", tenant="acme", backend="main") == 20
    assert world.metric("rolehost_model_tokens_total", tenant="acme", backend="main", kind="output") == 5
    assert (await world.fails()).code == "budget_exhausted"  # 7 and 2 × 20 would not fit into the 40 that are left


async def test_a_call_that_is_broken_off_costs_what_it_showed_and_said(world: World) -> None:
    world.declare("main", budgets=bounded(tokens=1000))
    world.servers.plans["main"] = [["four characters and more", asyncio.Event()], [unavailable("x")]]
    async with aclosing(world.dispatcher.stream(world.spec(), REQUEST)) as stream:  # type: ignore[type-var]
        await anext(stream)
    assert world.metric("rolehost_model_tokens_total", tenant="acme", backend="main", kind="input") == 7
    assert world.metric("rolehost_model_tokens_total", tenant="acme", backend="main", kind="output") == 6
    await world.purses.close()
    assert world.ledger.board[("uid-acme", "main", 0)] == Amount(13)


async def test_one_lease_serves_many_calls_and_what_is_left_goes_back(world: World) -> None:
    world.declare("main", budgets=bounded(tokens=100_000))
    takes = []
    take = world.ledger.take

    async def counted(*arguments: Any) -> Amount:
        takes.append(arguments)
        return await take(*arguments)

    world.ledger.take = counted  # type: ignore[assignment,method-assign]
    for _ in range(60):
        await world.hear()
    assert len(takes) == 1
    await world.purses.close()
    assert world.ledger.board[("uid-acme", "main", 0)] == Amount(60 * 15)


async def test_calls_at_the_same_time_share_a_lease(world: World) -> None:
    world.declare("main", budgets=bounded(tokens=100))
    outcomes = await asyncio.gather(*(world.hear() for _ in range(9)), return_exceptions=True)
    answered = [one for one in outcomes if not isinstance(one, BaseException)]
    assert 3 <= len(answered) <= 100 // 15  # 27 tokens are reserved for each, and 15 taken
    assert all(isinstance(one, tuple) or getattr(one, "code", "") == "budget_exhausted" for one in outcomes)


async def test_a_backend_that_is_gone_is_forgotten(world: World) -> None:
    await world.hear()
    assert world.registry.get_sample_value("rolehost_model_circuit", {"backend": "main"}) == 0
    world.tables.backends.drop(("main",))
    assert world.registry.get_sample_value("rolehost_model_circuit", {"backend": "main"}) is None


# ── tools ───────────────────────────────────────────────────────────────────────────

STARS = ToolSpec(name="stars")
CALL = ToolCall(id="c00000000", name="stars", arguments="{}")
ROUND = (ModelMessage("assistant", "", calls=(CALL,)), ModelMessage("tool", "Vega", call_id=CALL.id, name="stars"))
WITH_TOOLS = replace(REQUEST, tools=(STARS,), messages=(*REQUEST.messages, *ROUND))


async def test_a_fallback_that_knows_no_tools_is_told_in_words_and_that_is_said(world: World) -> None:
    simple = ServedModel(name="small", model="s-1", abilities=Abilities(tools=False))
    world.declare("main", fallbacks=["spare"], retries=Retries(max_retries=0))
    world.declare("spare", models=[simple])
    world.servers.plans["main"] = [[unavailable("x")]]
    _, end = await world.hear(WITH_TOOLS)
    assert (end.model, end.tools_left_out) == ("spare/small", True)
    (_, first), (_, second) = world.servers.asked
    assert (first.tools, first.messages) == ((STARS,), WITH_TOOLS.messages)
    assert second.tools == ()
    assert [(one.role, one.content) for one in second.messages] == [("user", "Hello you"), ("system", "(stars: Vega)")]


async def test_calls_come_through_from_a_model_that_knows_tools(world: World) -> None:
    """Such an answer has no word in it; it counts as one, and is not asked for again."""
    calls = (Called("stars", "{}"),)
    world.servers.plans["main"] = [[replace(END, calls=calls)]]
    _, end = await world.hear(WITH_TOOLS)
    assert (end.calls, end.tools_left_out) == (calls, False)
    assert len(world.servers.asked) == 1


async def test_what_is_said_of_tools_takes_room_in_the_context(world: World) -> None:
    world.declare("main", models=[ServedModel(name="small", model="m-1", abilities=Abilities(context_tokens=100))])
    large = ToolSpec(name="stars", description="x" * 1000)
    assert (await world.fails(replace(REQUEST, tools=(large,)))).code == "context_too_long"
