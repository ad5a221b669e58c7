"""A queue of keys: a key waits in it once, is worked on by one, and a ring meanwhile is kept."""

import asyncio
import random
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.2
LONGEST_DELAY = 60.0


def backoff(failures: int, spread: float) -> float:
    """Seconds to wait after so many failures in a row; `spread` from 0 to 1 keeps many apart.

    >>> [round(backoff(count, 0.0), 1) for count in (1, 2, 3, 20)]
    [0.2, 0.4, 0.8, 60.0]
    >>> round(backoff(1, 1.0), 1)
    0.3
    """
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16)) * (1 + spread / 2)


class KeyedQueue(Generic[K]):
    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ring(self, key: K) -> None:
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def ring_later(self, key: K, seconds: float) -> None:
        """The earliest of several stands."""
        due = asyncio.get_running_loop().time() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.ring(key)

    async def take(self) -> K:
        key = await self._ready.get()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """It went well, or there is nothing to do."""
        self._failures.pop(key, None)
        self._rest(key)

    def failed(self, key: K, after: float | None = None) -> None:
        """Try again: when it was said, else after a delay that doubles each time. Rings wait for it too."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._working.discard(key)
        self._again.discard(key)
        self.ring_later(key, after if after is not None else backoff(count, random.random()))  # noqa: S311

    def _rest(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.ring(key)
