"""A compiled graph as mermaid: one state diagram, in it a composite state for each subgraph."""

from collections.abc import Iterator

from rolehost_runtime.core.behavior.tables import Behavior, Edge, Subgraph
from rolehost_runtime.core.dsl.graphs import MAIN
from rolehost_runtime.core.dsl.wording import label


def diagrams(behavior: Behavior) -> str:
    """One block; subgraphs that are active at once stand beside each other in it.

    >>> from rolehost_runtime.core.behavior.tables import Node
    >>> print(diagrams(Behavior((Subgraph("main", "A", (Node("A"), Node("B")), (Edge("A", "B", 0.5, "turn > 1"),)),))))
    stateDiagram-v2
        state "A" as n0
        state "B" as n1
        [*] --> n0
        n0 --> n1: 0.5, turn #62; 1
    """
    lines = ["stateDiagram-v2"]
    for place, one in enumerate(behavior.subgraphs):
        prefix = f"{chr(ord('a') + place)}" if len(behavior.subgraphs) > 1 else "n"
        if len(behavior.subgraphs) == 1 and one.name == MAIN:
            lines += [f"    {line}" for line in _subgraph(one, prefix)]
            continue
        lines.append(f'    state "{label(one.name)} ({one.weight:g})" as g{place} {{')
        lines += [f"        {line}" for line in _subgraph(one, prefix)]
        lines.append("    }")
    return "\n".join(lines)


def _subgraph(one: Subgraph, prefix: str) -> Iterator[str]:
    ids = {node.name: f"{prefix}{place}" for place, node in enumerate(one.nodes)}
    for node in one.nodes:
        yield f'state "{label(node.name)}{" (disabled)" if node.disabled else ""}" as {ids[node.name]}'
    yield f"[*] --> {ids[one.initial]}"
    for edge in one.edges:
        said = _edge(edge)
        yield f"{ids[edge.source]} --> {ids[edge.target]}" + (f": {said}" if said else "")


def _edge(edge: Edge) -> str:
    parts = [] if edge.weight == 1 else [f"{edge.weight:g}"]
    if edge.when:
        parts.append(label(edge.when))
    if edge.cooldown_turns:
        parts.append(f"rests {edge.cooldown_turns} turn{'s' * (edge.cooldown_turns > 1)}")
    if edge.cooldown_seconds:
        parts.append(f"rests {edge.cooldown_seconds} s")
    return ", ".join(parts)
