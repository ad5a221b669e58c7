"""HTTP bytes: uvicorn's parser with bounds, and the fork in the road where sockets leave HTTP.

Without them one connection could hold 26 MB of headers, or half a request for ever.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from rolehost_api import wire
from rolehost_runtime.gateway.edge.bodies import error_json
from rolehost_runtime.gateway.edge.stream import ABORT
from rolehost_runtime.gateway.metrics import Metrics

if TYPE_CHECKING:
    from rolehost_runtime.gateway.edge.websocket import WebSocket

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
HEAD_SECONDS = 5.0
LINGER_SECONDS = 1.0
RETRY_AFTER_SECONDS = 5


class TooManyHeaders(Exception):
    """Raised inside the parser's callback, where nothing else ends the parse."""


class GuardedHttp(HttpToolsProtocol):
    metrics: Metrics
    full: Callable[[], bool]
    """No room for another connection."""
    socket_factory: Callable[[], "WebSocket"]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
        self._in_head = True
        self._head_bytes = 0
        self._headers_seen = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        full = self.full()
        # uvicorn would ask the transport for both ends' addresses, which it keeps from then on; nobody here reads them.
        self.transport, self.flow, self.scheme = transport, FlowControl(transport), "http"
        self.connections.add(self)
        if full:
            self._refuse(503, "overloaded", "this gateway has no room for another connection")
        else:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unset_keepalive_if_required()
        at = 0
        while at < len(data):
            room = MAX_HEAD_BYTES - self._head_bytes if self._in_head else len(data)
            piece = data[at : at + room] if at or room < len(data) else data
            if self._in_head:
                self._head_bytes += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self._should_upgrade() and self._idle():
                    self._become_socket(data[at + upgrade.args[0] :])
                elif self._should_upgrade():
                    self._refuse(400, "malformed_http", "an upgrade must not follow a request that still runs")
                return
            except httptools.HttpParserError:
                if self._headers_seen > MAX_HEADERS:
                    self._refuse(431, "too_many_headers", f"a request has at most {MAX_HEADERS} headers")
                else:
                    self._refuse(400, "malformed_http", "this is not valid HTTP")
                return
            at += len(piece)
            if self._in_head and self._head_bytes >= MAX_HEAD_BYTES:
                self._refuse(431, "head_too_large", f"a request's head is at most {MAX_HEAD_BYTES} bytes")
                return

    # ── callbacks of the parser ─────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers_seen = 0
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_seen += 1
        if self._headers_seen > MAX_HEADERS:
            raise TooManyHeaders
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    # ── the two ways out ────────────────────────────────────────────────────────────

    def _become_socket(self, rest: bytes) -> None:
        """Hand the connection to the WebSocket protocol and let go of all that HTTP held for it."""
        self.connections.discard(self)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        method, target = self.parser.get_method().decode("latin-1"), self.url.decode("latin-1")
        transport, make = self.transport, self.socket_factory
        self.parser = self.scope = self.headers = self.flow = self.transport = None  # type: ignore[assignment]
        socket = make()
        transport.set_protocol(socket)
        socket.open(transport, method, target, headers, rest)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer, and go on swallowing for a moment: closing upon unread bytes would reset the answer away."""
        self.metrics.refused.labels(code).inc()
        self._refused = True
        self._disarm()
        if not self._idle():
            self.cycle.keep_alive = False  # the request before this one is still answered
            return
        body = error_json(wire.ErrorBody(code=code, message=message, retryable=status in (408, 503)))
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *([f"retry-after: {RETRY_AFTER_SECONDS}"] if status == 503 else []),
        ]
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(408, "head_too_slow", f"a request's head must be complete within {HEAD_SECONDS:.0f} seconds")

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
