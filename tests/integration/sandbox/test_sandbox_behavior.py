"""A behaviour graph in a real pod: the manifest's is compiled there, and predicates have a hook's budget."""

import json

import pytest
from tests.support.pod import agent

from rolehost_api.link.messages import Commit, Degraded, LogicSource

LOGIC = """
from rolehost import Role, Turn

cat = Role("cat")

@cat.edge("Idle", "Explore")
def spins(t: Turn) -> bool:
    while t.message == "spin": pass
    return t.message == "go"

@cat.edge("Idle", "Rest")
def tires(t: Turn) -> bool:
    return t.message == "spin"

@cat.enter("Explore")
def look(t: Turn) -> None:
    print("looking around")
"""
PATIENT = {"initial": "Greet", "nodes": {"Greet": {"prompt": "Say hello."}, "Explain": {"prompt": "Explain."}},
           "edges": [{"from": "Greet", "to": "Explain", "when": "message.contains('teach')"}]}  # fmt: skip
MIXED = {"initial": "Idle", "nodes": {"Idle": {}, "Explore": {"prompt": "Wander."}, "Rest": {}}}

pytestmark = pytest.mark.asyncio(loop_scope="module")


def steps(commit: object) -> list[tuple[str, str, str]]:
    assert isinstance(commit, Commit)
    return [(step.source, step.target, step.why) for step in commit.transitions]


async def test_a_manifests_graph_is_walked_without_any_python() -> None:
    async with agent() as pod:
        end = await pod.link()
        bound = await end.bind(behavior=json.dumps(PATIENT).encode())
        assert (bound.error, bound.hooks) == (None, ())
        first = await end.turn("hello", session="a")
        assert steps(first.end) == []
        assert [segment.text for segment in first.asked[0].segments if hasattr(segment, "text")] == ["Say hello."]
        second = await end.turn("teach me", session="a", turn=2, version=1, state=None)
        assert steps(second.end) == [("Greet", "Explain", "message.contains('teach')")]
        assert [segment.text for segment in second.asked[0].segments if hasattr(segment, "text")] == ["Explain."]
        third = await end.turn("and on", session="a", turn=3, version=2, state=None)
        assert (steps(third.end), third.end) == ([], Commit())


async def test_a_predicate_that_never_returns_is_false_and_the_turn_goes_on() -> None:
    async with agent() as pod:
        end = await pod.link()
        bound = await end.bind(LOGIC, behavior=json.dumps(MIXED).encode(), hook_wall_ms=1500)
        assert (bound.error, bound.hooks) == (None, ("enter:look", "edge:spins", "edge:tires"))
        assert steps((await end.turn("go", session="a")).end) == [("Idle", "Explore", "spins")]
        assert "looking around" in [line.text for line in await end.logs()]
        told = await end.turn("spin", session="b")
        assert steps(told.end) == [("Idle", "Rest", "tires")]
        assert isinstance(told.end, Commit)
        assert told.end.degraded == (Degraded("edge:spins", "hook_deadline"),)


@pytest.mark.parametrize(
    ("source", "behavior", "code", "where"),
    [
        pytest.param(LOGIC + "cat.enter('Explor')(look)\n", {}, "unknown_node", "logic.py:15", id="invented-name"),
        pytest.param(
            LOGIC, MIXED | {"edges": [{"from": "Idle", "to": "Rest"}]}, "declared_twice", "logic.py:11", id="edge-twice"
        ),
        pytest.param(
            None, {"nodes": {"A": {}}, "edges": [{"from": "A", "to": "B"}]}, "invalid_behavior", "", id="manifest"
        ),
    ],
)
async def test_a_graph_that_cannot_be_walked_does_not_load(
    source: str | None, behavior: dict[str, object], code: str, where: str
) -> None:
    async with agent() as pod:
        end = await pod.link()
        logic = LogicSource(files={"logic.py": source}) if source is not None else None
        error = (await end.bind(logic=logic, behavior=json.dumps(behavior).encode())).error
        assert error is not None
        assert (error.code, error.where) == (code, where)
