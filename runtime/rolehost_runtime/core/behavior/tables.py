"""What a behaviour graph is once it is compiled: tables that nobody reads text out of any more.

The manifest's form (`spec.template.behavior`) is the same, by names:

    behavior:
      initial: Greet
      nodes:
        Greet: {prompt: "Say hello and ask what they want to learn."}
        Explain: {prompt: "Explain one thing at a time."}
      edges:
      - {from: Greet, to: Explain, when: 'message.size() > 3', weight: 0.8, cooldown: {turns: 2}}

or, for several that are active at once, `subgraphs: {lesson: {weight: 0.7, initial: …, …}, mood: {…}}`.
"""

from msgspec import Struct


class Node(Struct, frozen=True):
    name: str
    prompt: str = ""
    """What the model is told while this node is current."""
    disabled: bool = False
    """Nobody enters it. Who is in it may leave."""


class Edge(Struct, frozen=True):
    source: str
    target: str
    """May be the source: staying is a choice like any other."""
    weight: float = 1.0
    """Finite and not negative. Among the edges that may be taken now, one is taken with probability weight / sum of weights."""
    when: str = ""
    """An expression over the turn; empty: always."""
    cooldown_turns: int = 0
    """Turns that must lie between two uses: 0 = every turn, 2 = used in turn 5, again in turn 8 at the earliest."""
    cooldown_seconds: int = 0


class Subgraph(Struct, frozen=True):
    name: str
    initial: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...] = ()
    weight: float = 1.0
    """Its share when several are active: prompts of current nodes are told to the model with it."""


class Behavior(Struct, frozen=True):
    subgraphs: tuple[Subgraph, ...]
    """At least one; a graph without a name of its own is called `main`."""
