"""What the logic said of the graph in one session, laid over what the revision says."""

from msgspec.structs import replace as edited

from rolehost_api.errors import LogicError
from rolehost_runtime.core.behavior.conditions import condition
from rolehost_runtime.core.behavior.graph import Rule, Walk, redrawn
from rolehost_runtime.core.behavior.place import EdgeChange, Place
from rolehost_runtime.core.behavior.tables import Edge, Node


def pair(source: str, target: str) -> str:
    """What all edges from one node to another are called together."""
    return f"{source}>{target}"


def overridden(walk: Walk, place: Place) -> tuple[Walk, list[str]]:
    """The subgraph as this session has it, and what of its changes names nothing that is there.

    Those are kept: they have their effect again in a revision that has what they name.
    """
    nodes, unused = _nodes(walk, place)
    rules: list[tuple[str, Rule]] = []
    for key, rule in walk.rules:
        change = place.edges.get(pair(rule.edge.source, rule.edge.target))
        if change is None:
            rules.append((key, rule))
        else:
            rules.append((key, Rule(_changed(rule.edge, change), rule.when, rule.why)))
    there = {pair(rule.edge.source, rule.edge.target) for _, rule in walk.rules}
    for name, change in place.edges.items():
        if name in there:
            continue
        added = _added(name, change, nodes)
        if added is None:
            unused.append(name)
        else:
            rules.append((name, added))
    return redrawn(walk, nodes, rules), sorted(unused)


def _nodes(walk: Walk, place: Place) -> tuple[dict[str, Node], list[str]]:
    nodes, unused = dict(walk.nodes), []
    for name, change in place.nodes.items():
        known = nodes.get(name)
        if known is None and change.prompt is None:
            unused.append(name)
            continue
        node = known or Node(name, change.prompt or "")
        nodes[name] = node if change.disabled is None else edited(node, disabled=change.disabled)
    return nodes, unused


def _changed(edge: Edge, change: EdgeChange) -> Edge:
    """One that is disabled weighs nothing."""
    weight = 0.0 if change.disabled else edge.weight if change.weight is None else change.weight
    return edited(edge, weight=weight)


def _added(name: str, change: EdgeChange, nodes: dict[str, Node]) -> Rule | None:
    source, _, target = name.partition(">")
    if not change.added or source not in nodes or target not in nodes:
        return None
    try:
        when = condition(change.when, source)
    except LogicError:  # what this code does not know as an expression any more
        return None
    edge = Edge(source, target, 1.0, change.when, change.cooldown_turns, change.cooldown_seconds)
    return Rule(_changed(edge, change), when, change.when)
