"""A Role's graph: what its manifest says and what its Python says, together."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rolehost import Role
from rolehost.behavior import DeclaredEdge
from rolehost.role import Hook
from rolehost_runtime.core.behavior.conditions import holds
from rolehost_runtime.core.behavior.graph import (
    Graph,
    InvalidBehavior,
    Rule,
    When,
    check_edge,
    checked_name,
    compiled,
    unknown_node,
)
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.core.dsl.expressions import Predicate

MAIN = "main"
"""The subgraph that has no name of its own."""

Placed = Callable[[tuple[str, int]], str]
"""file:line, as the tenant knows it."""


def graph_of(
    role: Role[Any], manifest: Compiled | None = None, placed: Placed = lambda at: f"{at[0]}:{at[1]}"
) -> Graph | None:
    """The graph of a Role, or None where it has none. Raises InvalidBehavior, with the place of what is wrong."""
    behavior = manifest.behavior if manifest is not None else None
    predicates = manifest.predicates if manifest is not None else {}
    found = {one.name: _Drawn(one, predicates) for one in behavior.subgraphs} if behavior is not None else {}
    declared = {name: {(edge.source, edge.target) for edge in drawn.edges} for name, drawn in found.items()}
    if role.initial and found:
        raise InvalidBehavior(
            "a graph has two beginnings",
            hint=f"initial is in spec.template.behavior and in {placed(role.declared_at)}; remove one of them",
            code="declared_twice",
        )
    for edge in role.edges:
        try:
            drawn = _subgraph_of(edge, found)
            if (edge.source, edge.target) in declared.get(drawn.name, ()):
                raise InvalidBehavior(
                    f"the edge {edge.source} → {edge.target} is there twice",
                    hint=f"It is in spec.template.behavior and in {placed(edge.declared_at)}; remove one of them",
                    code="declared_twice",
                )
            drawn.add(edge)
        except InvalidBehavior as error:
            raise _at(error, edge.declared_at) from None
    if not found:
        _check_hooks(role, {})
        if role.initial:
            raise InvalidBehavior("Role(initial=…) names a node of a graph without edges", code="unknown_node")
        return None
    first = next(iter(found.values()))
    first.begin(role.initial)
    graph = compiled([drawn.whole() for drawn in found.values()])
    _check_hooks(role, {walk.name: list(walk.nodes) for walk in graph.walks})
    return replace(graph, changes=manifest.changes) if manifest is not None else graph


class _Drawn:
    """One subgraph, while it is put together."""

    def __init__(
        self, given: Subgraph | None = None, predicates: Mapping[str, Predicate] = {}, name: str = MAIN
    ) -> None:
        self.name = given.name if given is not None else name
        self._given = given
        self.nodes: dict[str, Node] = {node.name: node for node in given.nodes} if given is not None else {}
        self.initial = given.initial if given is not None else ""
        self.edges: tuple[Edge, ...] = given.edges if given is not None else ()
        self._rules = [
            Rule(edge, holds(predicates[edge.when], edge.source) if edge.when else None, edge.when)
            for edge in self.edges
        ]

    def add(self, declared: DeclaredEdge) -> None:
        for node in (declared.source, declared.target):
            self.nodes.setdefault(checked_name(node), Node(node))
        if not isinstance(declared.weight, int | float) or isinstance(declared.weight, bool):
            raise InvalidBehavior("a weight is a number from 0 on")
        edge = Edge(
            source=declared.source,
            target=declared.target,
            weight=float(declared.weight),
            cooldown_turns=declared.cooldown_turns,
            cooldown_seconds=declared.cooldown_seconds,
        )
        check_edge(edge)
        self.initial = self.initial or declared.source
        name = declared.name.partition(":")[2].partition("#")[0]
        self._rules.append(Rule(edge, _asks(declared), name))

    def begin(self, initial: str) -> None:
        if initial and initial not in self.nodes:
            raise unknown_node(initial, self.nodes)
        self.initial = initial or self.initial

    def whole(self) -> tuple[Subgraph, list[Rule]]:
        weight = self._given.weight if self._given is not None else 1.0
        edges = tuple(rule.edge for rule in self._rules)
        return Subgraph(self.name, self.initial, tuple(self.nodes.values()), edges, weight), self._rules


def _asks(declared: DeclaredEdge) -> When | None:
    """The predicate of an edge in Python: whoever runs the tick runs the tenant's function."""
    if declared.function is None:
        return None
    hook = Hook("edge", declared.name, declared.function, required=False)

    def when(facts: Any) -> bool:
        return bool(facts.judge(hook))

    return when


def _subgraph_of(edge: DeclaredEdge, found: dict[str, _Drawn]) -> _Drawn:
    """The one that is named, the only one, or the only one that has one of the edge's nodes."""
    if edge.subgraph:
        return found.setdefault(edge.subgraph, _Drawn(name=checked_name(edge.subgraph)))
    if not found:
        found[MAIN] = _Drawn()
    if len(found) == 1:
        return next(iter(found.values()))
    having = [drawn for drawn in found.values() if edge.source in drawn.nodes or edge.target in drawn.nodes]
    if len(having) != 1:
        names = ", ".join(found)
        raise InvalidBehavior(
            f"which subgraph the edge {edge.source} → {edge.target} belongs to is not known",
            hint=f"Say subgraph=…, one of {names}",
        )
    return having[0]


def _check_hooks(role: Role[Any], nodes: Mapping[str, list[str]]) -> None:
    """`enter` and `exit` name nodes that there are. Raises InvalidBehavior."""
    for hook in (*role.of("enter"), *role.of("exit")):
        if hook.subgraph and hook.subgraph not in nodes:
            raise _at(InvalidBehavior(f"there is no subgraph {hook.subgraph}", code="unknown_subgraph"), _line(hook))
        known = [name for subgraph, names in nodes.items() if hook.subgraph in ("", subgraph) for name in names]
        if hook.node not in known:
            raise _at(unknown_node(hook.node, known), _line(hook))


def _line(hook: Hook) -> tuple[str, int]:
    code = getattr(hook.function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _at(error: InvalidBehavior, place: tuple[str, int]) -> InvalidBehavior:
    error.declared_at = place
    return error
