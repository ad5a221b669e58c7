"""One timer of the loop for thousands of sockets, each of which is to be rung in some seconds, or not after all.

A timer of each one's own would be a fifth of what an idle socket takes in memory.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

SPOKE_SECONDS = 0.05
"""What is due within them is rung at once, and never too early: a tenth of the fastest heartbeat."""


class Rung(Protocol):
    spoke: int
    """Where it is on the wheel; 0: nowhere. The wheel's own to write."""

    def ring(self) -> None:
        """Its time has come. It is on the wheel no more."""


class Loop(Protocol):
    """Of an event loop what the wheel needs."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle: ...


def spoke(at: float) -> int:
    """The first spoke that is not before that moment.

    >>> spoke(10.0), spoke(10.01), spoke(10.05)
    (200, 201, 201)
    """
    return -int(-at * 1000 // (SPOKE_SECONDS * 1000))


class Wheel:
    def __init__(self, loop: Callable[[], Loop] = asyncio.get_running_loop) -> None:
        self._loop = loop
        self._spokes: dict[int, set[Rung]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = 0
        """The spoke that the timer rings."""

    def put(self, who: Rung, seconds: float) -> None:
        """Ring it in so many seconds; where it was on the wheel already, not as was said before."""
        self.drop(who)
        now = self._loop().time()
        who.spoke = max(spoke(now + seconds), spoke(now) + 1)
        self._spokes.setdefault(who.spoke, set()).add(who)
        if self._timer is None or who.spoke < self._set_for:
            self._set(who.spoke)

    def drop(self, who: Rung) -> None:
        """Do not ring it. Harmless where it is not on the wheel."""
        there = self._spokes.get(who.spoke)
        if there is not None:
            there.discard(who)
            if not there:
                del self._spokes[who.spoke]
        who.spoke = 0

    def _set(self, spoke: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._set_for = spoke
        self._timer = self._loop().call_at(spoke * SPOKE_SECONDS, self._turn)

    def _turn(self) -> None:
        """Ring what is due. Who fails at it does not keep the others from being rung."""
        self._timer = None
        now = self._loop().time()
        try:
            for due in sorted(number for number in self._spokes if number * SPOKE_SECONDS <= now + 1e-6):
                while there := self._spokes.get(due):
                    who = next(iter(there))
                    self.drop(who)
                    who.ring()
        finally:
            if self._spokes:
                self._set(min(self._spokes))
