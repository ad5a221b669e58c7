"""The gateway's inside with real parts at its ends: the sandbox's agent over TLS, and Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.agents import Agents
from tests.support.identities import ROOT
from tests.support.redis import RedisServer, running
from tests.support.rooms import (
    ACME,
    Clock,
    Ear,
    PodDialer,
    Shelves,
    principal,
    put,
    revision_entry,
    serve,
    world,
)

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.crd.role import Logic, Persona, RoleTemplate
from rolehost_api.errors import Unavailable
from rolehost_api.wire import (
    HeardPart,
    ResponseAmended,
    ResponseCreated,
    ResponseDone,
    Said,
    SessionCreated,
    StateDelta,
    TextDelta,
    Usage,
)
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import Tables

LOGIC = """
from rolehost import Role, State, Turn

class Tale(State):
    dragons: int = 0
    heard: str = ""

cat = Role("cat", state=Tale)

@cat.on_message
async def answer(t: Turn[Tale]) -> None:
    if "spin" in t.message:
        while True:
            pass
    if "dragon" in t.message:
        t.state.dragons += 1
        print("a dragon was heard of")
    await t.reply(t.ask())
    t.state.dragons += 100 if "hundred" in t.message else 0
    t.say(f" Dragons: {t.state.dragons}.")

@cat.on_reply
def after(t: Turn[Tale]) -> None:
    t.state.heard = ""

@cat.on_interrupt
def interrupted(t: Turn[Tale]) -> None:
    t.state.heard = t.replied
"""
WORDS = [f"word{number} " for number in range(40)]
REVISION = revision_entry(template=RoleTemplate(persona=Persona(system="You are a cat."), logic=Logic(inline=LOGIC)))


def dialer() -> TlsDialer:
    return TlsDialer(ROOT, lambda: None)


class Slow:
    """ports.ModelProvider that takes twice as long for its words as a hook may, and counts who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.shown: list[tuple[str, str]] = []
        """What the newest question said, as (who, what)."""

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        self.asked.append(request.messages[-1].content)
        self.shown = [(message.role, message.content) for message in request.messages]
        for word in WORDS:
            await asyncio.sleep(4 / len(WORDS))
            yield word
        yield ModelEnd("stop", Usage())


class House:
    def __init__(self, redis: RedisServer, tables: Tables, agents: Agents, key: Any) -> None:
        self.redis, self.tables, self.agents, self.key = redis, tables, agents, key
        self.clock = Clock()
        self.open()

    def open(self, provider: ModelProvider | None = None) -> None:
        """A gateway, new as after a restart."""
        self.store = RedisSessionStore.connect(self.redis.url)
        self.pool = LinkPool(self.tables, dialer(), Shelves(), self.key, self.clock, "gw", require_gvisor=False)
        models = Models({BackendType.SCRIPTED: provider or ScriptedProvider()})
        self.service = SessionService(self.tables, self.pool, self.store, models, self.clock)

    async def close(self) -> None:
        await self.service.stop(1)
        await self.pool.stop()
        await self.store.close()

    async def attach(self, sid: str = "abc") -> tuple[Any, Ear]:
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        ear = Ear()
        return await self.service.attach(principal(ACME), role, sid, ear), ear


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def house(redis: RedisServer, tmp_path: Path) -> AsyncIterator[House]:
    key = PodDialer().key
    agents = Agents(tmp_path, key.public_key())
    tables = world(ACME)
    role = tables.roles.get("acme", "cat")
    assert role is not None
    sessions = replace(role.spec.sessions, turn_timeout_seconds=20)
    put(tables, type(role)(ACME, "cat", replace(role.spec, sessions=sessions), role.stable))
    serve(tables, REVISION)
    built = House(redis, tables, agents, key)
    await built.pool.start()
    put(tables, await agents.start("p1", REVISION.name))
    yield built
    await built.close()
    await agents.stop()
    store = RedisSessionStore.connect(redis.url)
    await store._redis.everywhere("FLUSHALL")
    await store.close()


