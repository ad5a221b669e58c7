"""A turn from underneath, as whoever looks into it is shown it: for the edge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import Struct

from rolehost_api import wire
from rolehost_api.link.tracing import TracedGraph
from rolehost_runtime.core.parts import PartKind
from rolehost_runtime.gateway.remembered import MemoryView

Underneath = Literal["shown", "not_kept", "off", "forbidden"]
"""`shown`: it is here. `not_kept`: nobody keeps it any more, or another gateway does. `off`: this gateway keeps none.
`forbidden`: the key may not see it."""


class SegmentView(Struct, frozen=True, kw_only=True):
    kind: PartKind
    """What it is: of the persona, of the Role's own logic or graph, of a client that told the past itself (`told`), of the
    session's history, what is remembered of the user, the message, in an answer that the user spoke up in what there was
    of it (`answer`) and their words (`steer`), of a `tool`; or `added` by something else."""
    speaker: str
    """`system`, `user`, `persona`, or a vendor's word."""
    text: str
    """Empty where something in it was forgotten since."""
    chars: int


class PrefixView(Struct, frozen=True, kw_only=True):
    """Up to where the prompt is the same as one before it: so far a provider's cache can have known it."""

    segment: int
    offset: int
    """In characters, of that segment."""
    chars: int
    """From the prompt's beginning."""
    tokens: int
    """Of these, about."""
    ended_by: PartKind | Literal[""]
    """What put the first character there that differs. Empty: none does."""
    compared_with: Literal["call", "revision"]
    """The session's call of the model before this one; or, where that is not kept, what every call of the revision
    begins with."""


class CallView(Struct, frozen=True, kw_only=True):
    """One call of the model."""

    segments: list[SegmentView]
    chars: int
    prefix: PrefixView
    reply: bool
    """The answer is (part of) the reply; else it was the logic's own question."""
    model: str
    """`backend/model` that answered, or was asked."""
    usage: wire.Usage
    finish_reason: str
    cut: bool
    """The prompt was too large to be kept: `segments` is empty."""


class RecallView(Struct, frozen=True, kw_only=True):
    """The logic asked memory, or (an empty `query` with `reminder`) the model was reminded."""

    query: str
    reminder: bool
    memories: list[MemoryView]
    forgotten: int
    """So many more were found then and are forgotten now."""


class InspectAnswer(Struct, frozen=True, kw_only=True):
    session_id: str
    turn: int
    """The one that is shown; 0 where there is none yet."""
    turns: int
    """So many there are."""
    events: list[wire.ServerFrame]
    """Of that turn, as clients saw them: transitions with why, what became of the state and of memory, and
    `response.done` with usage, model and timings."""
    version: int
    """Of the state now."""
    state: dict[str, Any]
    user_state: dict[str, Any] | None
    user_version: int | None
    nodes: dict[str, str]
    underneath: Underneath
    """Whether the four below are here."""
    calls: list[CallView]
    recalls: list[RecallView]
    trace: list[TracedGraph]
    """How the turn went through the behaviour graph."""
    answered: bool
    """The turn is durable. False: it failed, or runs."""


@dataclass(frozen=True, slots=True)
class Below:
    """What is only for whoever may read the persona."""

    underneath: Underneath
    calls: tuple[CallView, ...] = ()
    recalls: tuple[RecallView, ...] = ()
    trace: tuple[TracedGraph, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspected:
    """As InspectAnswer has it."""

    turn: int
    turns: int
    answered: bool
    events: list[wire.ServerFrame]
    version: int
    state: dict[str, Any]
    user_state: dict[str, Any] | None
    user_version: int | None
    nodes: Mapping[str, str]
    below: Below
