"""The time by which this operator decides: what the wall said when it started, and how long that is ago.

Somebody sets the wall's clock back or forth; how long a step lasted does not change by that. Time asleep counts.
"""

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """Never goes back, and jumps with no one."""

    def __init__(self, wall: datetime | None = None) -> None:
        self._start = wall or datetime.now(UTC)
        self._at = _elapsed()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=_elapsed() - self._at)


def _elapsed() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


now = Clock().now
