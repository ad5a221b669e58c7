"""`t.behavior`: what a turn's logic sees of the graph, and changes of it in its session."""

from typing import Any

import msgspec
from msgspec.structs import replace

from rolehost_api.errors import LogicError
from rolehost_runtime.core.behavior.conditions import condition
from rolehost_runtime.core.behavior.graph import (
    MAX_PROMPT_CHARS,
    Graph,
    InvalidBehavior,
    Walk,
    check_edge,
    checked_name,
    unknown_node,
)
from rolehost_runtime.core.behavior.overriding import pair
from rolehost_runtime.core.behavior.place import (
    MAX_BYTES,
    MAX_OVERRIDES,
    EdgeChange,
    NodeChange,
    Place,
    Places,
)
from rolehost_runtime.core.behavior.tables import Edge

_size = msgspec.msgpack.Encoder().encode


class Steering:
    """The places of one session, while a turn runs. Changes have their effect from the next message on."""

    def __init__(self, graph: Graph | None, places: Places) -> None:
        self._graph = graph
        self.places: dict[str, Place] = dict(places)

    @property
    def nodes(self) -> dict[str, str]:
        """The current node of each subgraph, in the order of declaration."""
        walks = self._graph.walks if self._graph is not None else ()
        found = {}
        for walk in walks:
            place = self.places.get(walk.name)
            found[walk.name] = walk.initial if place is None else place.node
        return found

    def move(self, subgraph: str, to: Place) -> None:
        """The session stands there now; what the logic changes stays as it is."""
        before = self.places.get(subgraph)
        if before is not None:
            to = replace(to, nodes=before.nodes, edges=before.edges)
        self.places[subgraph] = to

    # ── what the logic may say ──────────────────────────────────────────────────────

    def disable(self, node: str, target: str | None = None, *, subgraph: str = "") -> None:
        self._enable(node, target, subgraph, disabled=True)

    def enable(self, node: str, target: str | None = None, *, subgraph: str = "") -> None:
        self._enable(node, target, subgraph, disabled=False)

    def weight(self, source: str, target: str, weight: float, *, subgraph: str = "") -> None:
        walk, place = self._at(subgraph, source)
        check_edge(Edge(source, target, _number(weight)))
        change = self._edge(walk, place, source, target)
        self._put_edge(walk, place, pair(source, target), replace(change, weight=float(weight)))

    def add_node(self, node: str, prompt: str = "", *, subgraph: str = "") -> None:
        walk, place = self._walk(subgraph)
        if checked_name(node) in walk.nodes:
            raise InvalidBehavior(
                f"the graph has a node {node} already", hint="Nodes of the Role itself stay as they are"
            )
        if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT_CHARS:
            raise InvalidBehavior(f"a node's prompt is text of at most {MAX_PROMPT_CHARS} characters")
        self._put_node(walk, place, node, NodeChange(prompt=prompt))

    def add_edge(
        self,
        source: str,
        target: str,
        *,
        weight: float = 1.0,
        when: str = "",
        cooldown_turns: int = 0,
        cooldown_seconds: int = 0,
        subgraph: str = "",
    ) -> None:
        walk, place = self._at(subgraph, source)
        names = self._names(walk, place)
        if target not in names:
            raise unknown_node(target, names)
        if self._has(walk, source, target):
            raise InvalidBehavior(
                f"the graph has an edge {source} → {target} already", hint="t.behavior.weight changes how likely it is"
            )
        check_edge(Edge(source, target, _number(weight), when, cooldown_turns, cooldown_seconds))
        condition(when, source)
        change = EdgeChange(
            weight=float(weight),
            added=True,
            when=when,
            cooldown_turns=cooldown_turns,
            cooldown_seconds=cooldown_seconds,
        )
        self._put_edge(walk, place, pair(source, target), change)

    def reset(self) -> None:
        """As the revision has it: all that was changed in this session is taken back."""
        for name, place in self.places.items():
            self.places[name] = replace(place, nodes={}, edges={}, ignored=[])

    # ── underneath ──────────────────────────────────────────────────────────────────

    def _enable(self, node: str, target: str | None, subgraph: str, *, disabled: bool) -> None:
        walk, place = self._at(subgraph, node)
        if target is not None:
            change = self._edge(walk, place, node, target)
            self._put_edge(walk, place, pair(node, target), replace(change, disabled=disabled))
        else:
            known = place.nodes.get(node, NodeChange())
            self._put_node(walk, place, node, replace(known, disabled=disabled))

    def _walk(self, subgraph: str) -> tuple[Walk, Place]:
        walks = self._graph.walks if self._graph is not None else ()
        if not walks:
            raise InvalidBehavior(
                "this Role has no behavior graph", hint="Declare edges with @role.edge or in spec.template.behavior"
            )
        walk = next((walk for walk in walks if walk.name == (subgraph or walks[0].name)), None)
        if walk is None:
            names = ", ".join(walk.name for walk in walks)
            raise InvalidBehavior(
                f"there is no subgraph {subgraph}", hint=f"There are {names}", code="unknown_subgraph"
            )
        return walk, self.places.get(walk.name, Place(walk.initial))

    def _at(self, subgraph: str, node: str) -> tuple[Walk, Place]:
        """The subgraph that is named, else the first one that has the node."""
        walks = self._graph.walks if self._graph is not None and not subgraph else ()
        for walk in walks:
            place = self.places.get(walk.name, Place(walk.initial))
            if node in self._names(walk, place):
                return walk, place
        walk, place = self._walk(subgraph)
        names = self._names(walk, place)
        if node not in names:
            raise unknown_node(node, names)
        return walk, place

    @staticmethod
    def _names(walk: Walk, place: Place) -> list[str]:
        return [*walk.nodes, *(name for name, change in place.nodes.items() if change.prompt is not None)]

    @staticmethod
    def _has(walk: Walk, source: str, target: str) -> bool:
        return any((rule.edge.source, rule.edge.target) == (source, target) for _, rule in walk.rules)

    def _edge(self, walk: Walk, place: Place, source: str, target: str) -> EdgeChange:
        names = self._names(walk, place)
        if target not in names:
            raise unknown_node(target, names)
        change = place.edges.get(pair(source, target), EdgeChange())
        if not (change.added or self._has(walk, source, target)):
            raise InvalidBehavior(
                f"the graph has no edge {source} → {target}", hint="t.behavior.add_edge makes one", code="unknown_edge"
            )
        return change

    def _put_node(self, walk: Walk, place: Place, name: str, change: NodeChange) -> None:
        self._put(walk, replace(place, nodes={**place.nodes, name: change}))

    def _put_edge(self, walk: Walk, place: Place, name: str, change: EdgeChange) -> None:
        self._put(walk, replace(place, edges={**place.edges, name: change}))

    def _put(self, walk: Walk, place: Place) -> None:
        after = {**self.places, walk.name: place}
        if sum(len(one.nodes) + len(one.edges) for one in after.values()) > MAX_OVERRIDES:
            raise InvalidBehavior(
                f"a session changes at most {MAX_OVERRIDES} nodes and edges",
                hint="t.behavior.reset() takes them all back",
                code="too_many_overrides",
            )
        if len(_size([(one.nodes, one.edges) for one in after.values()])) > MAX_BYTES:
            raise InvalidBehavior(
                f"what a session changes of its graph takes over {MAX_BYTES} bytes",
                hint="Shorter prompts, or nodes in the Role itself",
                code="too_many_overrides",
            )
        self.places = after


def _number(weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise LogicError("a weight is a number from 0 on", code="invalid_behavior")
    try:
        return float(weight)
    except OverflowError:
        raise LogicError("a weight is a number from 0 on", code="invalid_behavior") from None
