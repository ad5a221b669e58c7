"""A queue of keys: a key waits in it once, is worked on by one, and a ring meanwhile is kept.

Keys wait in lanes that take turns. One that failed rests, and rings do not cut its rest short.
"""

import asyncio
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from rolehost_operator.handlers.lanes import Lanes

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 1.0
"""Also the least between two tries of one object that is refused."""
LONGEST_DELAY = 60.0
LONGEST_CONFLICT = 8.0
"""Whoever is in our way with an object is at work on it right now, and soon done."""
LONGEST_WISH = 300.0
"""Most that is waited because the apiserver said so."""


def backoff(failures: int, spread: float, longest: float = LONGEST_DELAY) -> float:
    """Seconds to wait after so many failures in a row; `spread` from 0 to 1 keeps many apart.

    >>> [round(backoff(count, 0.0), 1) for count in (1, 2, 3, 20)]
    [1.0, 2.0, 4.0, 60.0]
    >>> round(backoff(1, 1.0), 1)
    1.5
    """
    return min(longest, FIRST_DELAY * 2.0 ** min(failures - 1, 16)) * (1 + spread / 2)


def rest(failures: int, spread: float, wish: float | None, longest: float = LONGEST_DELAY) -> float:
    """As `backoff`, and no shorter than the apiserver wished (Retry-After).

    >>> rest(1, 0.0, None), rest(1, 0.0, 7.0), rest(4, 0.0, 7.0), rest(1, 0.0, 86_400.0)
    (1.0, 7.0, 8.0, 300.0)
    >>> rest(9, 0.0, None, LONGEST_CONFLICT)
    8.0
    """
    return max(backoff(failures, spread, longest), min(wish or 0.0, LONGEST_WISH))


class KeyedQueue(Generic[K]):
    def __init__(self, lane: Callable[[K], Hashable]) -> None:
        self._lane = lane
        self._lanes: Lanes[K] = Lanes()
        self._ready = asyncio.Semaphore(0)
        self._resting: set[K] = set()
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
        elif key not in self._waiting and key not in self._resting:
            self._waiting.add(key)
            self._lanes.push(self._lane(key), key)
            self._ready.release()

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
        self._resting.discard(key)
        self.ring(key)

    async def take(self) -> K:
        await self._ready.acquire()
        key = self._lanes.pop()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """It went well, or there is nothing to do."""
        self._failures.pop(key, None)
        self._end(key)

    def failed(self, key: K, after: float | None = None, longest: float = LONGEST_DELAY) -> None:
        """Try again after a delay that doubles each time, and not before it was said. Rings wait for it too."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._working.discard(key)
        self._again.discard(key)
        self._resting.add(key)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self.ring_later(key, rest(count, random.random(), after, longest))  # noqa: S311

    def forgive(self) -> None:
        """What kept them from succeeding is over: whoever rests may be rung for at once."""
        self._failures.clear()
        self._resting.clear()

    def _end(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.ring(key)
