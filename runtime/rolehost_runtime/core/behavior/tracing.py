"""A tick as people are shown it: the graph of the session, and what became of each edge that could have been taken. Pure."""

from collections.abc import Mapping

from rolehost_api.link.tracing import MAX_EDGES, MAX_NODES, MAX_WHY, TracedEdge, TracedGraph, TracedNode, Verdict
from rolehost_runtime.core.behavior.graph import Graph, Walk
from rolehost_runtime.core.behavior.overriding import overridden
from rolehost_runtime.core.behavior.place import Place
from rolehost_runtime.core.behavior.ticking import Ticked, Traced


def traced(graph: Graph, before: Mapping[str, Place], ticked: Ticked) -> tuple[TracedGraph, ...]:
    """Of each subgraph, with what the session changed of it. `before` is where it stood before the tick.

    >>> from rolehost_runtime.core.behavior.graph import Rule, compiled
    >>> from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
    >>> from rolehost_runtime.core.behavior.ticking import tick
    >>> rules = [Rule(Edge("a", "b")), Rule(Edge("a", "a", 0.0)), Rule(Edge("b", "a"))]
    >>> graph = compiled([(Subgraph("main", "a", (Node("a"), Node("b"))), rules)])
    >>> (one,) = traced(graph, {}, tick(graph, {}, None, turn=1, now_ms=0, seed=7))
    >>> one.node, one.to, [(edge.source, edge.target, edge.verdict) for edge in one.edges]
    ('a', 'b', [('a', 'b', 'taken'), ('a', 'a', 'off'), ('b', 'a', '')])
    """
    looked = {one.subgraph: one for one in ticked.trace}
    return tuple(_traced(walk, before.get(walk.name), looked[walk.name], ticked) for walk in graph.walks)


def _traced(walk: Walk, place: Place | None, looked: Traced, ticked: Ticked) -> TracedGraph:
    if place is not None and (place.nodes or place.edges):
        walk, _ = overridden(walk, place)
    verdicts: dict[int, Verdict] = {way.place: _verdict(said) for way, said in looked.looked_at}
    if looked.taken is not None:
        verdicts[looked.taken.place] = "taken"
    numbers = sorted(range(len(walk.rules)), key=lambda number: walk.rules[number][1].edge.source != looked.node)
    edges = []
    for number in numbers[:MAX_EDGES]:
        rule = walk.rules[number][1]
        edges.append(
            TracedEdge(
                source=rule.edge.source,
                target=rule.edge.target,
                weight=rule.edge.weight,
                why=rule.why[:MAX_WHY],
                rests_turns=rule.edge.cooldown_turns,
                rests_seconds=rule.edge.cooldown_seconds,
                verdict=verdicts.get(number, "off") if rule.edge.source == looked.node else "",
            )
        )
    to = ticked.places[walk.name].node
    shown = set(sorted(walk.nodes, key=lambda name: name not in (looked.node, to))[:MAX_NODES])
    return TracedGraph(
        name=walk.name,
        initial=walk.initial,
        node=looked.node,
        to=to,
        share=walk.share,
        draw=looked.draw,
        nodes=tuple(
            TracedNode(name=name, disabled=node.disabled) for name, node in walk.nodes.items() if name in shown
        ),
        edges=tuple(edges),
        left_out=len(walk.nodes) - len(shown) + len(walk.rules) - len(edges),
    )


def _verdict(said: str) -> Verdict:
    """Why a predicate failed is in the Role's log; it may quote anything.

    >>> _verdict("cooling"), _verdict("failed: logic_raised")
    ('cooling', 'failed')
    """
    match said:
        case "could" | "cooling" | "false":
            return said
        case _:
            return "failed"
