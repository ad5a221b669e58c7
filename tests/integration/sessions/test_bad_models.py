"""Models that misbehave under a session: servers on real sockets, and plugins. Each has a clear error and a count, nothing of
it is in the log, and the same session answers the next message.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.house import House
from tests.support.model_servers import REPLY, SPEECHES, ModelServer, serving
from tests.support.rooms import ACME, Ear, world
from tests.support.talking import ask_or_fail

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, Breaker, Retries, Timeouts
from rolehost_api.errors import RolehostError
from rolehost_api.wire import ResponseDone, Said, Usage
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.plugins import PluginProvider
from rolehost_runtime.gateway.broker.models.provider import MAX_TEXT_CHARS, HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.ports import ModelEnd

pytestmark = pytest.mark.timeout(60)
SECRET = "my password is swordfish"
ONCE = Retries(max_retries=0)
SHORT = Timeouts(first_token_seconds=1, idle_seconds=1, total_seconds=3)
"""A minute of nothing, in what a test may take of it; that the bound is the declared one whatever it is:
tests/unit/models/test_models_patience.py, by a clock of its own."""


class Wild:
    """A plugin that does what it is told to."""

    def __init__(self) -> None:
        self.doing: Callable[[], AsyncIterator[Any]] = answering

    def stream(self, backend: BackendSpec, request: Any) -> AsyncIterator[Any]:
        return self.doing()


async def answering() -> AsyncIterator[Any]:
    yield "fine"
    yield ModelEnd("stop", Usage(input_tokens=1, output_tokens=1))


async def raising() -> AsyncIterator[Any]:
    yield "half"
    raise ValueError(SECRET)


async def raising_at_once() -> AsyncIterator[Any]:
    raise ValueError(SECRET)
    yield


async def saying_numbers() -> AsyncIterator[Any]:
    yield 7


async def ending_in_the_middle() -> AsyncIterator[Any]:
    yield "half"


async def never_ending() -> AsyncIterator[Any]:
    while True:
        yield "x" * 100_000


async def saying_nothing() -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield


async def falling_silent() -> AsyncIterator[Any]:
    yield "half"
    await asyncio.Event().wait()


async def not_letting_go() -> AsyncIterator[Any]:
    try:
        yield "half"
        await asyncio.Event().wait()
    finally:
        raise RuntimeError(SECRET)


class Room:
    """One gateway whose only model is declared by the test."""

    def __init__(self) -> None:
        self.registry, self.wild = CollectorRegistry(), Wild()
        tables = world(ACME)
        self.models = ModelService(
            HttpProvider(KeyRing(None)),
            tables,
            lambda: 0,
            MemoryLedger(),
            PrometheusModelSink(self.registry),
            plugins=PluginProvider({"wild": self.wild}),
        )
        self.house = House(tables, models=self.models.provider)

    def declare(self, spec: BackendSpec) -> None:
        self.house.tables.backends.put(("default",), spec)

    async def say(self, handle: Any, ear: Ear, message: str) -> tuple[str, str]:
        """(status, the error's code or what was answered)."""
        try:
            await handle.say(Said(message=message))
        except RolehostError as error:
            return "failed", error.code if SECRET not in str(error) else "it quotes the conversation"
        done = ear.of(ResponseDone)[-1]
        return done.status, done.message or ""

    def counted(self, outcome: str) -> float:
        labels = {"backend": "default", "outcome": outcome}
        return self.registry.get_sample_value("rolehost_model_attempts_total", labels) or 0.0


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    await made.house.pool.start()
    made.house.pod("p1", turn=ask_or_fail)
    yield made
    await made.house.service.stop(0)
    await made.house.pool.stop()
    await made.models.close()


async def survives(room: Room, code: str, heal: Callable[[], None], answer: str, attempts: int = 1) -> None:
    """The turn fails with that code, is counted and not kept; healed, the same session answers."""
    handle, ear = await room.house.attach()
    assert await room.say(handle, ear, SECRET) == ("failed", code)
    [failed] = [done for done in ear.of(ResponseDone) if done.status == "failed"] or [None]
    if failed is not None:  # text was on its way: the client is told that it is void
        assert failed.error is not None
        assert (failed.error.code, failed.seq) == (code, None)
    assert room.counted(code) == attempts
    assert await room.house.log() == []
    heal()
    assert await room.say(handle, ear, "still there?") == ("completed", answer)
    records = [record for record in await room.house.log() if isinstance(record, TurnRecord)]
    assert [(record.turn, record.input, record.reply) for record in records] == [(1, "still there?", answer)]


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.type.value)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ModelServer]:
    async with serving(request.param) as served:
        yield served


