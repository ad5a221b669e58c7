"""grpc.health.v1: SERVING exactly where /readyz is 200."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rolehost_runtime.gateway.edge.grpc.call import Context
from rolehost_runtime.gateway.edge.grpc.messages import FULL_SERVICE

WATCHERS = 64
"""At a time; nobody is asked for a key here."""
WATCH_SECONDS = 1.0
"""Between looks, for those who watch."""
SERVICES = ("", FULL_SERVICE)
_Answer = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    def __init__(self, waiting_for: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """`waiting_for`: what is missed before this gateway can serve."""
        self._waiting_for = waiting_for
        self._watchers = 0

    async def Check(self, request: Any, context: Context) -> Any:
        if request.service not in SERVICES:
            await context.abort(StatusCode.NOT_FOUND, "there is no such service")
        return _Answer(status=await self._status())

    async def Watch(self, request: Any, context: Context) -> AsyncIterator[Any]:
        if self._watchers >= WATCHERS:
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, "many watch already; ask by Check")
        self._watchers += 1
        try:
            told = None
            while True:
                known = request.service in SERVICES
                now = await self._status() if known else _Answer.SERVICE_UNKNOWN
                if now != told:
                    yield _Answer(status=now)
                    told = now
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            self._watchers -= 1

    async def _status(self) -> int:
        return _Answer.NOT_SERVING if await self._waiting_for() else _Answer.SERVING
