"""A graph in the manifest, alone and together with Python: what a turn does with it."""

from typing import Any

import pytest

from rolehost import Role, State, Turn
from rolehost_api.link.messages import CallModel, Commit, Degraded, ModelResult, PatchOp, StartTurn, TextSegment
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.graph import InvalidBehavior
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
from rolehost_runtime.core.engine import TurnEngine
from rolehost_runtime.core.patch import apply

TUTOR: dict[str, Any] = {
    "initial": "Greet",
    "state": {"asked": {"type": "int"}, "right": {"type": "float"}, "seen": {"type": "list", "default": ["a"]},
              "name": {"type": "str", "scope": "user"}},
    "nodes": {
        "Greet": {"prompt": "Say hello.", "exit": {"set": {"name": "user"}}},
        "Explain": {"prompt": "Explain one thing.", "enter": {"set": {"asked": "state.asked + 1", "seen": ["b", "c"]}}},
        "Quiz": {"prompt": "Ask one question.", "enter": {"set": {"right": "1 / (state.asked - 1)"}}},
    },
    "edges": [
        {"from": "Greet", "to": "Explain", "when": "message.contains('teach')"},
        {"from": "Explain", "to": "Quiz", "when": "message.contains('quiz') && state.asked > 0"},
        {"from": "Quiz", "to": "Explain"},
    ],
}  # fmt: skip


class Conversation:
    """Turns of one session, one after the other."""

    def __init__(self, role: Role[Any], behavior: dict[str, Any], *, has_logic: bool = False) -> None:
        self.compiled = compile_behavior(behavior, Surroundings(has_logic=has_logic))
        self.role, self.graph = role, graph_of(role, self.compiled)
        self.state: dict[str, Any] = {}
        self.turns = 0

    def say(self, message: str) -> tuple[CallModel, Commit]:
        self.turns += 1
        start = StartTurn(
            session="s", session_id="s", turn=self.turns, version=0, message=message, now_ms=1000 * self.turns,
            rng_seed=self.turns, deadline_ms=9,
        )  # fmt: skip
        engine = TurnEngine(self.role, start, self.state, graph=self.graph)
        (asked,) = engine.begin()
        (commit,) = engine.resume(ModelResult(index=0, text="…"))
        assert isinstance(asked, CallModel)
        assert isinstance(commit, Commit)
        self.state = apply(self.state, commit.patch)
        return asked, commit


def prompts(asked: CallModel) -> list[str]:
    return [segment.text for segment in asked.segments if isinstance(segment, TextSegment)]


def steps(commit: Commit) -> list[tuple[str, str, str]]:
    return [(step.source, step.target, step.why) for step in commit.transitions]


def tutor() -> Conversation:
    return Conversation(bare("tutor", compile_behavior(TUTOR)), TUTOR)


def test_a_role_of_yaml_alone_moves_tells_the_model_where_it_is_and_changes_its_state() -> None:
    talk = tutor()
    asked, commit = talk.say("hi")
    assert (prompts(asked), commit.transitions) == (["Say hello."], ())
    assert commit.patch == (PatchOp("add", "/@behavior", {"main": {"node": "Greet"}}),)
    asked, commit = talk.say("teach me")
    assert prompts(asked) == ["Explain one thing."]
    assert steps(commit) == [("Greet", "Explain", "message.contains('teach')")]
    assert (talk.state["asked"], talk.state["seen"]) == (1, ["b", "c"])
    assert talk.state["@behavior"] == {"main": {"node": "Explain"}}


def test_a_change_that_fails_is_not_made_and_the_turn_says_so() -> None:
    talk = tutor()
    talk.say("teach me")
    _, commit = talk.say("quiz me")
    assert steps(commit)[0][:2] == ("Explain", "Quiz")
    assert commit.degraded == (Degraded("behavior", "change_failed"),)
    talk.say("and on")
    assert talk.state["asked"] == 2
    _, commit = talk.say("quiz")
    assert (commit.degraded, talk.state["right"]) == ((), 1.0)


