"""Bounds on waiting for one answer, without a timer for each of its pieces.

One timer stands per answer. It rings when the nearest bound would have passed as it was known
then, looks whether that still holds, and sets itself again if not: a piece that comes costs an assignment.
"""

import asyncio

import aiohttp

from rolehost_api.crd.modelbackend import Timeouts
from rolehost_runtime.gateway.broker.models.failures import too_slow

NEVER = float("inf")


class TooSlow(Exception):
    """A bound passed while the server was being waited for."""


class Patience:
    """Of one call, from its request on. `deadline` is when its first token is of no use any more."""

    def __init__(self, timeouts: Timeouts, deadline: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        began = self._loop.time()
        self._total = began + timeouts.total_seconds
        self._until = min(began + timeouts.first_token, self._total, deadline or NEVER)
        self._begun = False
        self._waiting = False
        self._content: aiohttp.StreamReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings = NEVER

    @property
    def first(self) -> float:
        """When the first token is due at the latest."""
        return self._until

    def watch(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._set(self._until)

    async def read(self, content: aiohttp.StreamReader) -> bytes:
        """What came next; empty at the end. Raises Unavailable `model_timeout`."""
        self._waiting = True
        try:
            return await content.readany()
        except TooSlow:
            raise self.too_slow() from None
        finally:
            self._waiting = False

    def token(self) -> None:
        """Text came. Time that whoever reads it takes is not the server's."""
        self._until = min(self._loop.time() + self._timeouts.idle_seconds, self._total)
        self._begun = True
        if self._until < self._rings:
            self._set(self._until)

    def done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def too_slow(self) -> Exception:
        return too_slow("it stopped in mid-answer" if self._begun else "its first token did not come in time")

    def _ring(self) -> None:
        now = self._loop.time()
        if self._waiting and now >= self._until and self._content is not None:
            self._content.set_exception(TooSlow())
            return
        self._set(self._until if now < self._until else now + self._timeouts.idle_seconds)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings = self._loop.call_at(at, self._ring), at
