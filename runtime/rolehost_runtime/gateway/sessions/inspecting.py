"""What the model was shown in the newest turns, and how they went through their graphs: in this process's memory only.

A prompt is not in the log: it holds the persona again and again, and memories that may be forgotten one day. It cannot be
made from the log either, for what the logic added is known to the logic alone. So whoever wants to look has to look soon:
at the gateway that gave the answer, at one of a session's last turns. Off unless a gateway is told how much it may take.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rolehost_api.link.messages import Recall, Recalled
from rolehost_api.link.tracing import TracedGraph
from rolehost_api.wire import Usage
from rolehost_runtime.core.parts import Part
from rolehost_runtime.core.prefix import length

MAX_TURNS = 8
"""Of one session."""
MAX_CALLS, MAX_RECALLS = 16, 16
"""Of one turn."""
MAX_TURN_BYTES = 1_048_576
"""Of one turn's prompts; of a call past that only its size is kept."""
MAX_AGE_MS = 900_000
ENTRY, GRAPH = 1_000, 600
"""Bytes that a turn or a call takes beside its text, and a node or an edge of a trace."""


@dataclass(slots=True)
class CallSeen:
    parts: tuple[Part, ...]
    chars: int
    reply: bool
    model: str
    cut: bool = False
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""

    def ended(self, usage: Usage, model: str, finish_reason: str) -> None:
        self.usage, self.model, self.finish_reason = usage, model or self.model, finish_reason


@dataclass(frozen=True, slots=True)
class RecallSeen:
    """By name only: what is forgotten later must not live on here."""

    query: str
    names: tuple[str, ...]
    reminder: bool = False


@dataclass(slots=True)
class TurnSeen:
    """One turn, while it runs and after."""

    turn: int
    at_ms: int
    calls: list[CallSeen] = field(default_factory=list)
    recalls: list[RecallSeen] = field(default_factory=list)
    trace: tuple[TracedGraph, ...] = ()
    bytes: int = ENTRY

    def asked(self, parts: Sequence[Part], *, reply: bool, model: str) -> CallSeen | None:
        """The model is asked this. None: that is one call too many to be kept."""
        if len(self.calls) >= MAX_CALLS:
            return None
        size = sum(sys.getsizeof(part.text) for part in parts)
        cut = self.bytes + size > MAX_TURN_BYTES
        call = CallSeen(() if cut else tuple(parts), length(parts), reply, model, cut)
        self.calls.append(call)
        self.bytes += ENTRY + (0 if cut else size)
        return call

    def recalled(self, asked: Recall, answer: Recalled) -> None:
        self._recalls(RecallSeen(asked.query, tuple(atom.id for atom in answer.atoms)))

    def reminded(self, names: Sequence[str]) -> None:
        if names and not any(one.reminder for one in self.recalls):
            self._recalls(RecallSeen("", tuple(names), reminder=True))

    def _recalls(self, seen: RecallSeen) -> None:
        if len(self.recalls) < MAX_RECALLS:
            self.recalls.append(seen)
            self.bytes += ENTRY + sys.getsizeof(seen.query)

    def traced(self, trace: tuple[TracedGraph, ...]) -> None:
        self.trace = trace
        self.bytes += GRAPH * sum(len(one.nodes) + len(one.edges) for one in trace)


class Inspections:
    """Of all sessions that this process answers, those that were looked into longest ago go first."""

    def __init__(self, max_bytes: int, now_ms: Callable[[], int]) -> None:
        """0: nothing is kept."""
        self._max_bytes, self._now_ms = max_bytes, now_ms
        self._seen: OrderedDict[str, list[TurnSeen]] = OrderedDict()

    @property
    def on(self) -> bool:
        return self._max_bytes > 0

    @property
    def weight(self) -> int:
        """Bytes that they take, about."""
        return sum(turn.bytes for turns in self._seen.values() for turn in turns)

    def begin(self, key: str, turn: int) -> TurnSeen | None:
        """A turn is about to run. It takes the place of an earlier try. None: nothing is kept here."""
        if not self.on:
            return None
        seen = TurnSeen(turn, self._now_ms())
        before = [one for one in self._seen.pop(key, ()) if one.turn < turn]
        self._seen[key] = [*before[1 - MAX_TURNS :], seen]
        self._make_room()
        return seen

    def turns(self, key: str) -> list[TurnSeen]:
        """Those that are kept of a session, oldest first."""
        self._make_room()
        return list(self._seen.get(key, ()))

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)

    def _make_room(self) -> None:
        """What is too old goes, then whole sessions while there is too much."""
        since, weight = self._now_ms() - MAX_AGE_MS, self.weight
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest][-1].at_ms >= since and weight <= self._max_bytes:
                return
            weight -= sum(turn.bytes for turn in self._seen.pop(oldest))
