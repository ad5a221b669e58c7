"""A tick: which edges may be taken, that chance is the same everywhere and as often as it should be, and that a long
walk replays to the same step."""

import hashlib
from collections import Counter
from math import log, sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.proof import NUMBERS

from rolehost_runtime.core.behavior.draw import MASK, drawn, on_one_scale, pick, salt_of, splitmix
from rolehost_runtime.core.behavior.graph import Graph, InvalidBehavior, Refused, Rule, When, compiled
from rolehost_runtime.core.behavior.place import MAX_USED, EdgeChange, NodeChange, Place
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.behavior.ticking import NODE_GONE, Ticked, tick

COURSE = {20_000: "013ac29ca6c96e3d", 1_000_000: "472381999747fb29"}
"""What a long walk comes to, whatever machine, hash seed or release of Python makes it."""


def graph(*edges: Edge | Rule, disabled: str = "", initial: str = "", weight: float = 1.0, name: str = "main") -> Graph:
    return compiled([subgraph(*edges, disabled=disabled, initial=initial, weight=weight, name=name)])


def subgraph(
    *edges: Edge | Rule, disabled: str = "", initial: str = "", weight: float = 1.0, name: str = "main"
) -> tuple[Subgraph, list[Rule]]:
    rules = [edge if isinstance(edge, Rule) else Rule(edge) for edge in edges]
    names = dict.fromkeys(name for rule in rules for name in (rule.edge.source, rule.edge.target))
    nodes = tuple(Node(name, disabled=name == disabled) for name in names)
    own = tuple(rule.edge for rule in rules)
    return Subgraph(name, initial or nodes[0].name, nodes, own, weight), rules


def step(graph: Graph, place: Place | None = None, facts: Any = None, **at: int) -> Ticked:
    places = {} if place is None else {"main": place}
    return tick(graph, places, facts, **{"turn": 1, "now_ms": 1000, "seed": 7} | at)


def steps(ticked: Ticked) -> list[tuple[str, str]]:
    return [(one.source, one.target) for one in ticked.transitions]


def verdicts(ticked: Ticked) -> dict[str, str]:
    return {way.key: verdict for one in ticked.trace for way, verdict in one.looked_at}


def test_a_single_edge_is_always_taken_whatever_it_weighs() -> None:
    went = step(graph(Edge("a", "b", weight=0.001)))
    assert steps(went) == [("a", "b")]
    assert went.places["main"].node == "b"
    assert (went.transitions[0].weight, went.transitions[0].of, went.transitions[0].draw) == (0.001, 0.001, 0)


def test_where_no_edge_may_be_taken_the_session_stays() -> None:
    went = step(graph(Rule(Edge("a", "b"), lambda facts: False, "never")))
    assert (went.transitions, went.places["main"]) == ((), Place("a"))
    assert verdicts(went) == {"a>b": "false"}


def test_an_edge_without_weight_is_never_taken() -> None:
    assert step(graph(Edge("a", "b", weight=0.0))).transitions == ()
    assert all(
        steps(step(graph(Edge("a", "b", weight=0.0), Edge("a", "c")), seed=n)) == [("a", "c")] for n in range(99)
    )


def test_nobody_enters_a_disabled_node_but_who_is_in_it_may_leave() -> None:
    there_and_back = graph(Edge("a", "b"), Edge("b", "a"), disabled="b")
    assert step(there_and_back).transitions == ()
    assert steps(step(there_and_back, Place("b"))) == [("b", "a")]


@pytest.mark.parametrize(
    ("turn", "now_ms", "taken"),
    [
        pytest.param(7, 99_000, False, id="turns-not-past"),
        pytest.param(8, 10_999, False, id="seconds-not-past"),
        pytest.param(8, 11_000, True, id="both-past"),
    ],
)
def test_a_cooldown_counts_turns_between_two_uses_and_seconds_since_the_last(
    turn: int, now_ms: int, taken: bool
) -> None:
    cools = graph(Edge("a", "b", cooldown_turns=2, cooldown_seconds=10))
    used = Place("a", used={"a>b": [5, 1000]})
    assert bool(step(cools, used, turn=turn, now_ms=now_ms).transitions) is taken


