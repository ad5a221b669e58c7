"""The real agent with real workers: what a turn recalled is given to it again when its worker is lost, and not asked twice."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.pod import AgentProcess, agent

from rolehost_api.link.messages import Commit, Degraded, PatchOp, Recall, Recalled, Recollection, Remember

LOGIC = """
from rolehost import Role, State, Turn

cat = Role("cat")

@cat.on_message
async def recall(t: Turn) -> None:
    found = await t.memory.recall(t.message, k=3)
    t.memory.remember(f"was asked about {found[0].text}")
    t.memory.remember(("you", "asked about", found[0].text), many=True)
    t.say(found[0].text)

@cat.on_message
def loop(t: Turn) -> None:
    t.memory.remember("what is lost with its hook")
    while t.message == "loop": pass

@cat.on_message
def mind(t: Turn) -> None:
    if t.message == "forget":
        t.memory.forget("abc")
    t.memory.remember("soup", kind="short")
"""
GRANTED = ("model.call", "memory.read", "memory.write")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod() -> AsyncIterator[AgentProcess]:
    async with agent() as running:
        bound = await (await running.link()).bind(LOGIC, hook_wall_ms=1000, max_workers=2, permissions=GRANTED)
        assert bound.error is None
        yield running


@pytest.mark.parametrize("message", ["dragons", "loop", "forget"])
async def test_a_turn_that_recalls_and_remembers(pod: AgentProcess, message: str) -> None:
    end = await pod.link()
    channel = await end.start(message, session=message)
    asked = await end.hear(channel, Recall)
    assert asked == Recall(index=0, query=message, k=3)
    await end.send(channel, Recalled(index=0, atoms=(Recollection(id="abc", text="a dragon"),)))
    told = await end.finish(channel)
    assert isinstance(told.end, Commit)
    assert told.said == "a dragon"
    asked_about = (
        Remember(text="was asked about a dragon"),
        Remember(kind="rel", subject="you", predicate="asked about", object="a dragon", many=True),
    )
    lost = Remember(text="what is lost with its hook")
    left_out = {
        "dragons": (),
        "loop": (Degraded("on_message:loop", "hook_deadline"),),
        "forget": (Degraded("on_message:mind", "permission_denied", told.end.degraded[0].where if told.end.degraded else ""),),
    }  # fmt: skip
    assert told.end.atoms == (asked_about if message == "loop" else (*asked_about, lost))
    assert told.end.degraded == left_out[message]
    minded: list[PatchOp] = [one for one in told.end.patch if one.path == "/@short"]
    assert [one.value[0]["text"] for one in minded] == ([] if message == "forget" else ["soup"])
