"""An endpoint for OTLP over HTTP that keeps what it is sent, as OpenTelemetry's own classes read it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rolehost_runtime.gateway.tracing.turn import TurnTrace


def value_of(one: Any) -> Any:
    """What an AnyValue holds."""
    kind = one.WhichOneof("value")
    return tuple(value_of(part) for part in one.array_value.values) if kind == "array_value" else getattr(one, kind)


def attributes_of(pairs: Any) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


@dataclass(frozen=True)
class Told:
    """One span as it arrived."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    error: str


def read(body: bytes) -> tuple[dict[str, Any], list[Told]]:
    """The resource, and the spans."""
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (scope,) = resource.scope_spans
    return attributes_of(resource.resource.attributes), [
        Told(
            span.name, span.kind, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
            span.start_time_unix_nano, span.end_time_unix_nano, attributes_of(span.attributes),
            span.status.message if span.status.code == 2 else "",
        )
        for span in scope.spans
    ]  # fmt: skip


class Kept:
    """An Outlet that keeps traces."""

    def __init__(self) -> None:
        self.traces: list[TurnTrace] = []

    def put(self, trace: TurnTrace) -> None:
        self.traces.append(trace)


@dataclass
class Endpoint:
    """What came, and how it answers."""

    url: str = ""
    status: int = 200
    answer: bytes = b""
    hold: asyncio.Event | None = None
    """Not answered before it is set."""
    bodies: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def spans(self) -> list[Told]:
        return [span for body in self.bodies for span in read(body)[1]]

    async def until(self, count: int) -> list[Told]:
        """So many spans came."""
        while len(self.spans) < count:
            self.came.clear()
            await self.came.wait()
        return self.spans

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hold is not None:
            await self.hold.wait()
        if self.status == 200:
            self.bodies.append(body)
        self.came.set()
        return web.Response(status=self.status, body=self.answer)


@asynccontextmanager
async def endpoint(port: int = 0) -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        if made.hold is not None:
            made.hold.set()
        await runner.cleanup()