BAD: list[Any] = [
    pytest.param(lambda s: s.saying(b"\x00\xffgarbage\n\n" * 50), "model_unavailable", id="garbage"),
    pytest.param(lambda s: s.saying(b"<html>502</html>"), "model_unavailable", id="a-page"),
    pytest.param(lambda s: s.saying(b"data: " + b"[" * 50_000 + b"\n\n"), "model_unavailable", id="very-deep"),
    pytest.param(lambda s: s.saying(s.speech.piece("half")), "model_unavailable", id="half-a-stream"),
    pytest.param(lambda s: s.saying(s.speech.piece("half")[:-9]), "model_unavailable", id="half-a-frame"),
    pytest.param(lambda s: s.hanging([]), "model_timeout", id="nothing-for-a-minute"),
    pytest.param(lambda s: s.hanging([s.speech.piece("half")]), "model_timeout", id="silence-in-mid-answer"),
    pytest.param(lambda s: s.refusing(500, {}, SECRET), "model_unavailable", id="it-failed"),
]


@pytest.mark.parametrize(("bad", "code"), BAD)
async def test_a_session_survives_its_server(room: Room, server: ModelServer, bad: Any, code: str) -> None:
    room.declare(server.backend(timeouts=SHORT, retries=ONCE))
    server.behaviour = bad(server)

    def heal() -> None:
        server.behaviour = None

    await survives(room, code, heal, REPLY)


async def test_a_session_survives_a_storm_of_429(room: Room, server: ModelServer) -> None:
    """Twenty sessions in a storm: it is not made larger, the circuit opens, and when it has passed all are answered."""
    breaker = Breaker(min_calls=10, failure_percent=50, open_seconds=1)
    room.declare(server.backend(breaker=breaker, retries=Retries(max_retries=2, budget_percent=20), timeouts=SHORT))
    server.behaviour = server.refusing(429, {"Retry-After": "0"})
    sessions = [await room.house.attach(f"s{number}") for number in range(20)]
    outcomes = await asyncio.gather(*(room.say(handle, ear, SECRET) for handle, ear in sessions))
    assert {status for status, _ in outcomes} == {"failed"}
    assert {code for _, code in outcomes} <= {"model_overloaded", "model_circuit_open"}
    assert len(server.asked) <= 20 + 10 + 4, "calls, ten retries in hand, and a fifth of the calls"
    assert room.counted("model_overloaded") == len(server.asked)
    assert room.counted("model_circuit_open") > 0
    assert room.registry.get_sample_value("rolehost_model_circuit", {"backend": "default"}) == 2
    server.behaviour = None
    handle, ear = sessions[0]
    while (outcome := await room.say(handle, ear, "again"))[0] == "failed":
        assert outcome[1] == "model_circuit_open"
        await asyncio.sleep(0.1)
    answered = await asyncio.gather(*(room.say(handle, ear, "and now?") for handle, ear in sessions))
    assert set(answered) == {("completed", REPLY)}


@pytest.mark.parametrize(
    ("doing", "code"),
    [
        (raising, "model_unavailable"),
        (raising_at_once, "model_unavailable"),
        (saying_numbers, "model_unavailable"),
        (ending_in_the_middle, "model_unavailable"),
        (saying_nothing, "model_timeout"),
        (falling_silent, "model_timeout"),
        (not_letting_go, "model_unavailable"),
    ],
)
async def test_a_session_survives_its_plugin(
    room: Room, doing: Any, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    room.declare(BackendSpec(type=BackendType.PLUGIN, plugin="wild", timeouts=SHORT, retries=ONCE))
    room.wild.doing = doing

    def heal() -> None:
        room.wild.doing = answering

    await survives(room, code, heal, "fine")
    assert SECRET not in caplog.text


async def test_an_answer_of_a_plugin_that_does_not_end_is_cut(room: Room) -> None:
    room.declare(BackendSpec(type=BackendType.PLUGIN, plugin="wild", timeouts=SHORT, retries=ONCE))
    room.wild.doing = never_ending
    handle, ear = await room.house.attach()
    status, said = await room.say(handle, ear, SECRET)
    assert len(said) <= MAX_TEXT_CHARS
    assert (status, ear.of(ResponseDone)[-1].finish_reason) == ("completed", "length")
    room.wild.doing = answering
    assert await room.say(handle, ear, "still there?") == ("completed", "fine")


async def test_a_session_survives_a_plugin_that_is_not_there(room: Room) -> None:
    room.declare(BackendSpec(type=BackendType.PLUGIN, plugin="nobodys"))
    wild = BackendSpec(type=BackendType.PLUGIN, plugin="wild")
    await survives(room, "plugin_not_found", lambda: room.declare(wild), "fine")


async def test_where_a_plugin_fails_its_fallback_answers(room: Room) -> None:
    room.wild.doing = raising_at_once
    spare = BackendSpec(type=BackendType.SCRIPTED)
    room.house.tables.backends.put(("spare",), spare)
    room.declare(BackendSpec(type=BackendType.PLUGIN, plugin="wild", retries=ONCE, fallbacks=["spare"]))
    handle, ear = await room.house.attach()
    assert await room.say(handle, ear, "hello") == ("completed", "You said: hello")
