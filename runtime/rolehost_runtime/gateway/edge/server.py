"""The port for clients: uvicorn with our two protocol classes, run inside a loop that is somebody else's."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import uvicorn
from starlette.types import ASGIApp

from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway.edge.guarded import GuardedHttp
from rolehost_runtime.gateway.edge.websocket import Door, WebSocket

BACKLOG = 2048
GRACE_SECONDS = 5


def admitted(limit: int, gateways: int) -> int:
    """Connections that one of so many gateways takes, so that the others can take over those of one that goes.

    (N - 1) / N of what it could hold; one that is alone keeps a tenth for those that come back at once.

    >>> admitted(20_000, 1), admitted(20_000, 2), admitted(20_000, 3)
    (18000, 10000, 13333)
    """
    return limit * 9 // 10 if gateways < 2 else limit * (gateways - 1) // gateways


class _Server(uvicorn.Server):
    """uvicorn's, without its hands on the process: signals and time are the composition root's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def main_loop(self) -> None:
        await self.stopping.wait()


class EdgeServer:
    def __init__(
        self,
        app: ASGIApp,
        door: Door,
        *,
        host: str,
        port: int,
        max_connections: int,
        gateways: Callable[[], int] = lambda: 1,
    ) -> None:
        """`gateways`: how many there are, this one included."""
        self._listener = _listen(host, port)
        self.port: int = self._listener.getsockname()[1]

        def socket_factory() -> WebSocket:
            return WebSocket(door)

        self._hub, self._max_connections, self._gateways = door.gate.hub, max_connections, gateways
        http = type(
            "Http",
            (GuardedHttp,),
            {
                "metrics": door.gate.metrics,
                "full": staticmethod(self.full),
                "socket_factory": staticmethod(socket_factory),
            },
        )
        config = uvicorn.Config(
            app,
            http=http,
            ws=WebSocket,  # any class but None: GuardedHttp hands over by `socket_factory`
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def full(self) -> bool:
        """No room for another client, on this port or another one."""
        taken = len(self._server.server_state.connections) + self._hub.connections
        return taken >= admitted(self._max_connections, self._gateways())

    async def start(self) -> None:
        self._listener.listen(BACKLOG)
        self._task = asyncio.create_task(self._server.serve([self._listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise Unavailable("the port for clients could not be opened")
            await asyncio.sleep(0)

    def stop_accepting(self) -> None:
        for server in getattr(self._server, "servers", ()):
            server.close()
        self._listener.close()

    async def stop(self) -> None:
        if self._task is not None:
            self._server.stopping.set()
            await self._task


def _listen(host: str, port: int) -> socket.socket:
    """Bind at once, so that a taken port is said before anything starts. Raises Unavailable `port_taken`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named: asyncio sets TCP_NODELAY by it, and without that a second small event waits for 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"port {port} of {host} cannot be used: {error.strerror}",
            hint="Choose another port, or end what holds it",
            code="port_taken",
            retryable=False,
        ) from None
    listener.setblocking(False)
    return listener
