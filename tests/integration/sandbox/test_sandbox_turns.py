"""The real agent over a real socket with real workers: turns, and logic that misbehaves in them."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.pod import AgentProcess, agent, children, template_of

from rolehost_api.link.messages import (
    Abort,
    CallModel,
    Commit,
    Committed,
    Degraded,
    InputSegment,
    ModelResult,
    NeedState,
    PatchOp,
    StateGiven,
    TurnFailed,
)

LOGIC = """
import os, time
from rolehost import Role, State, Turn

class Tale(State):
    dragons: int = 0
    names: list[str] = []

cat = Role("cat", state=Tale)

@cat.on_message
async def count(t: Turn) -> None:
    t.state.dragons += 1

@cat.on_message
async def obey(t: Turn) -> None:
    verb, _, rest = t.message.partition(" ")
    if verb == "loop":
        t.state.names.append("never seen")
        while True: pass
    if verb == "ask-then-loop":
        await t.say("before ")
        await t.ask("?")
        while True: pass
    if verb == "loop-deaf":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                time.sleep(100)
            except BaseException:
                pass
    if verb == "exit":
        os._exit(3)
    if verb == "gibibyte":
        t.say("x" * (1 << 30))
    if verb == "pid":
        await t.reply(str(os.getpid()))
    if verb == "environment":
        await t.reply(",".join(sorted(os.environ)))
    if verb == "remember":
        await t.reply(f"{t.state.dragons} dragons")
    if verb == "garbage":
        os.write(int(rest), b"\\xff" * 64)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod() -> AsyncIterator[AgentProcess]:
    async with agent() as running:
        end = await running.link()
        bound = await end.bind(LOGIC, hook_wall_ms=1500, max_workers=3)
        assert bound.error is None
        assert bound.hooks == ("on_message:count", "on_message:obey")
        assert bound.state_fields == ("dragons", "names")
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_turn_is_two_round_trips_and_a_commit(pod: AgentProcess) -> None:
    told = await (await pod.link()).turn("hello")
    assert told.said == "<0>"
    assert told.asked[0].stream
    assert told.asked[0].segments[-1] == InputSegment()
    assert told.end == Commit(patch=(PatchOp("incr", "/dragons", 1),))


async def test_the_pod_remembers_a_state_that_was_committed(pod: AgentProcess) -> None:
    end = await pod.link()
    await end.turn("hello", session="m", state={"dragons": 5})
    told = await end.turn("remember", session="m", turn=2, version=1, state=None)
    assert told.said == "7 dragons"


async def test_a_state_that_the_pod_lacks_is_asked_for(pod: AgentProcess) -> None:
    end = await pod.link()
    channel = await end.start("remember", session="other", turn=9, version=8, state=None)
    await end.hear(channel, NeedState)
    await end.send(channel, StateGiven(version=8, state={"dragons": 40}))
    assert (await end.finish(channel)).said == "41 dragons"


async def test_two_links_do_not_share_the_states_of_a_reference(pod: AgentProcess) -> None:
    one, other = await pod.link(), await pod.link()
    await one.turn("hello", session="same", state={"dragons": 100})
    channel = await other.start("remember", session="same", turn=2, version=1, state=None)
    await other.hear(channel, NeedState)


@pytest.mark.parametrize(
    ("message", "code"),
    [("loop", "hook_deadline"), ("loop-deaf", "hook_deadline"), ("exit", "hook_died")],
)
async def test_a_hook_that_never_returns_is_left_out_and_the_turn_goes_on(
    pod: AgentProcess, message: str, code: str
) -> None:
    told = await (await pod.link()).turn(message)
    assert told.end == Commit(patch=(PatchOp("incr", "/dragons", 1),), degraded=(Degraded("on_message:obey", code),))
    assert told.said == "<0>"


async def test_what_it_said_before_it_looped_stands_and_is_not_said_twice(pod: AgentProcess) -> None:
    told = await (await pod.link()).turn("ask-then-loop")
    assert told.said == "before "
    assert len(told.asked) == 1
    assert isinstance(told.end, Commit)
    assert told.end.degraded == (Degraded("on_message:obey", "hook_deadline"),)


async def test_a_gibibyte_ends_clearly(pod: AgentProcess) -> None:
    told = await (await pod.link()).turn("gibibyte")
    assert isinstance(told.end, Commit)
    (degraded,) = told.end.degraded
    assert degraded.code in ("hook_failed", "reply_too_large")
    assert degraded.where.startswith("logic.py:")


