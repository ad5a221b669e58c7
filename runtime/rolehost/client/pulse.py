"""Whether the other end is alive: pings, what they took, and how many in a row nobody answered. Pure."""

MISSES = 3
"""Pings in a row without any sign of life, and the connection is dead."""
URGENT_MS = 500
LEAST_MS, MOST_MS = 100, 60_000
DEFAULT_MS = 5_000
WEIGHT = 0.125
"""Of a new round trip in the running mean."""


def bounded(heartbeat_ms: object, default: int) -> int:
    """A heartbeat that a frame told, within what is sane.

    >>> bounded(500, 5_000), bounded(0, 5_000), bounded("x", 5_000)
    (500, 100, 5000)
    """
    if type(heartbeat_ms) is not int:
        return default
    return min(MOST_MS, max(LEAST_MS, heartbeat_ms))


class Pulse:
    """One connection's. Times are milliseconds of one clock that never goes back."""

    def __init__(self) -> None:
        self.rtt_ms: float | None = None
        """Exponentially weighted mean over all connections."""
        self.due: float | None = None
        """When the next ping goes out; None between connections."""
        self._base = self._every = DEFAULT_MS
        self._waiting = False
        self._misses = 0

    def start(self, now: float, heartbeat_ms: object) -> None:
        self._base = self._every = bounded(heartbeat_ms, DEFAULT_MS)
        self._waiting, self._misses = False, 0
        self.due = now + self._every

    def stop(self) -> None:
        self.due = None

    def urgent(self, now: float, is_urgent: bool, heartbeat_ms: object) -> None:
        """Beat faster from now on, or as before again."""
        self._every = bounded(heartbeat_ms, URGENT_MS) if is_urgent else self._base
        if self.due is not None:
            self.due = min(self.due, now + self._every) if is_urgent else now + self._every

    def paced(self, now: float, heartbeat_ms: object) -> None:
        """The server takes another heartbeat for the normal one."""
        urgent = self._every != self._base
        self._base = bounded(heartbeat_ms, self._base)
        if not urgent:
            self._every = self._base
            if self.due is not None:
                self.due = now + self._every

    def alive(self) -> None:
        """Something was heard, whatever it was."""
        self._waiting, self._misses = False, 0

    def beat(self, now: float) -> bool:
        """The next ping is due; False: enough of them were not answered, the connection is dead."""
        self._misses += self._waiting
        if self._misses >= MISSES:
            return False
        self._waiting, self.due = True, now + self._every
        return True

    def pong(self, now: float, sent: object) -> None:
        """The answer to a ping that was sent at `sent`; one from nowhere counts as a sign of life only."""
        if type(sent) is int and 0 <= now - sent <= MOST_MS:
            took = now - sent
            self.rtt_ms = took if self.rtt_ms is None else self.rtt_ms + WEIGHT * (took - self.rtt_ms)
