"""The prompt of a Role as the model is told it, part by part, and how far from its beginning it is always the same.

What a provider's prefix cache can reuse is the text up to the first byte that differs between two turns: of any two of
the revision the persona, of two that follow each other in a session the history too. Nothing here knows the order of
a prompt: it asks those who put prompts together, and looks at what they say.
"""

from collections.abc import Sequence
from itertools import islice, product
from typing import Literal, NamedTuple

from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, Segment, TextSegment
from rolehost_runtime.core.behavior.blending import told as told_of_nodes
from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.behavior.place import Place
from rolehost_runtime.core.prompt import Exchange, build, estimate

Volatility = Literal["revision", "node", "turn", "session"]
"""How long a part stays as it is: for a revision, while the session stays at its nodes, for one turn; or it grows with
the session."""
SYSTEM = "spec.template.persona.system"
MOST_TOGETHER = 4_096
"""Combinations of current nodes that are looked at."""
_JOINT = "\n\n"
_MARKS = ("\x01persona", "\x01nodes", "\x01logic", "\x01memories", "\x01history", "\x01reply", "\x01message")


class Part(NamedTuple):
    name: str
    volatility: Volatility
    least: int
    most: int
    """Bytes; -1: nobody knows beforehand."""
    origin: str
    """The field or call that put it there."""


class Told(NamedTuple):
    parts: tuple[Part, ...]
    """In the order in which the model reads them."""
    prefix: int
    """Bytes with which every prompt of the revision begins."""
    tokens: int
    """Of these bytes, about."""
    alike: int
    """Bytes behind the history that are the same in every turn too."""
    origin: str
    """What put the first byte there that differs from the turn before."""
    why: str


def prompt_of(
    persona: str, graph: Graph | None = None, *, has_logic: bool = False, reminded: int = 0, origin: str = SYSTEM
) -> Told:
    """How the prompt of a Role is put together. `reminded`: at most so many characters of memories; 0: of none. `origin`:
    the field that gives the persona.

    >>> told = prompt_of("You are a cat.")
    >>> [(part.name, part.volatility) for part in told.parts]
    [('persona', 'revision'), ('history', 'session'), ('message', 'turn')]
    >>> told.prefix, told.origin
    (14, 'the user')
    """
    said = _of_nodes(graph) if graph is not None else {}
    sizes = [len(text.encode()) for text in said.values()]
    size = len(persona.encode())
    logic, memory = "t.prompt.add(…) in the logic", "spec.template.memory.prompt"
    parts = {
        "persona": Part("persona", "revision", size, size, origin),
        "nodes": Part("current nodes", "node", min(sizes), max(sizes), "prompts of spec.template.behavior")
        if any(sizes)
        else None,
        "logic": Part("the logic's own", "turn", 0, -1, logic) if has_logic else None,
        "memories": Part("memories", "turn", 0, -1, memory) if reminded else None,
        "history": Part("history", "session", 0, -1, "the session's newest turns that fit"),
        "message": Part("message", "turn", 0, -1, "the user"),
    }
    ordered = tuple(part for name in order() if (part := parts.get(name)) is not None)
    if has_logic:
        last = logic, "what a turn's hooks add is known to nobody before"
    elif reminded:
        last = memory, "what is remembered is looked for anew with each message"
    else:
        last = "the user", "the message of the turn before is part of the history by then"
    return Told(ordered, size, estimate(persona), *_parted(said, *last))


def order() -> list[str]:
    """The parts as prompts have them, found by building one of marks as an engine asks for it."""
    segments: list[Segment] = [
        PersonaSegment(0), TextSegment("system", _MARKS[1]), TextSegment("system", _MARKS[2]), HistorySegment(),
        TextSegment("user", _MARKS[3]), InputSegment(),
    ]  # fmt: skip
    built = build(segments, [_MARKS[0]], [Exchange(_MARKS[4], _MARKS[5])], _MARKS[6])
    said = _JOINT.join(spoken.text for spoken in built)
    return [mark[1:] for mark in sorted(_MARKS, key=said.index)]


def _of_nodes(graph: Graph) -> dict[tuple[str, ...], str]:
    """What the model is told for each combination of current nodes, `subgraph.node`; of 4,096 at most."""
    every = product(*([(walk.name, node) for node in walk.nodes] for walk in graph.walks))
    return {
        tuple(f"{name}.{node}" for name, node in together): told_of_nodes(
            graph, {name: Place(node) for name, node in together}
        )
        for together in islice(every, MOST_TOGETHER)
    }


def _parted(said: dict[tuple[str, ...], str], origin: str, why: str) -> tuple[int, str, str]:
    """Bytes that all nodes begin with, the field behind them, and why it differs there; where none does, what comes then."""
    (first, *others) = said or {(): ""}
    shared = said.get(first, "")
    parted: tuple[str, ...] | None = None
    for nodes in others:
        common = _common(shared, said[nodes])
        if len(common) < len(shared) or (parted is None and len(said[nodes]) > len(shared)):
            shared, parted = common, nodes
    if parted is None:
        return len(shared.encode()), origin, why
    one, other = next((a, b) for a, b in zip(first, parted, strict=True) if a != b)
    field = _field(one if said[first] != shared else other)
    return len(shared.encode()), field, f"at {other} the model is told something else"


def _field(place: str) -> str:
    subgraph, _, node = place.partition(".")
    base = "spec.template.behavior" + ("" if subgraph == "main" else f".subgraphs.{subgraph}")
    return f"{base}.nodes.{node}.prompt"


def _common(one: str, other: str) -> str:
    size = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return one[: min(len(one), len(other)) if size is None else size]


def lines(told: Told) -> Sequence[str]:
    """As a person reads it."""
    rows = [(part.name, part.volatility, _size(part), part.origin) for part in told.parts]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    shown = [
        f"  {place}  {name:<{widths[0]}}  {volatility:<{widths[1]}}  {size:>{widths[2]}}  {origin}"
        for place, (name, volatility, size, origin) in enumerate(rows, 1)
    ]
    return [
        *shown,
        f"cacheable in every session: {told.prefix} bytes, about {told.tokens} tokens",
        f"cacheable in one session: these, its history{f' and {told.alike} bytes' if told.alike else ''}",
        f"first volatile byte: put there by {told.origin} ({told.why})",
    ]


def _size(part: Part) -> str:
    if part.most < 0:
        return "any size"
    return f"{part.most} bytes" if part.least == part.most else f"{part.least} to {part.most} bytes"