async def test_a_turn_runs_the_tenants_logic_and_the_next_remembers(house: House) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="a dragon"))
    await handle.say(Said(message="again a dragon"))
    first, second = ear.of(ResponseDone)
    assert first.message == "You said a dragon. Dragons: 1."
    assert second.message == "Before: a dragon Dragons: 2."
    assert [event.patch[0].path for event in ear.of(StateDelta)] == ["/dragons", "/dragons"]
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    lines = [line async for line in house.pool.follow(role, after=0, follow=False)]
    assert {(line.text, line.session) for line in lines} == {("a dragon was heard of", "abc")}


async def test_a_session_survives_its_pod(house: House) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="a dragon"))
    await house.agents.kill("p1")
    house.tables.pods.drop(("p1",))
    put(house.tables, await house.agents.start("p2", REVISION.name))
    await handle.say(Said(message="again"))
    assert ear.of(ResponseDone)[1].message == "Before: a dragon Dragons: 1."


async def test_a_pod_killed_in_mid_turn_is_replaced_in_mid_turn(house: House) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="a dragon"))
    turn = asyncio.create_task(handle.say(Said(message="again, spin")))  # the hook hangs until its deadline
    await asyncio.sleep(0.3)
    await house.agents.kill("p1")
    house.tables.pods.drop(("p1",))
    put(house.tables, await house.agents.start("p2", REVISION.name))
    await turn
    done = ear.of(ResponseDone)[1]
    assert (done.status, done.message) == ("completed", "Before: a dragon")
    assert [degraded.code for degraded in done.degraded] == ["hook_deadline"]


async def test_eight_streams_go_on_while_the_worker_that_their_turns_wait_on_is_killed(house: House) -> None:
    """A ninth session's hook loops there until it is killed; nobody else hears of it, and no model is asked twice."""
    await house.close()
    model = Slow()
    house.open(model)
    await house.pool.start()
    streams = [await house.attach(f"stream-{number}") for number in range(8)]
    killer, killed = await house.attach("killer")
    turns = []
    for number, (handle, ear) in enumerate(streams):
        turns.append(asyncio.create_task(handle.say(Said(message=f"a dragon {number}"))))
        async with asyncio.timeout(10):
            while not ear.of(TextDelta):  # its turn waits in a worker now, and leaves it idle for the next
                await asyncio.sleep(0.01)
    before = [len(ear.text()) for _, ear in streams]
    looping = asyncio.create_task(killer.say(Said(message="spin")))
    await asyncio.gather(*turns)
    for (_, ear), heard in zip(streams, before, strict=True):
        (done,) = ear.of(ResponseDone)
        assert (done.status, done.message, done.degraded) == ("completed", "".join(WORDS) + " Dragons: 1.", None)
        assert ear.text() == done.message
        assert heard < len(done.message), "it was in the middle of its stream"
    await looping
    (done,) = killed.of(ResponseDone)
    assert [degraded.code for degraded in done.degraded] == ["hook_deadline"]
    assert sorted(model.asked) == sorted([*(f"a dragon {number}" for number in range(8)), "spin"])


async def test_a_session_survives_its_gateway(house: House) -> None:
    handle, _ = await house.attach()
    await handle.say(Said(message="a dragon"))
    await house.close()
    house.open()
    await house.pool.start()
    again, ear = await house.attach()
    assert ear.of(SessionCreated)[0].head == 2
    await again.say(Said(message="again"))
    assert ear.of(ResponseDone)[0].message == "Before: a dragon Dragons: 1."


