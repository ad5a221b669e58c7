"""Reflection: the library's, but not for ever, for nobody is asked for a key here."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode
from grpc_reflection.v1alpha.reflection import aio

from rolehost_runtime.gateway.edge.grpc.call import Context

SECONDS = 20.0
"""Of one call; a tool needs one."""


class Reflection:
    def __init__(self, services: Iterable[str], pool: DescriptorPool) -> None:
        self._library: Any = aio.ReflectionServicer(services, pool=pool)  # its stubs say what it does not do

    async def ServerReflectionInfo(self, request_iterator: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(SECONDS):
                async for answer in self._library.ServerReflectionInfo(request_iterator, context):
                    yield answer
        except TimeoutError:
            await context.abort(StatusCode.DEADLINE_EXCEEDED, "this call has been open for long")
