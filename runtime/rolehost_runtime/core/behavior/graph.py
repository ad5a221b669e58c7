"""A graph ready to be walked: what a tick reads lies where it stands, and nothing is looked up twice."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import isfinite
from typing import Any

from rolehost_api.errors import LogicError
from rolehost_runtime.core.behavior.choosing import BehaviorPolicy
from rolehost_runtime.core.behavior.draw import on_one_scale, salt_of
from rolehost_runtime.core.behavior.place import MAX_NAME, MAX_SUBGRAPHS
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.dsl.compiled import Change

MAX_NODES, MAX_EDGES = 256, 1024
"""Of one subgraph."""
MAX_PROMPT_CHARS = 8_192
"""Of one node."""
MAX_WHY = 200
_NAME = re.compile(r"\w[\w .-]*")

When = Callable[[Any], bool]
"""A predicate over a turn's facts. Raises Refused where it cannot say."""


class Refused(Exception):
    """A predicate failed, for this reason; it counts as false."""


class InvalidBehavior(LogicError):
    """A graph that cannot be walked; says what is wrong with it, and what to write instead."""

    code = "invalid_behavior"
    declared_at: tuple[str, int] = ("", 0)
    """File and line of what is wrong, where it is in the logic."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An edge and its predicate."""

    edge: Edge
    when: When | None = None
    """None: always."""
    why: str = ""
    """What the predicate is, for people: the expression or the function's name."""


@dataclass(frozen=True, slots=True)
class Way:
    """An edge as a tick meets it."""

    place: int
    """Among the subgraph's edges."""
    key: str
    target: str
    units: int
    """The weight, on the subgraph's scale."""
    weight: float
    when: When | None
    why: str
    cools: bool
    turns: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Walk:
    """One subgraph."""

    name: str
    initial: str
    share: float
    nodes: dict[str, Node]
    rules: tuple[tuple[str, Rule], ...]
    """Every edge by its key, also those that nobody can take."""
    ways: dict[str, tuple[Way, ...]] = field(repr=False)
    """Out of each node, in the order of declaration: those that may be taken at all."""
    cools: dict[str, Way] = field(repr=False)
    """Those of them that have a cooldown, by key."""
    salt: int


@dataclass(frozen=True, slots=True)
class Graph:
    walks: tuple[Walk, ...]
    changes: tuple[Change, ...] = ()
    """Of the state, at nodes' doors: those of a Role without Python."""
    policy: BehaviorPolicy | None = None
    """What chooses among edges; None: their weights do."""

    def at(self, subgraph: str, node: str, moment: str) -> list[Change]:
        """What is changed when a session comes to a node (`enter`) or leaves it (`exit`), in order."""
        where = (subgraph, node, moment)
        return [one for one in self.changes if (one.subgraph, one.node, one.moment) == where]


def keys(edges: Iterable[Edge]) -> list[str]:
    """What each edge is called in a session's state: the same for the same graph, whatever else it has.

    >>> keys([Edge("Idle", "Explore"), Edge("Explore", "Idle"), Edge("Idle", "Explore", when="turn > 3")])
    ['Idle>Explore', 'Explore>Idle', 'Idle>Explore>2']
    """
    taken: dict[str, int] = {}
    found = []
    for edge in edges:
        base = f"{edge.source}>{edge.target}"
        taken[base] = number = taken.get(base, 0) + 1
        found.append(base if number == 1 else f"{base}>{number}")
    return found


def compiled(subgraphs: Sequence[tuple[Subgraph, Sequence[Rule]]]) -> Graph:
    """A graph of these, each with the rules of its edges. Raises InvalidBehavior."""
    if not 1 <= len(subgraphs) <= MAX_SUBGRAPHS:
        raise InvalidBehavior(f"a graph has 1 to {MAX_SUBGRAPHS} subgraphs")
    names = [subgraph.name for subgraph, _ in subgraphs]
    if len(set(names)) < len(names):
        raise InvalidBehavior("two subgraphs have the same name")
    return Graph(tuple(walked(subgraph, rules) for subgraph, rules in subgraphs))


