"""Where turns get their traces, and where they leave them. None in a World's place of it: nobody traces, at no cost."""

from dataclasses import dataclass
from typing import Protocol

from rolehost_runtime.gateway.tracing.context import Parent, chosen
from rolehost_runtime.gateway.tracing.spans import Attributes
from rolehost_runtime.gateway.tracing.turn import TurnTrace

SLOW_SECONDS = 2.0


class Outlet(Protocol):
    """Who sends traces on."""

    def put(self, trace: TurnTrace) -> None:
        """Never waits and never raises: what there is no room for is dropped, and counted."""


@dataclass(frozen=True, slots=True)
class Tracer:
    outlet: Outlet
    ratio: float = 1.0
    """So many of all turns are told; of those that fail or are slow, all."""
    slow_seconds: float = SLOW_SECONDS
    capture: bool = False
    """What was said is kept too."""
    trusts: bool = False
    """A client's traceparent is the turn's parent."""

    def begin(self, parent: Parent | None = None) -> TurnTrace:
        return TurnTrace(parent if self.trusts else None, capture=self.capture)

    def end(self, trace: TurnTrace, began: float, ended: float, attributes: Attributes, error: str = "") -> str:
        """The turn is over; its id in hex, or nothing where it is not told. A client that is trusted decides of its own."""
        trace.ended = began, ended, attributes, error
        is_told = trace.parent.sampled if trace.parent is not None else chosen(trace.trace_id, self.ratio)
        if not (is_told or error or ended - began >= self.slow_seconds):
            return ""
        self.outlet.put(trace)
        return trace.trace_id.hex()
