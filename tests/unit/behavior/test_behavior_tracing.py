"""What a trace tells of a tick: the session's own graph, one verdict for each edge out of the node, and only so much."""

from typing import Any

import msgspec
from tests.unit.engine.test_engine_behavior import committed, story

from rolehost import Role, Turn
from rolehost_api.link.messages import Commit, StartTurn
from rolehost_api.link.tracing import MAX_EDGES, MAX_NODES, TracedGraph
from rolehost_runtime.core.behavior.graph import Graph, Refused, Rule, compiled
from rolehost_runtime.core.behavior.place import Place
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.behavior.ticking import tick
from rolehost_runtime.core.behavior.tracing import traced
from rolehost_runtime.gateway.link import hearsay


def graph(nodes: str, *rules: Rule) -> Graph:
    return compiled([(Subgraph("main", nodes[0], tuple(map(Node, nodes))), rules)])


def fails(_: object) -> bool:
    raise Refused("it quotes <b>what was said</b>")


def trace(made: Graph, places: dict[str, Place], turn: int = 9) -> TracedGraph:
    (one,) = traced(made, places, tick(made, places, None, turn=turn, now_ms=0, seed=7))
    return one


def test_every_edge_out_of_the_node_has_a_verdict_and_failures_are_not_quoted() -> None:
    made = graph(
        "ab",
        Rule(Edge("a", "b"), lambda _: False, "never"),
        Rule(Edge("a", "b"), fails, "broken"),
        Rule(Edge("a", "b", cooldown_turns=3)),
        Rule(Edge("a", "b", 0.0)),
        Rule(Edge("a", "a", 2.5)),
        Rule(Edge("b", "a")),
    )
    found = trace(made, {"main": Place("a", used={"a>b>3": [8, 0]})})
    assert [edge.verdict for edge in found.edges] == ["false", "failed", "cooling", "off", "taken", ""]
    assert (found.node, found.to, found.edges[4].weight, found.edges[2].rests_turns) == ("a", "a", 2.5, 3)
    assert b"said" not in msgspec.json.encode(found)


def test_what_the_session_changed_of_its_graph_is_in_it() -> None:
    role = story()
    role.edge("A", "B")

    @role.on_message
    def change(t: Turn) -> None:  # type: ignore[type-arg]
        t.behavior.add_node("C")
        t.behavior.add_edge("B", "C", weight=2)
        t.behavior.disable("A")
        t.say("done")

    def at(turn: int) -> StartTurn:
        return StartTurn(
            session="",
            session_id="s",
            turn=turn,
            version=0,
            message="",
            now_ms=0,
            rng_seed=7,
            deadline_ms=9,
            trace=True,
        )

    first = committed(role, start=at(1))
    state = {first.patch[0].path[1:]: first.patch[0].value}
    [found] = committed(role, state, at(2)).trace
    assert [(node.name, node.disabled) for node in found.nodes] == [("A", True), ("B", False), ("C", False)]
    assert next((edge.target, edge.verdict) for edge in found.edges) == ("C", "taken")


def test_a_turn_that_nobody_looks_at_tells_nothing() -> None:
    role: Role[Any] = Role("bare")
    role.edge("A", "B")
    role.on_message(lambda t: t.say("hi"))
    assert committed(role).trace == ()


def test_it_is_bounded_and_the_node_where_the_turn_stood_comes_first() -> None:
    names = [f"n{number}" for number in range(200)]
    rules = [Rule(Edge(names[number % 200], names[(number + 1) % 200]), None, "w" * 500) for number in range(1000)]
    made = compiled([(Subgraph("main", names[0], tuple(map(Node, names))), rules)])
    found = trace(made, {"main": Place("n150")})
    assert (len(found.nodes), len(found.edges)) == (MAX_NODES, MAX_EDGES)
    assert found.left_out == 200 - MAX_NODES + 1000 - MAX_EDGES
    assert {edge.source for edge in found.edges[:5]} == {"n150"}
    assert "taken" in {edge.verdict for edge in found.edges}
    assert {"n150", "n151"} <= {node.name for node in found.nodes}
    told = msgspec.msgpack.encode(Commit(trace=(found,) * 4))
    assert len(told) < 131_072
    assert msgspec.msgpack.decode(told, type=Commit).trace[0] == found


def test_what_a_pod_says_of_its_graph_is_made_one_line_and_finite() -> None:
    made = trace(graph("ab", Rule(Edge("a", "b"))), {})
    odd = msgspec.structs.replace(made, name="ma\nin", share=float("nan"), draw=1 << 70)
    [clean] = hearsay.traces([odd])
    assert (clean.name, clean.share, clean.draw) == ("ma in", 0.0, 0)
    assert clean.edges == made.edges
