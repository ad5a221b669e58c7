"""The leases' fake: the same rules in this process's memory."""

import time
from collections.abc import Callable

from rolehost_runtime.gateway.ports import LEASE_SECONDS


class MemoryLeases:
    """Implements ports.Leases. Those on one `board` are leases of one Redis."""

    def __init__(self, board: dict[str, float] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.board = {} if board is None else board
        """By gateway: when its lease ends."""
        self._clock = clock

    async def renew(self, gateway: str) -> bool:
        had = await self.held(gateway)
        self.board[gateway] = self._clock() + LEASE_SECONDS
        return had

    async def held(self, gateway: str) -> bool:
        return self.board.get(gateway, 0.0) > self._clock()