def test_a_use_is_noted_for_edges_with_a_cooldown_only_and_forgotten_when_it_is_past() -> None:
    both = graph(Edge("a", "b", cooldown_turns=2), Edge("b", "a"), Edge("b", "c", weight=0.0, cooldown_turns=9))
    first = step(both, turn=5, now_ms=50)
    assert first.places["main"].used == {"a>b": [5, 50]}
    second = step(both, first.places["main"], turn=6)
    assert second.places["main"] == Place("a", used={"a>b": [5, 50]})
    third = step(both, second.places["main"], turn=8, now_ms=80)
    assert third.places["main"].used == {"a>b": [8, 80]}
    gone = step(graph(Edge("a", "c", cooldown_turns=1)), Place("a", used={"a>x": [1, 1]}), turn=3, now_ms=9)
    assert gone.places["main"].used == {"a>c": [3, 9]}


def test_as_many_uses_are_remembered_as_there_may_be_and_the_oldest_goes_first() -> None:
    wide = graph(*(Edge(f"n{n}", f"n{n + 1}", cooldown_turns=1000) for n in range(MAX_USED + 5)))
    place: Place = Place("n0")
    for turn in range(1, MAX_USED + 3):
        place = step(wide, place, turn=turn).places["main"]
    assert len(place.used) == MAX_USED
    assert "n0>n1" not in place.used
    assert f"n{MAX_USED + 1}>n{MAX_USED + 2}" in place.used


def test_an_edge_to_itself_is_a_choice_but_nobody_left_or_came() -> None:
    loop = graph(Edge("a", "a", weight=3, cooldown_turns=1))
    went = step(loop, turn=4, now_ms=9)
    assert went.transitions == ()
    assert went.places["main"] == Place("a", used={"a>a": [4, 9]})
    taken = went.trace[0].taken
    assert taken is not None
    assert taken.target == "a"


def test_a_predicate_that_fails_is_false_and_the_trace_says_why() -> None:
    def fails(facts: object) -> bool:
        raise Refused("division by zero")

    went = step(graph(Rule(Edge("a", "b"), fails, "1 / 0 > 1"), Edge("a", "c")))
    assert steps(went) == [("a", "c")]
    assert verdicts(went) == {"a>b": "failed: division by zero", "a>c": "could"}


def test_a_node_that_the_graph_lacks_is_left_for_the_initial_one() -> None:
    went = step(graph(Edge("a", "b")), Place("gone", used={"gone>a": [1, 1]}))
    assert (steps(went), went.transitions[0].why, went.transitions[0].weight) == ([("gone", "a")], NODE_GONE, 0.0)
    assert went.places["main"].node == "a"


def test_subgraphs_go_their_own_ways_in_the_order_of_declaration() -> None:
    two = compiled([subgraph(Edge("a", "b"), name="lesson"), subgraph(Edge("x", "y"), Edge("x", "z"), name="mood")])
    one = compiled([subgraph(Edge("x", "y"), Edge("x", "z"), name="mood")])
    for seed in range(50):
        both = tick(two, {}, None, turn=1, now_ms=1, seed=seed)
        alone = tick(one, {}, None, turn=1, now_ms=1, seed=seed)
        assert [step.subgraph for step in both.transitions] == ["lesson", "mood"]
        assert both.transitions[1:] == alone.transitions
    later = {"mood": Place("z"), "lesson": Place("b"), "another revision's": Place("q")}
    after = tick(two, later, None, turn=1, now_ms=1, seed=1)
    assert after.places == later


# ── what a session changes ──────────────────────────────────────────────────────────


def test_what_a_session_changes_lies_over_the_graph() -> None:
    plain = graph(Edge("a", "b"), Edge("a", "c"))
    assert steps(step(plain, Place("a", nodes={"b": NodeChange(disabled=True)}))) == [("a", "c")]
    assert steps(step(plain, Place("a", edges={"a>c": EdgeChange(disabled=True)}))) == [("a", "b")]
    assert steps(step(plain, Place("a", edges={"a>c": EdgeChange(weight=0.0)}))) == [("a", "b")]
    shut = graph(Edge("a", "b"), disabled="b")
    assert steps(step(shut, Place("a", nodes={"b": NodeChange(disabled=False)}))) == [("a", "b")]
    more = Place("b", nodes={"d": NodeChange(prompt="Doze.")}, edges={"b>d": EdgeChange(added=True, cooldown_turns=1)})
    went = step(plain, more)
    assert (steps(went), went.places["main"].used) == ([("b", "d")], {"b>d": [1, 1000]})
    assert step(plain, went.places["main"]).places["main"].node == "d"


