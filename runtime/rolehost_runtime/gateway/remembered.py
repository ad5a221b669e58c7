"""What is remembered, as its user sees it: for the edge."""

from msgspec import Struct

from rolehost_api.link.messages import AtomKind
from rolehost_runtime.core.memory.partition import Held


class MemoryView(Struct, frozen=True, kw_only=True):
    """One thing that is remembered."""

    id: str
    kind: AtomKind
    text: str
    """Of a relation: its subject, predicate and object, with arrows between them."""
    at_ms: int
    """When it was remembered."""
    since_ms: int | None
    until_ms: int | None
    """When a relation holds; null: not said, or it still does."""
    salience: int
    """0 to 100: what matters less goes first where there is too much."""
    asserted: bool
    """The user said so, and nobody confirmed it: the model is not told."""
    session_id: str
    turn: int
    revision: str
    """Where it comes from."""


def view_of(held: Held) -> MemoryView:
    atom = held.atom
    return MemoryView(
        id=atom.id,
        kind=atom.kind,
        text=atom.said,
        at_ms=atom.at_ms,
        since_ms=atom.since_ms if atom.kind == "rel" else None,
        until_ms=held.until_ms,
        salience=atom.salience,
        asserted=held.quarantined,
        session_id=atom.session_id,
        turn=atom.turn,
        revision=atom.revision,
    )
