"""Where a session stands in its graph, as its state has it: the member `@behavior`, of which clients are shown the nodes.

A part of the state is durable with the turn, folded from the log, and goes wherever the session goes: to another pod,
gateway or revision, into snapshots and forks.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api.link.messages import MAX_TRANSITIONS

BEHAVIOR = "@behavior"
"""No State's field begins with @."""

MAX_NAME = 64
"""Characters of a node's or subgraph's name."""
MAX_SUBGRAPHS = MAX_TRANSITIONS
MAX_BYTES = 16_384
"""Of what a session changes of its graph, encoded."""
MAX_OVERRIDES = 64
MAX_USED = 64
"""Edges of a subgraph of which is known when they were used; the one used longest ago is forgotten first."""


class NodeChange(Struct, frozen=True, omit_defaults=True):
    """What the logic said of a node in this session."""

    disabled: bool | None = None
    prompt: str | None = None
    """Of a node that the logic added; None: the graph has it."""


class EdgeChange(Struct, frozen=True, omit_defaults=True):
    """What the logic said of an edge in this session."""

    disabled: bool | None = None
    weight: float | None = None
    added: bool = False
    """The graph has no such edge; the logic made it."""
    when: str = ""
    cooldown_turns: int = 0
    cooldown_seconds: int = 0


class Place(Struct, frozen=True, omit_defaults=True):
    """In one subgraph."""

    node: str
    used: dict[str, list[int]] = {}
    """Edges with a cooldown, by key: the turn that used them last, and when that began."""
    nodes: dict[str, NodeChange] = {}
    edges: dict[str, EdgeChange] = {}
    """Of edges by key."""
    ignored: list[str] = []
    """Of `nodes` and `edges` those that name what this revision's graph has not; it was said already."""


Places = Mapping[str, Place]
"""By the subgraphs' names."""


def read(state: Mapping[str, Any]) -> dict[str, Place]:
    """The places in a state; none where they cannot be read: the session begins anew in its graph."""
    try:
        return msgspec.convert(state.get(BEHAVIOR, {}), dict[str, Place])
    except (msgspec.ValidationError, RecursionError):
        return {}


def written(places: Places) -> dict[str, Any]:
    """As the state has them."""
    encoded: dict[str, Any] = msgspec.to_builtins(places)
    return encoded


def node(state: Mapping[str, Any]) -> str | None:
    """The current node of the first subgraph; None where none is known."""
    return next(iter(nodes(state).values()), None)


def nodes(state: Mapping[str, Any]) -> dict[str, str]:
    """The current node of each subgraph, out of a state that any pod may have written.

    >>> nodes({"@behavior": {"main": {"node": "Explore"}, "mood": 7}}), nodes({})
    ({'main': 'Explore'}, {})
    """
    places = state.get(BEHAVIOR)
    found: dict[str, str] = {}
    for name, place in places.items() if type(places) is dict else ():
        node = place.get("node") if type(place) is dict else None
        if type(node) is str and len(node) <= MAX_NAME and len(name) <= MAX_NAME and len(found) < MAX_SUBGRAPHS:
            found[name] = node
    return found