def test_a_change_that_names_what_is_not_there_is_ignored_kept_and_said_once() -> None:
    changed = Place("a", nodes={"x": NodeChange(disabled=True)}, edges={"a>x": EdgeChange(weight=2.0)})
    first = step(graph(Edge("a", "b", weight=2)), changed)
    assert (first.ignored, steps(first)) == (("a>x", "x"), [("a", "b")])
    second = step(graph(Edge("b", "a")), first.places["main"])
    assert (second.ignored, steps(second)) == ((), [("b", "a")])
    assert second.places["main"].nodes == changed.nodes
    back = step(graph(Edge("a", "x"), Edge("a", "b")), second.places["main"])
    assert (back.ignored, steps(back), back.places["main"].ignored) == ((), [("a", "b")], [])


# ── chance ──────────────────────────────────────────────────────────────────────────


def test_the_generator_is_the_published_one() -> None:
    """Seed 0, as the authors' own code prints it: the state moves on by the golden gamma."""
    gamma = 0x9E37_79B9_7F4A_7C15
    assert [splitmix(number * gamma & MASK) for number in range(3)] == [
        0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F,
    ]  # fmt: skip


WEIGHTS = st.floats(0, 1e12, allow_nan=False) | st.sampled_from([0.0, 1e-300, 5e-324, 0.1, 0.2, 0.7, 1e300])


@given(st.lists(WEIGHTS, min_size=1, max_size=8))
def test_weights_stand_to_each_other_as_they_were_said(weights: list[float]) -> None:
    units = on_one_scale(weights)
    for one, unit in zip(weights, units, strict=True):
        for other, of in zip(weights, units, strict=True):
            above, below = other.as_integer_ratio(), one.as_integer_ratio()
            assert unit * above[0] * below[1] == of * below[0] * above[1]


@given(st.integers(0, MASK), st.lists(st.integers(0, 2**70), min_size=1, max_size=6).filter(any))
def test_a_draw_picks_by_the_share_of_the_whole(draw: int, weights: list[int]) -> None:
    place = pick(draw, weights)
    at = draw * sum(weights) >> 64
    assert weights[place] > 0
    assert sum(weights[:place]) <= at < sum(weights[: place + 1])


@given(st.integers(0, 2**63 - 1), st.text(min_size=1, max_size=9))
def test_a_draw_is_64_bits_of_the_seed_and_the_subgraphs_name(seed: int, name: str) -> None:
    draw = drawn(seed, salt_of(name))
    assert 0 <= draw <= MASK
    assert draw == drawn(seed, salt_of(name)) != drawn(seed, salt_of(name + "x"))


def bound(trials: int, p: float, failure: float) -> float:
    """How far a count of so many trials may be from its mean, but with less than this probability: Bernstein's bound,
    which holds for every binomial.

    >>> 1000 < bound(200_000, 0.5, 1e-10) < 3000
    True
    """
    ln = log(2 / failure)
    return ln / 3 + sqrt(ln * ln / 9 + 2 * ln * trials * p * (1 - p))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.8, 0.2), (0.7, 0.2, 0.1), (1e-3, 1.0, 3.0), (5.0, 5.0, 5.0, 1.0)])
def test_each_edge_is_taken_as_often_as_its_weight_says(weights: tuple[float, ...]) -> None:
    """A right implementation fails one in 10⁹ seeds, all cases together; these seeds are always the same."""
    trials, total = 20_000, sum(weights)
    star = graph(*(Edge("a", f"n{place}", weight) for place, weight in enumerate(weights)))
    taken = Counter(step(star, seed=seed).transitions[0].target for seed in range(trials))
    for place, weight in enumerate(weights):
        share = weight / total
        assert abs(taken[f"n{place}"] - trials * share) <= bound(trials, share, 1e-9 / 20)


def test_a_wrong_share_would_be_noticed() -> None:
    """The bound is no wider than that: half a hundredth more is found in a million, three in the slice."""
    assert bound(20_000, 0.8, 5e-11) < 20_000 * 0.03
    assert bound(1_000_000, 0.8, 5e-11) < 1_000_000 * 0.005


