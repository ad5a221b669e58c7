"""A session as one frame, in place of events that are not told. Pure."""

from collections.abc import Sequence

from rolehost_api.wire import Exchanged, Snapshot
from rolehost_runtime.core.behavior.place import nodes
from rolehost_runtime.core.prompt import Exchange
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.core.shown import shown

MAX_TURNS, MAX_CHARS = 64, 65_536
"""Of a snapshot's transcript; a turn longer than that by itself is left out, and the state is told whole."""


def snapshot(fold: SessionFold, session_id: str, now_ms: int) -> Snapshot:
    """What the session has come to."""
    kept = newest(tuple(fold.past))
    return Snapshot(
        session_id=session_id,
        seq=None,
        ts=now_ms,
        at_seq=fold.seq,
        version=fold.version,
        state=shown(fold.state),
        nodes=nodes(fold.state),
        transcript=tuple(Exchanged(input=turn.input, reply=turn.reply) for turn in kept),
        truncated=len(kept) < fold.turn,
    )


def newest(past: Sequence[Exchange]) -> list[Exchange]:
    """As many of the newest turns as a snapshot holds, the oldest of them first.

    >>> [turn.input for turn in newest([Exchange("a", "x" * 40_000), Exchange("b", "y" * 40_000), Exchange("c", "")])]
    ['b', 'c']
    """
    kept: list[Exchange] = []
    chars = 0
    for turn in reversed(past[-MAX_TURNS:]):
        chars += len(turn.input) + len(turn.reply)
        if chars > MAX_CHARS:
            break
        kept.insert(0, turn)
    return kept
