"""Bytes that were written and not yet taken: gRPC holds a message until its client reads, and a call cannot be cut from
here. So all calls of one tenant together have only so many in flight, and who does not read takes the room of its own
tenant's calls, not of the process."""

import asyncio
from collections import Counter, deque

MAX_BYTES = 8 << 20
"""Of one tenant; the largest message has some 1.5 MiB, and goes alone where that is more than there may be."""


class Flights:
    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._bytes: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._kept: set[asyncio.Task[None]] = set()

    def bytes_of(self, tenant: str) -> int:
        return self._bytes[tenant]

    async def begin(self, tenant: str, size: int) -> None:
        """Wait for room; first come, first served. Every `begin` that returned has its `end`."""
        if tenant not in self._waiting and self._fits(tenant, size):
            self._bytes[tenant] += size
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, room)
        self._waiting.setdefault(tenant, deque()).append(entry)
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled():
                self.end(tenant, size)
            else:
                self._waiting[tenant].remove(entry)
                self._admit(tenant)
            raise

    def end(self, tenant: str, size: int) -> None:
        self._bytes[tenant] -= size
        if not self._bytes[tenant]:
            del self._bytes[tenant]
        self._admit(tenant)

    def keep(self, task: "asyncio.Task[None]") -> None:
        """Hold on to a task whose message is in flight: nobody else may be there to do it."""
        self._kept.add(task)
        task.add_done_callback(self._kept.discard)

    def _fits(self, tenant: str, size: int) -> bool:
        return not self._bytes[tenant] or self._bytes[tenant] + size <= self._most

    def _admit(self, tenant: str) -> None:
        line = self._waiting.get(tenant)
        while line and self._fits(tenant, line[0][0]):
            size, room = line.popleft()
            if not room.done():
                self._bytes[tenant] += size
                room.set_result(None)
        if line is not None and not line:
            del self._waiting[tenant]
