"""One gateway's inner rooms for tests of turns: pods of our own, a store in memory, a model that is told what to say."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from tests.support.rooms import ACME, Clock, Ear, FakePod, PodDialer, Shelves, pod_entry, principal, put

from rolehost import Role
from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.messages import NeedState, Question, QuestionAnswer, StartTurn, StateGiven
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.record import Record
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest, Shared
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import Tables, Tenant


class Counting:
    """A sink that keeps outcomes."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, str, str]] = []
        self.lost = 0
        self.moved: list[tuple[str, str, int]] = []
        self.tools: Counter[tuple[str, str]] = Counter()
        self.told: list[tuple[str, str, int, int]] = []
        """Of lorebooks."""
        self.decided: list[Any] = []
        self.guards_failed: list[tuple[str, str]] = []

    def turn(self, tenant: str, role: str, outcome: str, metrics: Any) -> None:
        self.turns.append((tenant, role, outcome))

    def model_call(self, tenant: str, role: str, outcome: str, seconds: float) -> None:
        """Not looked at here."""

    def prompted(self, tenant: str, role: str, usage: Any) -> None:
        """Not looked at here."""

    def transitions(self, tenant: str, role: str, count: int) -> None:
        self.moved.append((tenant, role, count))

    def lore(self, tenant: str, role: str, told: int, left_out: int) -> None:
        self.told.append((tenant, role, told, left_out))

    def overridden(self, tenant: str, role: str, values: int) -> None:
        self.lost += values

    def tool_calls(self, tenant: str, role: str, tool: str, outcome: str, count: int) -> None:
        self.tools[tool, outcome] += count

    def guard_decision(self, tenant: str, role: str, decision: Any) -> None:
        self.decided.append(decision)

    def guard_failed(self, tenant: str, role: str, policy: str, code: str) -> None:
        self.guards_failed.append((policy, code))


class Slow:
    """A model that says what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[str | ModelEnd | RolehostError] = asyncio.Queue()
        self.asked: list[ModelRequest] = []
        self.closed = 0
        """Streams that are over, by their own end or because nobody reads on."""

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        self.asked.append(request)
        try:
            while True:
                item = await self.pieces.get()
                if isinstance(item, RolehostError):
                    raise item
                yield item
                if isinstance(item, ModelEnd):
                    return
        finally:
            self.closed += 1

    @property
    def shown(self) -> list[tuple[str, str]]:
        """What the newest question said, as (who, what)."""
        return [(message.role, message.content) for message in self.asked[-1].messages]


class Mortal(MemorySessionStore):
    """A gateway's way to the store, which ends with the gateway."""

    dead = False
    silent = False
    """Its notes do not come through."""

    async def note(self, *arguments: Any) -> bool:
        return not (self.dead or self.silent) and await super().note(*arguments)

    async def commit(self, key: str, record: Record, keep_seconds: int = 0) -> Shared | None:
        if self.dead:
            raise Unavailable("this gateway is dead", code="state_unavailable")
        return await super().commit(key, record, keep_seconds)


class House:
    """Everything inside one gateway, with pods of our own."""

    def __init__(
        self,
        tables: Tables,
        shelf: Shelf | None = None,
        dialer: PodDialer | None = None,
        store: Any = None,
        **more: Any,
    ) -> None:
        """`store`: another one than in memory. `more`: what its sessions are told beside what they always are."""
        self.tables, self.clock = tables, Clock()
        self.dialer = dialer or PodDialer()
        self.store: Mortal = store or Mortal(shelf)
        self.slow, self.sink = Slow(), Counting()
        self.pool = LinkPool(tables, self.dialer, Shelves(), self.dialer.key, self.clock, "gw", backoff_seconds=(0,))
        models = more.pop("models", None) or Models(
            {BackendType.SCRIPTED: ScriptedProvider(), BackendType.OPENAI: self.slow}
        )
        self.service = SessionService(
            tables, self.pool, self.store, models, self.clock, self.sink, commit_pauses=(0, 0), **more
        )

    def pod(self, uid: str, tenant: Tenant = ACME, revision: str = "", **changes: Any) -> FakePod:
        """A pod of that revision, or of the one that takes new sessions."""
        role = self.tables.roles.get(tenant.name, "cat")
        assert role is not None
        pod = self.dialer.add(uid, **changes)
        put(self.tables, pod_entry(uid, tenant, revision=revision or role.stable))
        return pod

    async def attach(self, sid: str | None = "abc", tenant: Tenant = ACME, **more: Any) -> tuple[Any, Ear]:
        ear = Ear()
        role = self.tables.roles.get(tenant.name, "cat")
        assert role is not None
        who = principal(tenant, *more.pop("scopes", ()), user=more.pop("user", ""))
        return await self.service.attach(who, role, sid, ear, **more), ear

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0)

    def slow_model(self) -> Slow:
        self.tables.backends.put(("default",), BackendSpec(type=BackendType.OPENAI, base_url="http://model/v1"))
        return self.slow

    async def die(self) -> None:
        """The process is killed: nothing that it would still do reaches the store or a client."""
        self.store.dead = True
        for live in self.service._live.values():
            live.audience._channels.clear()
        await self.service.stop(0)
        await self.pool.stop()

    async def log(self) -> list[Record]:
        """Of the one session that there is."""
        return [record for key in self.store.shelf.heads for record in await self.store.read(key)]


def playing(
    role: Role[Any], before_commit: Callable[[], Any] | None = None, permissions: Sequence[str] | None = None
) -> Any:
    """A pod's turn as the real engine plays it; `before_commit` is awaited where hooks would still be at work.
    `permissions` as Bind has them; None: they are not known there."""
    graph = graph_of(role)

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        state, shared = start.state, start.user_state
        if (state is None and start.version) or (start.user_at and shared is None):
            pod.send(channel, NeedState())
            given = await pod.answer(channel)
            assert isinstance(given, StateGiven)
            state, shared = given.state, given.user_state
        engine = TurnEngine(
            role, start, state or {}, user_state=shared, personas=1, graph=graph, permissions=permissions
        )
        out = engine.begin()
        while not engine.done:
            for message in out:
                pod.send(channel, message)
            assert isinstance(out[-1], Question)
            result = await pod.answer(channel)
            assert isinstance(result, QuestionAnswer)
            out = engine.resume(result)
        if before_commit is not None:
            await before_commit()
        for message in out:
            pod.send(channel, message)

    return turn
