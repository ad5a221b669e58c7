"""A new revision is warmed before its first session: real agents run its logic, a real Redis has nothing of it after."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed
from tests.support.agents import Agents
from tests.support.identities import ROOT
from tests.support.redis import RedisServer, running
from tests.support.rooms import ACME, Ear, PodDialer, Shelves, principal, put, revision_entry, world
from tests.support.tracing import yes

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, Budgets, TokenBudget
from rolehost_api.crd.role import DEFAULT_PERMISSIONS, Logic, Objective, ObjectiveType, Persona, RoleTemplate, Slo
from rolehost_api.errors import NotFound, Unavailable
from rolehost_api.link.tools import ToolSpec
from rolehost_api.observed import Observed, WarmReport
from rolehost_api.wire import Said, Usage
from rolehost_runtime.core.warming import MAX_TOKENS, Warming
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, wall_ms
from rolehost_runtime.gateway.broker.models.dispatcher import Desks, Dispatcher
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.purse import Purses
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.state.redis_ledger import RedisLedger
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth, Tokens
from rolehost_runtime.gateway.edge.tokens import signing_key
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Called, ModelEnd, ModelRequest
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Tables

pytestmark = pytest.mark.integration

LOGIC = """
from rolehost import Role, State, Turn
from rolehost.errors import HttpFailed

class Tale(State):
    turns: int = 0

cat = Role("cat", state=Tale)

@cat.on_message
async def answer(t: Turn[Tale]) -> None:
    t.state.turns += 1
    t.memory.remember("Somebody said hello.")
    try:
        await t.http.post("https://api.acme.com/greeted", json={})
    except HttpFailed as failed:
        print(t.session.id, t.state.turns, t.message, failed.code)
    await t.reply(t.ask())

@cat.every("1h")
async def purr(t: Turn[Tale]) -> None:
    await t.reply("Purr.")
"""
PERMISSIONS = (*DEFAULT_PERMISSIONS, "http:api.acme.com", "tool:weather__*")
CANARY = revision_entry(
    sequence=2,
    template=RoleTemplate(persona=Persona(system="You are a cat."), permissions=PERMISSIONS, logic=Logic(inline=LOGIC)),
)
ASKED = Warming("2-ab", (CANARY.name,))
OF_TURNS = ("rolehost_turn", "rolehost_slo", "rolehost_model_calls", "rolehost_tool_calls", "rolehost_prompt_tokens")
SHOWN, WRITTEN = 100, 5
"""Tokens of one call, as the model's server counts them."""


class Server:
    """ports.ModelProvider that calls a tool first, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ModelRequest] = []
        self.failure: Unavailable | None = None

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        calls = () if request.messages[-1].role == "tool" else (Called("weather__forecast", "{}"),)
        yield "Meow."
        yield ModelEnd("stop", Usage(input_tokens=SHOWN, output_tokens=WRITTEN), calls=calls)


@dataclass
class Weather:
    """ports.Toolbox."""

    called: list[str] = field(default_factory=list)

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> list[ToolSpec]:
        return [ToolSpec(name="weather__forecast")]

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        self.called.append(name)
        raise NotFound("never reached")


class House:
    """A whole gateway, two pods of a canary, and nobody who talks."""

    def __init__(self, redis: RedisServer, tables: Tables, key: Any) -> None:
        self.tables, self.server, self.tools, self.metrics = tables, Server(), Weather(), Metrics()
        self.store, ledger = RedisSessionStore.connect(redis.url), RedisLedger.connect(redis.url)
        sink = PrometheusModelSink(self.metrics.registry)
        purses = Purses(ledger, wall_ms)
        models = Dispatcher(Models({BackendType.OPENAI: self.server}), tables, Desks(tables, sink), purses, sink)
        adapters = Adapters(
            tables=tables,
            dialer=TlsDialer(ROOT, lambda: None),
            bundles=Shelves(),
            store=self.store,
            models=models,
            toolbox=self.tools,
            auth=KeyAuth(tables.keys, Tokens(signing_key(ROOT), wall_ms)),
            signing_key=key,
            store_answers=yes,
            require_gvisor=False,
            closing=(purses.close, ledger.close, self.store.close),
        )
        self.gateway = Gateway(Options(port=0), adapters, self.metrics)

    @property
    def role(self) -> RoleEntry:
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        return role

    async def until(self, *wanted: WarmReport) -> Observed:
        """The report, once it says just this of warming."""
        after = 0
        while True:
            seen = await self.gateway.report.observed(after, 10)
            if seen.warmed == wanted:
                return seen
            after = seen.number

    async def warmed(self) -> Observed:
        put(self.tables, replace(self.role, warming=ASKED))
        return await self.until(WarmReport(namespace="acme", role="cat", rollout="2-ab"))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def counted(self) -> dict[str, float]:
        """Of users' turns, of comparisons, of objectives: whatever is not nought, but for when a series began."""
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name.startswith((*OF_TURNS, "rolehost_rollout")) and "warmups" not in sample.name
            if sample.value and not sample.name.endswith(("_created", "_target"))
        }

    async def printed(self) -> list[tuple[int, str]]:
        """Lines of all pods, each with its number on its pod."""
        logs: Any = self.gateway.report
        return [(line.number, line.text) async for line in logs.follow(self.role, after=0, follow=False)]

    async def keys(self) -> list[str]:
        """All that there is in Redis."""
        found: list[str] = []
        for said in await self.store._redis.everywhere("KEYS", "*"):
            found += [key.decode() for key in said]
        return found


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def house(redis: RedisServer, tmp_path: Path) -> AsyncIterator[House]:
    key, tables = PodDialer().key, world(ACME)
    agents = Agents(tmp_path, key.public_key())
    budgets = Budgets(per_tenant=TokenBudget(tokens_per_day=1_000_000))
    tables.backends.put(("default",), BackendSpec(type=BackendType.OPENAI, base_url="http://model/v1", budgets=budgets))
    role = tables.roles.get("acme", "cat")
    assert role is not None
    slo = Slo(objectives=[Objective(name="works", type=ObjectiveType.SUCCESS, target="99.5")])
    put(tables, CANARY, replace(role, spec=changed(role.spec, slo=slo)))
    built = House(redis, tables, key)
    await built.gateway.start()
    try:
        pods: list[PodEntry] = [await agents.start(uid, CANARY.name) for uid in ("p1", "p2")]
        put(tables, *pods)
        seen = await built.gateway.report.observed(0, 0)
        while [pod.loaded for pod in seen.pods] != [True, True]:
            seen = await built.gateway.report.observed(seen.number, 10)
        yield built
    finally:
        await built.gateway.stop()
        await agents.stop()
        store = RedisSessionStore.connect(redis.url)
        await store._redis.everywhere("FLUSHALL")
        await store.close()


