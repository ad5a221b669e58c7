"""A policy chooses where the weights would; one that fails is passed over, and the turn says so."""

import pytest

from rolehost_runtime.conformance.behavior import BehaviorPolicyConformance
from rolehost_runtime.core.behavior.choosing import BehaviorPolicy, Choice
from rolehost_runtime.core.behavior.graph import Graph, Rule, compiled
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.behavior.ticking import tick
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.core.dsl.compiling import compile_behavior
from rolehost_runtime.core.dsl.expressions import Facts
from rolehost_runtime.plugins.behavior import by_weight
from rolehost_runtime.sandbox.loading import NotLoaded
from rolehost_runtime.sandbox.policies import Policies

NODES = tuple(Node(name) for name in ("A", "B", "C", "D"))
EDGES = (Edge("A", "B", weight=9.0), Edge("A", "C"), Edge("A", "D"), Edge("B", "A"))


class Turn:
    def facts(self, node: str) -> Facts:
        return Facts(message="hello", node=node)


class ByWeight:
    def choose(self, choice: Choice) -> int:
        return by_weight(choice)


class Told:
    """Answers what it is told to, or raises it."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, list[Choice]()

    def choose(self, choice: Choice) -> int:
        self.asked.append(choice)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]


class TestByWeight(BehaviorPolicyConformance):
    def make(self) -> BehaviorPolicy:
        return ByWeight()


def graph(policy: BehaviorPolicy | None) -> Graph:
    made = compiled([(Subgraph("main", "A", NODES, EDGES), [Rule(edge) for edge in EDGES])])
    return Graph(made.walks, made.changes, policy)


def test_a_policy_is_asked_where_there_is_a_choice() -> None:
    policy = Told(2)
    ticked = tick(graph(policy), {}, Turn(), turn=3, now_ms=5, seed=7)
    assert (ticked.places["main"].node, ticked.failed) == ("D", ())
    [choice] = policy.asked
    assert [one.target for one in choice.options] == ["B", "C", "D"]
    assert (choice.node, choice.turn, choice.now_ms) == ("A", 3, 5)
    assert choice.facts is not None
    assert choice.facts.message == "hello"
    assert ticked.transitions[0].draw == choice.draw, "the turn records the chance that it was given"
    tick(graph(policy), ticked.places, Turn(), turn=4, now_ms=6, seed=8)
    assert len(policy.asked) == 1, "no way out of D"


@pytest.mark.parametrize("answer", [ValueError("x"), 3, -1, None, "1", True, 1.0, RecursionError()])
def test_a_policy_that_fails_leaves_it_to_the_weights(answer: object) -> None:
    plain = tick(graph(None), {}, Turn(), turn=3, now_ms=5, seed=7)
    ticked = tick(graph(Told(answer)), {}, Turn(), turn=3, now_ms=5, seed=7)
    assert ticked.failed == ("main",)
    assert (ticked.places, ticked.transitions) == (plain.places, plain.transitions)


@pytest.mark.parametrize("seed", range(50))
def test_by_weight_is_what_happens_without_a_policy(seed: int) -> None:
    with_policy, plain = (tick(graph(one), {}, Turn(), turn=1, now_ms=1, seed=seed) for one in (ByWeight(), None))
    assert (with_policy.places, with_policy.transitions) == (plain.places, plain.transitions)


def test_a_manifest_names_its_policy() -> None:
    behavior = {"policy": "steady", "initial": "A", "nodes": {"A": {}, "B": {}}, "edges": [{"from": "A", "to": "B"}]}
    assert compile_behavior(behavior).policy == "steady"


def test_a_role_whose_policy_is_not_there_does_not_load() -> None:
    assert Policies("").named(Compiled()) is None
    for allowed, code in (("", "plugin_not_found"), ("nobodys-package", "plugin_not_installed")):
        with pytest.raises(NotLoaded) as refused:
            Policies(allowed).named(Compiled(policy="steady"))
        assert refused.value.error.code == code
    assert Policies("nobodys-package").named(Compiled()) is None, "who names none is not harmed"