def walked(subgraph: Subgraph, rules: Sequence[Rule]) -> Walk:
    """One subgraph, whose edges are those of the rules. Raises InvalidBehavior."""
    checked_name(subgraph.name)
    nodes = {checked_name(node.name): node for node in subgraph.nodes}
    _check(subgraph, nodes, rules)
    named = tuple(zip(keys(rule.edge for rule in rules), rules, strict=True))
    bare = Walk(subgraph.name, subgraph.initial, subgraph.weight, nodes, (), {}, {}, salt_of(subgraph.name))
    return redrawn(bare, nodes, named)


def redrawn(walk: Walk, nodes: dict[str, Node], rules: Sequence[tuple[str, Rule]]) -> Walk:
    """The subgraph with these nodes and edges."""
    found = ways(nodes, rules)
    cools = {way.key: way for out in found.values() for way in out if way.cools}
    return replace(walk, nodes=nodes, rules=tuple(rules), ways=found, cools=cools)


def ways(nodes: dict[str, Node], rules: Sequence[tuple[str, Rule]]) -> dict[str, tuple[Way, ...]]:
    """Out of each node. An edge without weight, or into a node that is disabled, is taken by nobody."""
    units = on_one_scale([rule.edge.weight for _, rule in rules])
    found: dict[str, list[Way]] = {name: [] for name in nodes}
    for place, ((key, rule), unit) in enumerate(zip(rules, units, strict=True)):
        edge = rule.edge
        if not unit or nodes[edge.target].disabled:
            continue
        found[edge.source].append(
            Way(
                place=place,
                key=key,
                target=edge.target,
                units=unit,
                weight=edge.weight,
                when=rule.when,
                why=rule.why[:MAX_WHY],
                cools=bool(edge.cooldown_turns or edge.cooldown_seconds),
                turns=edge.cooldown_turns,
                milliseconds=1000 * edge.cooldown_seconds,
            )
        )
    return {name: tuple(out) for name, out in found.items()}


def _check(subgraph: Subgraph, nodes: dict[str, Node], rules: Sequence[Rule]) -> None:
    if len(nodes) < len(subgraph.nodes):
        raise InvalidBehavior(f"two nodes of {subgraph.name} have the same name")
    if len(nodes) > MAX_NODES or len(rules) > MAX_EDGES:
        raise InvalidBehavior(f"a subgraph has at most {MAX_NODES} nodes and {MAX_EDGES} edges")
    if not (isfinite(subgraph.weight) and subgraph.weight >= 0):
        raise InvalidBehavior(f"the weight of {subgraph.name} is not a number from 0 on")
    if any(len(node.prompt) > MAX_PROMPT_CHARS for node in nodes.values()):
        raise InvalidBehavior(f"a node's prompt has at most {MAX_PROMPT_CHARS} characters")
    for name in (subgraph.initial, *(name for rule in rules for name in (rule.edge.source, rule.edge.target))):
        if name not in nodes:
            raise unknown_node(name, nodes)
    for rule in rules:
        check_edge(rule.edge)


def check_edge(edge: Edge) -> None:
    """Raises InvalidBehavior for a weight or cooldown that there cannot be."""
    if not (isfinite(edge.weight) and edge.weight >= 0):
        raise InvalidBehavior(f"the weight of {edge.source} → {edge.target} is not a number from 0 on")
    if not (0 <= edge.cooldown_turns <= 1_000_000 and 0 <= edge.cooldown_seconds <= 31_622_400):
        raise InvalidBehavior(
            f"the cooldown of {edge.source} → {edge.target} is not from 0 on",
            hint="At most 1,000,000 turns, or a year",
        )


def checked_name(name: object) -> str:
    """A name of a node or subgraph. Raises InvalidBehavior.

    >>> checked_name("故事 2"), checked_name("a>b")
    Traceback (most recent call last):
    ...
    rolehost_runtime.core.behavior.graph.InvalidBehavior: a name has a form that nodes cannot have. Letters, digits, _, \
blank, dot and hyphen, at most 64
    """
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidBehavior(
            "a name has a form that nodes cannot have",
            hint=f"Letters, digits, _, blank, dot and hyphen, at most {MAX_NAME}",
        )
    return name


def unknown_node(name: str, known: Iterable[str]) -> InvalidBehavior:
    """
    >>> print(unknown_node("Explor", ["Idle", "Explore"]))
    the graph has no node Explor. Did you mean Explore?
    """
    names = list(known)
    near = get_close_matches(name, names, 1)
    hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(names)[:8])}" if names else ""
    return InvalidBehavior(f"the graph has no node {name}", hint=hint, code="unknown_node")