async def test_neighbours_finish_while_hooks_loop(pod: AgentProcess) -> None:
    """Three loop, six are in the middle of a turn: every one of the six ends as if nothing had been."""
    end = await pod.link()
    channels = [await end.start("hello", session=f"n{number}") for number in range(6)]
    asked = [await end.hear(channel, CallModel) for channel in channels]
    loops = [await end.start("loop", session=f"l{number}") for number in range(3)]
    for channel, question in zip(channels, asked, strict=True):
        await end.send(channel, ModelResult(index=question.index, text="fine"))
    for channel in channels:
        assert await end.hear(channel, Commit) == Commit(patch=(PatchOp("incr", "/dragons", 1),))
        await end.send(channel, Committed(version=1))
    for channel in loops:
        told = await end.finish(channel)
        assert isinstance(told.end, Commit)
        assert told.end.degraded == (Degraded("on_message:obey", "hook_deadline"),)


async def test_an_aborted_turn_ends_and_its_channel_is_free(pod: AgentProcess) -> None:
    end = await pod.link()
    channel = await end.start("hello")
    await end.hear(channel, CallModel)
    await end.send(channel, Abort(code="cancelled"))
    assert (await end.turn("remember")).said == "1 dragons"


async def test_the_turns_own_deadline_counts_hooks_and_not_the_model(pod: AgentProcess) -> None:
    end = await pod.link()
    channel = await end.start("hello", deadline_ms=400)
    question = await end.hear(channel, CallModel)
    await asyncio.sleep(0.6)
    await end.send(channel, ModelResult(index=question.index, text="late"))
    assert isinstance(await end.hear(channel, Commit), Commit)
    told = await end.turn("loop", deadline_ms=300)
    assert told.end == TurnFailed(code="turn_deadline", hook="on_message:obey")


async def test_a_template_that_is_killed_comes_back(pod: AgentProcess) -> None:
    end = await pod.link()
    channel = await end.start("hello", session="bystander")
    question = await end.hear(channel, CallModel)
    os.kill(template_of(pod), signal.SIGKILL)
    await end.send(channel, ModelResult(index=question.index, text="still here"))
    assert await end.hear(channel, Commit) == Commit(patch=(PatchOp("incr", "/dragons", 1),))


async def test_a_worker_that_writes_garbage_on_its_sockets_is_replaced(pod: AgentProcess) -> None:
    end = await pod.link()
    for number in range(3, 12):
        await end.turn(f"garbage {number}")
    assert (await end.turn("remember")).said == "1 dragons"


async def test_the_logic_sees_no_environment_of_the_agent(pod: AgentProcess) -> None:
    told = await (await pod.link()).turn("environment")
    assert "ROLEHOST" not in told.said
    assert "PYTHONHASHSEED" in told.said


async def test_ready_is_sticky(pod: AgentProcess) -> None:
    assert await pod.get("/ready") == 200
    assert await pod.get("/live") == 200
    assert await pod.get("/else") == 404


async def test_under_load_with_every_kind_of_misbehaviour_every_turn_ends_and_good_ones_as_if_alone() -> None:
    """A seeded mix on three links, more turns at once than there are workers."""
    chance = random.Random(7)
    async with agent() as busy:
        ends = [await busy.link() for _ in range(3)]
        assert (await ends[0].bind(LOGIC, hook_wall_ms=1000, max_workers=3)).error is None

        async def one(number: int) -> None:
            end, message = (
                ends[number % 3],
                chance.choice(["hello"] * 5 + ["remember", "loop", "exit", "ask-then-loop"]),
            )
            channel = await end.start(message, session=f"s{number}", deadline_ms=60_000)
            if number % 10 == 9:
                await end.send(channel, Abort(code="cancelled"))
                return
            told = await end.finish(channel)
            assert isinstance(told.end, Commit), (message, told)
            assert told.end.patch == (PatchOp("incr", "/dragons", 1),)
            expected = {"loop": "hook_deadline", "ask-then-loop": "hook_deadline", "exit": "hook_died"}.get(message)
            assert [degraded.code for degraded in told.end.degraded] == ([expected] if expected else [])
            await end.send(channel, Committed(version=1))

        await asyncio.gather(*(one(number) for number in range(60)))
        assert (await ends[0].turn("remember")).said == "1 dragons"


async def test_a_template_that_dies_again_and_again_ends_the_pod() -> None:
    async with agent() as doomed:
        end = await doomed.link()
        await end.bind(LOGIC, hook_wall_ms=2000)
        for _ in range(4):
            while not (templates := children(doomed.pid)) and doomed.process.returncode is None:
                await asyncio.sleep(0.01)  # the next one is on its way
            for template in templates:
                os.kill(template, signal.SIGKILL)
            try:
                await end.turn("hello")
            except EOFError:
                break
        async with asyncio.timeout(15):
            assert await doomed.process.wait() == 1
