"""How many requests at once and how many a minute, in this gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from rolehost_runtime.core.reach.pace import Pace
from rolehost_runtime.gateway.broker.reach import failures

PER_ROLE = 16
"""At once; who comes later waits within its request's time."""
PER_TENANT, PER_GATEWAY = 64, 256
"""At once, whatever their Roles: what all answers together may take of memory is bounded by it."""
PER_MINUTE = 600
"""Of one tenant."""
BURST_PART = 6
"""A burst may take this part of a minute's requests at once."""


@dataclass(slots=True)
class _Room:
    free: asyncio.Semaphore
    users: int = 0


@dataclass(slots=True)
class Bounds:
    now: Callable[[], float]
    per_role: int = PER_ROLE
    per_minute: int = PER_MINUTE
    _rooms: dict[tuple[str, str], _Room] = field(default_factory=dict)
    _paces: dict[str, Pace] = field(default_factory=dict)

    def pace(self, tenant: str) -> None:
        """One more request of that tenant. Raises Overloaded `http_rate_limited`."""
        pace = self._paces.get(tenant)
        if pace is None:
            burst = max(1, self.per_minute // BURST_PART)
            pace = self._paces[tenant] = Pace(self.per_minute, burst, self.now())
        if not pace.take(self.now()):
            raise failures.too_often()

    @asynccontextmanager
    async def room(self, tenant: str, role: str) -> AsyncIterator[None]:
        """A place among the requests of the Role, of its tenant and of this gateway."""
        async with AsyncExitStack() as held:
            for key, most in (((tenant, role), self.per_role), ((tenant, ""), PER_TENANT), (("", ""), PER_GATEWAY)):
                await held.enter_async_context(self._place(key, most))
            yield

    @asynccontextmanager
    async def _place(self, key: tuple[str, str], most: int) -> AsyncIterator[None]:
        room = self._rooms.setdefault(key, _Room(asyncio.Semaphore(most)))
        room.users += 1
        try:
            async with room.free:
                yield
        finally:
            room.users -= 1
            if not room.users:
                self._rooms.pop(key, None)
