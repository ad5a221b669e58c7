"""What Redis says of itself, for Prometheus: asked now and then, whether or not anybody scrapes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.ports import StoreFacts

EVERY_SECONDS = 15.0


class StoreGauges:
    """A feed of the gateway. While Redis does not answer, the last figures stand; that it does not is told elsewhere."""

    def __init__(
        self,
        facts: Callable[[], Awaitable[StoreFacts]],
        told: Callable[[StoreFacts], None],
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._facts, self._told, self._every = facts, told, every_seconds

    async def run(self) -> None:
        while True:
            with suppress(RolehostError):
                self._told(await self._facts())
            await asyncio.sleep(self._every)
