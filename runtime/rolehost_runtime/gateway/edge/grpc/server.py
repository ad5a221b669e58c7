"""The port for gRPC. HTTP/2 without TLS, which ends at the edge as it does for sockets."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rolehost_api import names, wire
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.auth import require
from rolehost_runtime.gateway.edge.grpc.call import KEEPALIVE_MS, Caller, Context, abort
from rolehost_runtime.gateway.edge.grpc.converse import converse
from rolehost_runtime.gateway.edge.grpc.flights import Flights
from rolehost_runtime.gateway.edge.grpc.health import Health
from rolehost_runtime.gateway.edge.grpc.messages import FULL_SERVICE, POOL
from rolehost_runtime.gateway.edge.grpc.reflection import Reflection
from rolehost_runtime.gateway.edge.grpc.status import status
from rolehost_runtime.gateway.edge.grpc.watch import watch
from rolehost_runtime.gateway.edge.handshake import presented_key
from rolehost_runtime.gateway.edge.rooms import Rooms
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import Scope

log = logging.getLogger(__name__)

STREAMS = 100
"""Of one connection at a time; a client library opens another connection for more."""
OPTIONS = {
    "grpc.so_reuseport": 0,  # a taken port is an error
    "grpc.max_receive_message_length": wire.MAX_FRAME_BYTES,
    "grpc.compression_enabled_algorithms_bitset": 1,  # none: 64 KiB of gzip may be 64 MiB
    "grpc.max_metadata_size": 8_192,
    "grpc.absolute_max_metadata_size": 16_384,
    "grpc.max_concurrent_streams": STREAMS,
    # A connection that is dead is known to be in 10 s: whoever follows a state by it hears so on the other channel.
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.min_ping_interval_without_data_ms": 5_000,
    "grpc.http2.max_ping_strikes": 2,
    "grpc.max_connection_idle_ms": 300_000,
    "grpc.server_handshake_timeout_ms": 5_000,
}


class GrpcServer:
    def __init__(self, rooms: Rooms, *, host: str, port: int, max_connections: int, full: Callable[[], bool]) -> None:
        """Binds at once. `full`: there is no room for another client. Raises Unavailable `port_taken`."""
        self._rooms, self._full = rooms, full
        options = OPTIONS | {"grpc.max_allowed_incoming_connections": max_connections}
        self._server = grpc.aio.server(options=list(options.items()), maximum_concurrent_rpcs=max_connections)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    FULL_SERVICE,
                    {
                        "Converse": grpc.stream_stream_rpc_method_handler(self._converse),
                        "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
                    },
                ),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(Health(rooms.waiting_for), self._server)
        services = [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
        for file in services:
            POOL.AddSerializedFile(file.serialized_pb)
        described = (
            FULL_SERVICE,
            *(service.full_name for file in services for service in file.services_by_name.values()),
        )
        add_reflection: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
        add_reflection(Reflection(described, POOL), self._server)
        try:
            self.port: int = self._server.add_insecure_port(names.host_port(host, port))
        except RuntimeError:
            raise Unavailable(
                f"port {port} of {host} cannot be used for gRPC",
                hint="Choose another grpc_port, or end what holds it",
                code="port_taken",
                retryable=False,
            ) from None
        self._flights = Flights()
        self._stopping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._server.start()

    def stop_accepting(self, seconds: float) -> None:
        """No new connection, and a word to every open one that its next call belongs to another gateway; calls that
        run go on, for so long at most."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop(seconds))

    async def stop(self, grace: float) -> None:
        await self._server.stop(grace)
        if self._stopping is not None:
            await self._stopping

    # ── calls ───────────────────────────────────────────────────────────────────────

    async def _converse(self, _: Any, context: Context) -> None:
        await self._called("Converse", context, converse)

    async def _watch(self, request: bytes, context: Context) -> None:
        await self._called("Watch", context, lambda caller: watch(caller, request))

    async def _called(self, rpc: str, context: Context, serve: Callable[[Caller], Awaitable[None]]) -> None:
        """Whatever happens, the client is told a status of ours, and nothing of what a bug says."""
        gate, outcome, full = self._rooms.gate, "CANCELLED", self._full()
        gate.hub.connections += 1
        try:
            principal = self._let_in(context, full)
            await serve(Caller(gate, context, principal, lambda: self._let_in(context, False), self._flights))
            outcome = "OK"
        except Exception as error:
            told = faults.told(log, "answering a call", error)
            gate.metrics.told(told)
            outcome = status(told).name
            await abort(context, told)
        finally:
            gate.hub.connections -= 1
            gate.metrics.called.labels(rpc, outcome).inc()

    def _let_in(self, context: Context, full: bool) -> Principal:
        """Who calls: by the key alone, whatever else the metadata say. Raises RolehostError."""
        if self._rooms.gate.hub.draining:
            raise Unavailable("the gateway restarts", hint="Connect again", code="draining")
        if full:
            raise Unavailable("this gateway has no room for another client", code="overloaded")
        given = context.invocation_metadata() or ()
        keys = [(name, value) for name, value in given if name == "authorization" and isinstance(value, str)]
        principal = self._rooms.auth.principal(presented_key(keys))
        require(principal, Scope.CHAT)
        return principal