def test_python_and_manifest_draw_one_graph() -> None:
    class Tale(State):
        dragons: int = 0

    role = Role("story", state=Tale)
    behavior = {
        "initial": "Idle",
        "nodes": {"Idle": {}, "Explore": {"prompt": "Wander."}},
        "edges": [{"from": "Explore", "to": "Idle", "when": "state.dragons > 1"}],
    }

    @role.edge("Idle", "Explore")
    def hears(t: Turn[Tale]) -> bool:
        return "dragon" in t.message

    @role.enter("Explore")
    def count(t: Turn[Tale]) -> None:
        t.state.dragons += 2

    talk = Conversation(role, behavior, has_logic=True)
    asked, commit = talk.say("a dragon")
    assert (prompts(asked), steps(commit)) == (["Wander."], [("Idle", "Explore", "hears")])
    _, commit = talk.say("on")
    assert steps(commit) == [("Explore", "Idle", "state.dragons > 1")]


def test_an_edge_in_both_is_an_error_that_names_both_places() -> None:
    role: Role[State] = Role("story")
    role.edge("Idle", "Explore")
    behavior = {"initial": "Idle", "nodes": {"Idle": {}, "Explore": {}}, "edges": [{"from": "Idle", "to": "Explore"}]}
    compiled = compile_behavior(behavior, Surroundings(has_logic=True))
    with pytest.raises(
        InvalidBehavior, match=r"spec\.template\.behavior and in .*test_behavior_manifest\.py:\d+"
    ) as told:
        graph_of(role, compiled)
    assert told.value.code == "declared_twice"


def test_two_beginnings_are_an_error_that_names_both_places() -> None:
    role: Role[State] = Role("story", initial="Explore")
    compiled = compile_behavior({"initial": "Idle", "nodes": {"Idle": {}}}, Surroundings(has_logic=True))
    with pytest.raises(InvalidBehavior, match=r"spec\.template\.behavior and in .*test_behavior_manifest\.py:\d+"):
        graph_of(role, compiled)


BLEND: dict[str, Any] = {
    "subgraphs": {
        "lesson": {"weight": 0.7, "initial": "A", "nodes": {"A": {"prompt": "Teach."}, "B": {"prompt": "Test."}},
                   "edges": [{"from": "A", "to": "B", "when": "message.contains('test')"}]},
        "mood": {"weight": 0.3, "initial": "calm", "nodes": {"calm": {"prompt": "Be calm."}, "wild": {}},
                 "edges": [{"from": "calm", "to": "wild", "when": "message.contains('party')"}]},
    }
}  # fmt: skip


def test_current_nodes_of_several_subgraphs_are_told_with_their_shares() -> None:
    talk = Conversation(bare("tutor"), BLEND)
    assert prompts(talk.say("hi")[0]) == ["(70 %) Teach.\n\n(30 %) Be calm."]
    asked, commit = talk.say("test and party")
    assert prompts(asked) == ["Test."]
    assert [step.subgraph for step in commit.transitions] == ["lesson", "mood"]


def test_an_edge_in_python_belongs_to_the_subgraph_that_has_its_nodes() -> None:
    role: Role[State] = Role("tutor")
    role.edge("wild", "calm")
    role.edge("B", "A")
    role.edge("hot", "cold", subgraph="weather")
    compiled = compile_behavior(BLEND, Surroundings(has_logic=True))
    graph = graph_of(role, compiled)
    assert graph is not None
    found = {walk.name: [key for key, _ in walk.rules] for walk in graph.walks}
    assert found == {"lesson": ["A>B", "B>A"], "mood": ["calm>wild", "wild>calm"], "weather": ["hot>cold"]}
    role.edge("A", "calm")
    with pytest.raises(InvalidBehavior, match="one of lesson, mood"):
        graph_of(role, compiled)
