"""How many requests a minute: a bucket that fills evenly and holds what one burst may take."""

from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """Of one tenant. `now` is in seconds, of any clock that only goes forward.

    >>> pace = Pace(per_minute=60, burst=2, at=0.0)
    >>> [pace.take(0.0) for _ in range(3)], pace.take(0.9), pace.take(1.0)
    ([True, True, False], False, True)
    """

    per_minute: int
    burst: int
    at: float
    spent: float = 0.0

    def take(self, now: float) -> bool:
        """One request begins; False: not yet."""
        self.spent = max(0.0, self.spent - (now - self.at) * self.per_minute / 60)
        self.at = now
        if self.spent + 1 > self.burst:
            return False
        self.spent += 1
        return True
