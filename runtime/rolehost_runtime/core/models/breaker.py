"""A circuit breaker: who keeps failing is left alone for a while, then tried with one call.

CLOSED ──too many of the window's calls failed──▶ OPEN ──open_seconds──▶ HALF_OPEN
   ▲                                                ▲                        │
   └──────────── the probe succeeded ───────────────┼──── it failed ◀────────┘
"""

from enum import Enum
from typing import NamedTuple

from rolehost_api.crd.modelbackend import Breaker


class Circuit(Enum):
    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Pass(NamedTuple):
    """Leave to make one call. Its outcome counts only for the era in which it was let through."""

    era: int
    is_probe: bool = False


class CircuitBreaker:
    """Of one backend. `rule` may be replaced at any time; it holds from the next question on.

    >>> breaker = CircuitBreaker(Breaker(failure_percent=50, min_calls=2, window_seconds=10, open_seconds=5))
    >>> for now in (0.0, 1.0): breaker.failed(breaker.enter(now), now)
    >>> breaker.enter(2.0), breaker.circuit(2.0).name, breaker.circuit(6.0).name
    (None, 'OPEN', 'HALF_OPEN')
    >>> probe = breaker.enter(6.0)
    >>> breaker.enter(6.0), breaker.succeeded(probe, 6.5), breaker.circuit(6.5).name
    (None, None, 'CLOSED')
    """

    def __init__(self, rule: Breaker) -> None:
        self.rule = rule
        self._era = 0
        self._until: float | None = None
        """When it may be tried again; None: it is closed."""
        self._probing = False
        self._half = 0
        """Number of the half window that is being counted."""
        self._counts = [0, 0, 0, 0]
        """Calls and failures of this half window, and of the one before."""

    def circuit(self, now: float) -> Circuit:
        if self._until is None:
            return Circuit.CLOSED
        return Circuit.HALF_OPEN if now >= self._until else Circuit.OPEN

    def retry_at(self, now: float) -> float:
        """When a call may be let through again, at the earliest."""
        return now if self._until is None else max(now, self._until)

    def enter(self, now: float) -> Pass | None:
        """None: leave it alone."""
        match self.circuit(now):
            case Circuit.CLOSED:
                return Pass(self._era)
            case Circuit.HALF_OPEN if not self._probing:
                self._probing = True
                return Pass(self._era, is_probe=True)
        return None

    def succeeded(self, let: Pass, now: float) -> None:
        if let.era != self._era:
            return
        if let.is_probe:
            self._next_era(None)
        else:
            self._count(now, failed=0)

    def failed(self, let: Pass, now: float) -> None:
        if let.era != self._era:
            return
        if let.is_probe:
            self._next_era(now + self.rule.open_seconds)
            return
        self._count(now, failed=1)
        calls, failures = self._counts[0] + self._counts[2], self._counts[1] + self._counts[3]
        if calls >= self.rule.min_calls and 100 * failures >= self.rule.failure_percent * calls:
            self._next_era(now + self.rule.open_seconds)

    def gave_up(self, let: Pass) -> None:
        """The call was broken off, and says nothing of the server."""
        if let.era == self._era and let.is_probe:
            self._probing = False

    def _next_era(self, until: float | None) -> None:
        self._era += 1
        self._until, self._probing, self._counts = until, False, [0, 0, 0, 0]

    def _count(self, now: float, *, failed: int) -> None:
        half = int(now // (self.rule.window_seconds / 2))
        if half != self._half:
            older = self._counts[:2] if half == self._half + 1 else [0, 0]
            self._half, self._counts = half, [0, 0, *older]
        self._counts[0] += 1
        self._counts[1] += failed
