"""The real agent with real workers: a tool that never returns, or ends its process, costs its call and not the turn."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.pod import AgentProcess, agent

from rolehost_api.link.messages import CallModel, Commit, Degraded, ModelResult, PatchOp
from rolehost_api.link.tools import ToolCall

LOGIC = '''
import os

from rolehost import Role, State, Turn

class Sky(State):
    looks: int = 0

sky = Role("sky", state=Sky)

@sky.tool
async def stars(t: Turn[Sky], city: str) -> str:
    """Stars over a city."""
    t.state.looks += 1
    return f"Vega over {city}, {await t.ask('How many?')} of them"

@sky.tool
def spins(t: Turn[Sky]) -> str:
    """It never returns."""
    t.state.looks = 99
    while True: pass

@sky.tool
def ends(t: Turn[Sky]) -> str:
    """It takes the process with it."""
    os._exit(7)
'''
GRANTED = ("model.call", "tool:*")
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod() -> AsyncIterator[AgentProcess]:
    async with agent() as running:
        bound = await (await running.link()).bind(LOGIC, hook_wall_ms=1000, max_workers=2, permissions=GRANTED)
        assert bound.error is None
        assert [tool.name for tool in bound.tools] == ["stars", "spins", "ends"]
        yield running


def call(name: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=f"c-{name}", name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("bad", "error"), [("spins", "tool_late"), ("ends", "tool_failed")], ids=lambda value: str(value)
)
async def test_a_tool_that_costs_a_worker_is_told_to_the_model_and_the_turn_goes_on(
    pod: AgentProcess, bad: str, error: str
) -> None:
    end = await pod.link()
    channel = await end.start("hi", session=bad)
    await end.hear(channel, CallModel)
    calls = (call("stars", '{"city": "Oslo"}'), call(bad), call(bad))
    await end.send(channel, ModelResult(index=0, text="I look.", calls=calls))
    assert (await end.hear(channel, CallModel)).tools == ()
    await end.send(channel, ModelResult(index=1, text="Nine"))
    went_on = await end.hear(channel, CallModel)
    assert (went_on.index, went_on.continues) == (2, 0)
    assert [(one.text, one.error) for one in went_on.results[:1]] == [("Vega over Oslo, Nine of them", "")]
    assert [one.error for one in went_on.results[1:]] == [error, error]
    await end.send(channel, ModelResult(index=2, text="Nine."))
    told = await end.finish(channel)
    assert isinstance(told.end, Commit)
    assert told.end.patch == (PatchOp("incr", "/looks", 1),)
    assert set(told.end.degraded) == {Degraded(f"tool:{bad}", error)}
