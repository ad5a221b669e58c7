"""What can be wrong with nodes and edges, beyond their form."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.dsl.expressions import Problem
from rolehost_runtime.core.dsl.expressions.checking import meant
from rolehost_runtime.core.dsl.expressions.tree import Binary, ListOf, Literal, Name, Tree, children
from rolehost_runtime.core.dsl.forms import MAX_NAME, MAX_PROMPTS, NAME, EdgeForm, NodeForm, SubgraphForm
from rolehost_runtime.core.dsl.reading import Reader

MAIN = "main"
"""A graph without a name of its own."""


@dataclass(slots=True)
class Drawn:
    """One subgraph as the manifest draws it."""

    name: str
    path: str
    """Before `nodes`, `edges`, …: empty or `subgraphs.lesson.`"""
    form: SubgraphForm
    edges: list[tuple[int, EdgeForm]]
    """Those that can be used, with their place in the manifest."""
    dead: set[int] = field(default_factory=set)
    """Places of edges that can never be taken."""

    def table(self) -> Subgraph:
        """Nodes by name: the cluster keeps objects in no order of their own."""
        names = sorted(self.form.nodes)
        nodes = tuple(Node(name, self.form.nodes[name].prompt, self.form.nodes[name].disabled) for name in names)
        edges = tuple(_edge(edge) for _, edge in self.edges)
        initial = self.form.initial or next(iter(names), "")
        return Subgraph(self.name, initial, nodes, edges, self.form.weight)


def _edge(form: EdgeForm) -> Edge:
    return Edge(
        form.source,
        form.target,
        form.weight,
        form.when.strip() and form.when,
        form.cooldown.turns,
        form.cooldown.seconds,
    )


def drawn(reader: Reader, plain: Mapping[str, Any]) -> list[Drawn]:
    """The subgraphs of a behaviour that was read, by name. One of the two ways to write them, not both."""
    alone = [name for name in ("nodes", "initial", "edges") if name in plain]
    if alone and "subgraphs" in plain:
        hint = f"Move {', '.join(alone)} into a subgraph, or leave subgraphs out"
        reader.say("declared_twice", alone[0], "stands beside subgraphs", hint, name=True)
    if not alone and not plain.get("subgraphs") and not reader.broken:
        reader.say("missing_field", "", "has no nodes", "Write initial, nodes and edges, or subgraphs", name=True)
    found = [_drawn(MAIN, "", plain)] if alone and "subgraphs" not in plain else []
    for name, one in sorted((plain.get("subgraphs") or {}).items()):
        _named(reader, name, f"subgraphs.{name}")
        found.append(_drawn(name, f"subgraphs.{name}.", one))
    return found


def _drawn(name: str, path: str, plain: Mapping[str, Any]) -> Drawn:
    nodes = {key: msgspec.convert(node, NodeForm) for key, node in (plain.get("nodes") or {}).items()}
    edges = [
        (place, msgspec.convert(edge, EdgeForm))
        for place, edge in enumerate(plain.get("edges") or ())
        if edge is not None
    ]
    form = SubgraphForm(nodes, plain.get("initial", ""), [edge for _, edge in edges], float(plain.get("weight", 1.0)))
    return Drawn(name, path, form, edges)


def check(reader: Reader, found: list[Drawn], *, has_logic: bool) -> None:
    """All that is wrong between nodes and edges, said to the reader."""
    for one in found:
        for name in one.form.nodes:
            _named(reader, name, f"{one.path}nodes.{name}")
        _initial(reader, one, has_logic)
        unknown = _ends(reader, one, found, has_logic)
        _twice(reader, one)
        _weightless(reader, one)
        broken = any(f"{one.path}{part}".rstrip(".") in reader.broken for part in ("nodes", "edges", ""))
        if not (unknown or broken or has_logic):
            _unreachable(reader, one)
    total = sum(len(node.prompt) for one in found for node in one.form.nodes.values())
    if total > MAX_PROMPTS:
        reader.say("budget", "", f"has prompts of {total} characters; at most {MAX_PROMPTS} are allowed", name=True)


def _named(reader: Reader, name: str, path: str) -> None:
    if not re.match(NAME, name) or len(name) > MAX_NAME:
        hint = f"Letters, digits, _, blank, dot and hyphen, at most {MAX_NAME}"
        reader.say("invalid_name", path, "has a form that names cannot have", hint, name=True)


def _initial(reader: Reader, one: Drawn, has_logic: bool) -> None:
    path, initial = f"{one.path}initial", one.form.initial
    if not initial:
        if len(one.form.nodes) > 1 and path not in reader.broken:
            reader.say(
                "missing_field", one.path.rstrip("."), "has no initial", "Name the node that a session begins in"
            )
    elif initial not in one.form.nodes:
        if not has_logic:
            reader.say("unknown_node", path, f"there is no node {initial}", meant(initial, one.form.nodes))
    elif one.form.nodes[initial].disabled:
        reader.say("contradiction", path, f"{initial} is disabled: nobody enters it", "Enable it, or begin elsewhere")


def _ends(reader: Reader, one: Drawn, found: list[Drawn], has_logic: bool) -> bool:
    """Whether an edge names a node that there is not."""
    wrong = False
    for place, edge in one.edges:
        for end, name in (("from", edge.source), ("to", edge.target)):
            path = f"{one.path}edges[{place}].{end}"
            if reader.full or name in one.form.nodes or f"{one.path}nodes.{name}" in reader.nodes:
                continue
            wrong = True
            owner = next((other.name for other in found if name in other.form.nodes), "")
            hint = (
                f"It is a node of subgraph {owner}; edges stay in their own" if owner else meant(name, one.form.nodes)
            )
            if has_logic and not owner and not hint.startswith("Did you mean"):
                hint = f"Declare it here: nodes: {{{name}: {{}}}}"
            reader.say("unknown_node", path, f"there is no node {name}", hint)
    return wrong


def _twice(reader: Reader, one: Drawn) -> None:
    seen: dict[tuple[str, str, str], EdgeForm] = {}
    for place, edge in one.edges:
        key = (edge.source, edge.target, edge.when.strip())
        before = seen.setdefault(key, edge)
        if before is edge:
            continue
        path, way = f"{one.path}edges[{place}]", f"{edge.source} → {edge.target}"
        if before.weight != edge.weight:
            message = f"{way} is there twice, with weights {before.weight:g} and {edge.weight:g}"
            reader.say("contradicting_weights", path, message, "Keep one of the two")
        else:
            reader.say(
                "duplicate", path, f"{way} is there twice", "Keep one of the two, or give each its own condition"
            )


def _weightless(reader: Reader, one: Drawn) -> None:
    """Ways out of a node of which none is ever taken."""
    ways: dict[str, list[tuple[int, EdgeForm]]] = {}
    for place, edge in one.edges:
        ways.setdefault(edge.source, []).append((place, edge))
    for node, out in ways.items():
        if all(edge.weight == 0 for _, edge in out):
            message = f"every way out of {node} has weight 0: none is ever taken"
            path = f"{one.path}edges[{out[0][0]}].weight"
            reader.say("contradicting_weights", path, message, "Give one a weight above 0, or leave them all out")


def _unreachable(reader: Reader, one: Drawn) -> None:
    ways: dict[str, list[str]] = {}
    for place, edge in one.edges:
        if place not in one.dead:
            ways.setdefault(edge.source, []).append(edge.target)
    initial = one.form.initial or next(iter(one.form.nodes), "")
    seen, todo = {initial}, [initial]
    while todo:
        for target in ways.get(todo.pop(), ()):
            if target not in seen:
                seen.add(target)
                todo.append(target)
    for name in one.form.nodes:
        if name not in seen:
            hint = "Lead an edge to it, or leave it out"
            reader.say(
                "unreachable", f"{one.path}nodes.{name}", f"no way leads from {initial} to {name}", hint, name=True
            )


def named_nodes(tree: Tree, known: Iterable[str]) -> list[Problem]:
    """Comparisons of `node` with what is no node."""
    names, found = set(known), []
    todo = [tree]
    while todo:
        one = todo.pop()
        todo.extend(children(one))
        if not isinstance(one, Binary) or not any(
            isinstance(side, Name) and side.name == "node" for side in (one.left, one.right)
        ):
            continue
        for side in (one.left, one.right):
            for item in side.items if isinstance(side, ListOf) else (side,):
                if isinstance(item, Literal) and isinstance(item.value, str) and item.value not in names:
                    hint = meant(item.value, sorted(names))
                    found.append(Problem("unknown_node", f"there is no node {item.value[:64]}", item.span, hint))
    return found