async def test_every_pod_has_a_turn_and_nothing_is_left_of_it(house: House) -> None:
    seen = await house.warmed()
    assert await house.printed() == [(1, "warm-up 1 Hello. warming_up")] * 2, "the first line of each"
    assert house.count("rolehost_rollout_warmups_total", outcome="completed") == 2
    assert (seen.revisions, [pod.sessions for pod in seen.pods]) == ((), [0, 0])

    assert house.tools.called == []
    told = [one.messages[-1] for one in house.server.asked if one.messages[-1].role == "tool"]
    assert [(one.content, one.error) for one in told] == [("No tool is called just now.", "warming_up")] * 2
    assert {one.max_tokens for one in house.server.asked} == {MAX_TOKENS}

    assert house.counted() == {}
    calls = len(house.server.asked)
    assert calls == 4
    for kind, each in (("input", SHOWN), ("output", WRITTEN)):
        spent = house.count("rolehost_model_tokens_total", tenant="acme", backend="default", kind=kind)
        assert spent == each * calls, "what the model did is the tenant's"
    assert [key.split(":")[1] for key in await house.keys()] == ["{budget"]


async def test_a_users_first_turn_asks_with_the_prompt_that_is_warm(house: House) -> None:
    await house.warmed()
    warm = house.server.asked[0]
    put(house.tables, replace(house.role, warming=None, stable=CANARY.name))
    await house.until()
    ear = Ear()
    handle = await house.gateway._sessions.attach(principal(ACME), house.role, "abc", ear)
    await handle.say(Said(message="Hello."))
    first = house.server.asked[4]
    assert (first.cache_key, first.tools, first.stable_chars) == (warm.cache_key, warm.tools, warm.stable_chars)
    assert list(first.messages) == list(warm.messages)
    assert house.counted() != {}


async def test_a_model_that_fails_is_counted_and_holds_nothing_up(house: House) -> None:
    house.server.failure = Unavailable("it is away", code="model_refused")
    await house.warmed()
    assert house.count("rolehost_rollout_warmups_total", outcome="model_refused") == 2
    assert house.counted() == {}


async def test_it_is_done_once_for_a_rollout(house: House) -> None:
    await house.warmed()
    put(house.tables, replace(house.role, follow=True))
    put(house.tables, replace(house.role, warming=Warming("3-cd", (CANARY.name,)), follow=False))
    await house.until(WarmReport(namespace="acme", role="cat", rollout="3-cd"))
    assert house.count("rolehost_rollout_warmups_total", outcome="completed") == 4
    put(house.tables, replace(house.role, warming=None))
    await house.until()
    await asyncio.sleep(0)
    assert house.count("rolehost_rollout_warmups_total", outcome="completed") == 4
