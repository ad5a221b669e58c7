"""Whether a client is still there: when it is asked, how long it takes to answer, when it is given up. Sans-IO.

Times are milliseconds of one clock that never goes back. `beat` is to be called every
`every_ms`; whatever is heard of the client is a sign of life, so one that talks is not asked.
"""

from enum import Enum

from rolehost_api.wire import MAX_HEARTBEAT_MS, MIN_HEARTBEAT_MS, URGENT_HEARTBEAT_MS

WEIGHT = 0.125
"""Of a new round trip in the running mean."""
MEASURE_MS = 30_000
"""A client that talks by itself is asked so often all the same, for the round trip."""
SILENT = 0.9
"""Of a heartbeat without a word, and the client is asked."""
MAX_RTT_MS = 60_000


class Beat(Enum):
    NOTHING = "nothing"
    ASK = "ask"
    DEAD = "dead"


def bounded(heartbeat_ms: int) -> int:
    """A heartbeat that a client chose, within what keeps the promise that a dead one is noticed in 40 seconds.

    >>> bounded(1), bounded(2_000), bounded(60_000)
    (500, 2000, 10000)
    """
    return min(MAX_HEARTBEAT_MS, max(MIN_HEARTBEAT_MS, heartbeat_ms))


class Heartbeat:
    """Of one channel."""

    __slots__ = ("_asked", "_every", "_heard", "_misses", "_urgent", "rtt_ms")

    def __init__(self, now: float, every_ms: int, misses: int = 3) -> None:
        """`misses` heartbeats without a sign of life are death."""
        self.rtt_ms: float | None = None
        """Exponentially weighted mean; None before the first answer."""
        self._every, self._misses = every_ms, misses
        self._urgent = False
        self._heard = self._asked = now

    @property
    def every_ms(self) -> int:
        return min(self._every, URGENT_HEARTBEAT_MS) if self._urgent else self._every

    def heard(self, now: float) -> None:
        self._heard = max(self._heard, now)

    def urgent(self, now: float, is_urgent: bool) -> None:
        """Ask faster from now on, or as before. Silence that was no miss before is none now."""
        self._urgent = is_urgent
        self._heard = max(self._heard, now)

    def choose(self, now: float, every_ms: int) -> int:
        """The client's own wish; returns what is taken of it."""
        self._every = bounded(every_ms)
        self._heard = max(self._heard, now)
        return self._every

    def beat(self, now: float) -> Beat:
        """What to do now. With 5 s: silent for one beat is asked, for three is dead.

        >>> pulse = Heartbeat(0, 5_000)
        >>> [pulse.beat(now).value for now in (5_000, 10_000, 15_000)]
        ['ask', 'ask', 'dead']
        """
        silent = now - self._heard
        if silent >= self._misses * self.every_ms:
            return Beat.DEAD
        if silent >= SILENT * self.every_ms or self._urgent or now - self._asked >= MEASURE_MS:
            self._asked = now
            return Beat.ASK
        return Beat.NOTHING

    def answered(self, now: float, asked: float) -> float | None:
        """The answer to what was asked at `asked`: the round trip, None for one that cannot be."""
        took = now - asked
        if not 0 <= took <= MAX_RTT_MS:
            return None
        self.rtt_ms = took if self.rtt_ms is None else self.rtt_ms + WEIGHT * (took - self.rtt_ms)
        return took
