"""Calls of which nobody knows where to, and the looking for it: one look at a time, with a pause between two."""

import asyncio
from collections.abc import Callable

from rolehost_runtime.gateway.broker.state.resp.call import Call
from rolehost_runtime.gateway.broker.state.resp.topology import Topology

LOOK_SECONDS = 0.05
"""Between two looks."""


class Lookout:
    def __init__(self, topology: Topology, route: Callable[[Call], None]) -> None:
        self._topology, self._route = topology, route
        self._parked: list[Call] = []
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def park(self, call: Call) -> None:
        """Until somebody says where it belongs, or its deadline comes."""
        self._parked.append(call)
        self.look()

    def look(self) -> None:
        if self._looking is None and not self._closed:
            self._looking = asyncio.create_task(self._around(), name="redis topology")

    async def _around(self) -> None:
        try:
            await self._topology.look()
            parked, self._parked = self._parked, []
            for call in parked:
                if call.over:
                    continue
                if self._topology.node(call.key) is not None:  # as far as is known; who is there says what it is
                    self._route(call)
                else:
                    self._parked.append(call)
            await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._looking = None
        if self._parked:
            self.look()

    def close(self) -> None:
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