async def test_acknowledged_turns_survive_a_killed_redis(house: House) -> None:
    handle, ear = await house.attach()
    for number in range(5):
        await handle.say(Said(message=f"a dragon {number}", client_msg_id=f"c{number}"))
    house.redis.kill()
    try:
        with pytest.raises(Unavailable) as raised:
            await handle.say(Said(message="a dragon 5", client_msg_id="c5"))
        assert raised.value.code == "state_unavailable"
    finally:
        house.redis.start()
    await handle.say(Said(message="again", client_msg_id="c5"))
    assert ear.of(ResponseDone)[-1].message == "Before: a dragon 4 Dragons: 5."
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    events = (await house.service.events(principal(ACME), role, "abc", 0)).events
    assert [event.seq for event in events] == list(range(1, 12))


async def test_a_turn_cancelled_in_mid_stream_keeps_what_was_heard_and_what_hooks_did_before(house: House) -> None:
    await house.close()
    model = Slow()
    house.open(model)
    await house.pool.start()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="a hundred dragons")))
    async with asyncio.timeout(10):
        while len(ear.text()) < 30:
            await asyncio.sleep(0.01)
    await handle.cancel(ear.of(ResponseCreated)[0].response_id, HeardPart(chars=11, audio_ms=640))
    await turn
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message, done.truncated_at) == (
        "cancelled",
        "word0 word1",
        HeardPart(chars=11, audio_ms=640),
    )
    assert len(ear.text()) < len("".join(WORDS)), "it was in the middle of its stream"
    (record,) = await house.store.read(next(iter(house.service._live)))
    assert isinstance(record, TurnRecord)
    assert {op.path: op.value for op in record.patch} == {"/dragons": 1, "/heard": "word0 word1"}
    await house.close()
    house.open()
    await house.pool.start()
    again, heard = await house.attach()
    await again.say(Said(message="again a dragon"))
    assert heard.of(ResponseDone)[0].message == "Before: a hundred dragons Dragons: 2."


async def test_an_interruption_with_what_was_heard_before_and_after_the_commit(house: House) -> None:
    await house.close()
    model = Slow()
    house.open(model)
    await house.pool.start()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="one")))
    async with asyncio.timeout(10):
        while len(ear.text()) < 30:
            await asyncio.sleep(0.01)
    heard = HeardPart(chars=5)
    second = asyncio.create_task(handle.say(Said(message="two", busy_policy="interrupt", heard=heard)))
    await asyncio.gather(turn, second)
    await handle.say(Said(message="three", busy_policy="interrupt", heard=HeardPart(chars=11)))
    assert [(done.status, done.message[:5]) for done in ear.of(ResponseDone)] == [
        ("cancelled", "word0"),
        ("completed", "word0"),
        ("completed", "word0"),
    ]
    assert [event.message for event in ear.of(ResponseAmended)] == ["word0 word1"]
    assert [event.seq for event in ear.heard if event.seq is not None] == list(
        range(1, ear.of(ResponseDone)[-1].seq + 1)
    )
    assert [content for who, content in model.shown if who == "assistant"] == ["word0", "word0 word1"]


async def test_a_cancelled_worker_step_is_no_fault_of_the_session(house: House) -> None:
    """A turn is cancelled while its hook spins: it ends when the hook is stopped, and the pod serves on."""
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="spin")))
    async with asyncio.timeout(10):
        while not ear.of(ResponseCreated):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    await handle.cancel(ear.of(ResponseCreated)[0].response_id, None)
    await turn
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "")]
    await handle.say(Said(message="a dragon"))
    assert ear.of(ResponseDone)[1].message == "You said spin\n\na dragon. Dragons: 1."


async def test_a_gateway_that_is_not_the_platform_gets_nothing(house: House) -> None:
    stranger = LinkPool(
        house.tables, dialer(), Shelves(), PodDialer().key, house.clock, "stranger",
        require_gvisor=False, backoff_seconds=(0.05,),
    )  # fmt: skip
    await house.attach()
    await stranger.start()
    for _ in range(20):
        await asyncio.sleep(0.05)
        assert not any(report.loaded for report in stranger._pod_reports())
    await stranger.stop()
