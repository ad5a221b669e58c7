"""A queue of keys: a key waits in it once, is worked on by one, and a ring meanwhile is kept.

Whoever was edited and whoever has other news take turns, and so do lanes among each: an edit has two or three pieces of news
behind it, so it overtakes them, and yet no tenant's edits hold up another's news for longer than twice as long. Those that
nothing happened to wait until no other does. One that failed rests, and rings do not cut its rest short.
"""

import asyncio
import random
from collections.abc import Callable, Hashable
from enum import IntEnum
from itertools import cycle
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


class Reason(IntEnum):
    """Why a key rings; the lower is the graver."""

    EDIT = 0
    """Somebody declared something that was not looked at yet."""
    NEWS = 1
    NONE = 2
    """As a net under the others: thousands of these hold up nobody."""


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
        self._lanes: dict[Reason, Lanes[K]] = {reason: Lanes() for reason in Reason}
        self._turns = cycle(((Reason.EDIT, Reason.NEWS, Reason.NONE), (Reason.NEWS, Reason.EDIT, Reason.NONE)))
        self._ready = asyncio.Semaphore(0)
        self._resting: set[K] = set()
        self._waiting: dict[K, Reason] = {}
        """A key that got a graver reason since stands in its lane for the earlier one too, and is passed over there."""
        self._working: set[K] = set()
        self._again: dict[K, Reason] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def ring(self, key: K, reason: Reason = Reason.NEWS) -> None:
        if key in self._working:
            self._again[key] = min(reason, self._again.get(key, reason))
        elif key not in self._resting:
            before = self._waiting.get(key)
            if before is None:
                self._ready.release()
            elif before <= reason:
                return
            self._waiting[key] = reason
            self._lanes[reason].push(self._lane(key), key)

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
        key = self._next()
        del self._waiting[key]
        self._working.add(key)
        return key

    def _next(self) -> K:
        for reason in next(self._turns):
            lanes = self._lanes[reason]
            while lanes:
                if self._waiting.get(key := lanes.pop()) is reason:
                    return key
        raise LookupError("nobody waits")

    def done(self, key: K) -> None:
        """It went well, or there is nothing to do."""
        self._failures.pop(key, None)
        self._working.discard(key)
        if (reason := self._again.pop(key, None)) is not None:
            self.ring(key, reason)

    def failed(self, key: K, after: float | None = None, longest: float = LONGEST_DELAY) -> None:
        """Try again after a delay that doubles each time, and not before it was said. Rings wait for it too."""
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._working.discard(key)
        self._again.pop(key, None)
        self._resting.add(key)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self.ring_later(key, rest(count, random.random(), after, longest))  # noqa: S311

    def forgive(self) -> None:
        """What kept them from succeeding is over: whoever rests may be rung for at once."""
        self._failures.clear()
        self._resting.clear()