def test_two_subgraphs_decide_without_regard_to_each_other() -> None:
    two = compiled([subgraph(Edge("a", "b"), Edge("a", "c"), name=name) for name in ("one", "two")])
    pairs = Counter(
        tuple(step.target for step in tick(two, {}, None, turn=1, now_ms=1, seed=seed).transitions)
        for seed in range(20_000)
    )
    assert all(abs(pairs[one, two] - 5000) <= bound(20_000, 0.25, 1e-10) for one in "bc" for two in "bc")


# ── replay ──────────────────────────────────────────────────────────────────────────


def town() -> Graph:
    """Two subgraphs with everything: predicates, cooldowns, an edge to itself, a node that is shut."""

    def heard(word: str) -> When:
        return lambda facts: word in facts

    lesson = subgraph(
        Rule(Edge("Greet", "Explain", 0.8), heard("d"), "heard d"),
        Edge("Greet", "Greet", 0.3, cooldown_turns=1),
        Edge("Explain", "Quiz", 1.5, cooldown_turns=3),
        Edge("Explain", "Explain", 0.1),
        Rule(Edge("Quiz", "Explain", 0.7, cooldown_seconds=4), heard("why"), "heard why"),
        Edge("Quiz", "Greet", 1e-3),
        Edge("Quiz", "Closed", 9.0),
        disabled="Closed",
        name="lesson",
    )
    mood = subgraph(Edge("calm", "wild", 0.1), Edge("calm", "calm", 0.9), Edge("wild", "calm"), name="mood", weight=0.3)
    return compiled([lesson, mood])


def course(ticks: int) -> str:
    """Digest of every step, of what decided it, and of where it ends."""
    walked, seen = town(), hashlib.sha256()
    places: dict[str, Place] = {}
    for turn in range(1, ticks + 1):
        said = ("hello", "a dragon", "why?")[turn % 3]
        ticked = tick(walked, places, said, turn=turn, now_ms=1000 * turn, seed=splitmix(turn) >> 1)
        places = ticked.places
        for one in ticked.transitions:
            seen.update(f"{turn} {one.subgraph} {one.source} {one.target} {one.why} {one.draw}\n".encode())
    seen.update(repr(sorted((name, place.node, place.used) for name, place in places.items())).encode())
    return seen.hexdigest()[:16]


@pytest.mark.timeout(300)
def test_a_long_walk_replays_to_the_last_step() -> None:
    assert course(NUMBERS.ticks) == COURSE[NUMBERS.ticks]


@given(st.integers(0, 2**63 - 1), st.permutations(["lesson", "mood"]))
def test_a_tick_is_the_same_again_in_whatever_order_the_places_come(seed: int, order: list[str]) -> None:
    there = {"lesson": Place("Explain"), "mood": Place("calm")}
    one = tick(town(), there, "a dragon", turn=9, now_ms=9000, seed=seed)
    other = tick(town(), {name: there[name] for name in order}, "a dragon", turn=9, now_ms=9000, seed=seed)
    assert (one.transitions, one.places) == (other.transitions, other.places)


# ── what no graph is ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("edges", "wrong"),
    [
        pytest.param([Edge("a", "b", -1.0)], "weight", id="negative"),
        pytest.param([Edge("a", "b", float("nan"))], "weight", id="not-a-number"),
        pytest.param([Edge("a", "b", float("inf"))], "weight", id="infinite"),
        pytest.param([Edge("a", "b", cooldown_turns=-1)], "cooldown", id="cooldown"),
        pytest.param([Edge("a>b", "b")], "name", id="name"),
        pytest.param([Edge("a", "b" * 65)], "name", id="long-name"),
    ],
)
def test_what_cannot_be_walked_is_refused(edges: list[Edge], wrong: str) -> None:
    with pytest.raises(InvalidBehavior, match=wrong):
        graph(*edges)


def test_a_graph_has_a_few_subgraphs_each_with_its_own_name() -> None:
    with pytest.raises(InvalidBehavior, match="1 to 4"):
        compiled([subgraph(Edge("a", "b"), name=f"g{number}") for number in range(5)])
    with pytest.raises(InvalidBehavior, match="same name"):
        compiled([subgraph(Edge("a", "b")), subgraph(Edge("a", "b"))])
    with pytest.raises(InvalidBehavior, match="no node z"):
        graph(Edge("a", "b"), initial="z")
