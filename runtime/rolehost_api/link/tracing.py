"""How a turn went through its behaviour graph, as far as one message tells it: for whoever looks underneath.

Names, expressions and numbers of the Role's own; never a word of the conversation. Bounded: of a subgraph's edges those
out of the node where the turn stood come first, and what is left out is counted.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

MAX_SUBGRAPHS, MAX_NODES, MAX_EDGES = 4, 64, 96
"""Of one turn; of one subgraph."""
MAX_WHY = 120

Name = Annotated[str, Meta(max_length=64)]
Count = Annotated[int, Meta(ge=0, le=100_000_000)]
Verdict = Literal["", "could", "taken", "false", "failed", "cooling", "off"]
"""Of an edge in this turn. Empty: it leads out of another node. `off`: it weighs nothing, or nobody enters its target."""


class TracedNode(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: Name
    disabled: bool = False
    """Nobody enters it now."""


class TracedEdge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    source: Name = field(name="from")
    target: Name = field(name="to")
    weight: float = 1.0
    why: Annotated[str, Meta(max_length=MAX_WHY)] = ""
    """The predicate: its expression, or its function's name. Empty: always."""
    rests_turns: Count = 0
    rests_seconds: Count = 0
    verdict: Verdict = ""


class TracedGraph(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One subgraph as this session has it, and what one turn found there."""

    name: Name
    initial: Name
    node: Name
    """Where the turn found the session."""
    to: Name
    """Where the tick left it."""
    share: float = 1.0
    draw: Annotated[int, Meta(ge=0)] = 0
    """What decided, of 64 bits, made of the turn's seed; 0 where there was nothing to decide."""
    nodes: Annotated[tuple[TracedNode, ...], Meta(max_length=MAX_NODES)] = ()
    edges: Annotated[tuple[TracedEdge, ...], Meta(max_length=MAX_EDGES)] = ()
    left_out: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Nodes and edges that are not told."""
