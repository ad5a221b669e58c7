"""One client's event stream over HTTP: bounded, alive, ended when it should be, and given up when nobody reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import StreamingResponse

from rolehost_api import wire
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.edge.dialect import RECONNECT_MS, Gate
from rolehost_runtime.gateway.edge.outbox import TRY_AGAIN_LATER, Outbox
from rolehost_runtime.gateway.edge.sse import BEAT
from rolehost_runtime.gateway.ports import Principal

BEAT_SECONDS = 15.0
PAUSE_BYTES = 1 << 16
"""Written and not yet taken: past them, events wait in the outbox, where neighbours are joined."""
WRITE_SECONDS = 30.0
"""For a client to take what was written to it."""
ABORT = "rolehost.abort"
"""Extension of the ASGI scope: cuts the connection, whatever is still to be sent."""
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Tongue(Protocol):
    """How events are said on this stream."""

    def said(self, event: wire.ServerFrame) -> bytes:
        """An event's bytes; empty where this client is not told of it."""

    def ended(self) -> bytes:
        """The last word where everything was said."""


class Stream:
    """Implements outbox.Carrier and hub.Live."""

    def __init__(
        self, gate: Gate, principal: Principal, tongue: Tongue, request: Request, *, follows: str = ""
    ) -> None:
        """`follows`: the session that is heard until the client goes; else the stream ends by `finish`."""
        self.key_sha256 = principal.key_sha256
        self.paused = False
        self._gate, self._principal = gate, principal
        self._tongue, self._follows = tongue, follows
        self._abort: Callable[[], None] = request.scope.get("extensions", {}).get(ABORT, _nothing)
        self._out = Outbox(self)
        self._written: list[bytes] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._ending = False
        self._timer: asyncio.TimerHandle | None = None
        self.refused: RolehostError | None = None
        """Why this client may not hear any more."""
        self.left: Callable[[], None] = _nothing
        """Called once when the client is gone, or everything was said."""

    # ── what is said ────────────────────────────────────────────────────────────────

    def put(self, event: wire.ServerFrame) -> None:
        if not self._ending:
            self._out.put(event)

    async def room(self) -> bool:
        return await self._out.room()

    def tell(self, session_id: str | None, error: RolehostError, client_msg_id: str | None = None) -> None:
        """`client_msg_id`: of the message that it is about."""
        self._gate.metrics.told(error)
        now, body = self._gate.now_ms(), wire.error_body(error)
        self.put(wire.Error(session_id=session_id, seq=None, ts=now, error=body, client_msg_id=client_msg_id))

    async def first(self) -> None:
        """Until there is something to be sent, or nothing will be. Before `pieces` are taken."""
        await self._news.wait()

    def finish(self) -> None:
        """Nothing comes any more; what waits is still sent."""
        self._ending = True
        self._news.set()

    # ── outbox.Carrier, hub.Live ────────────────────────────────────────────────────

    def send(self, event: wire.ServerFrame) -> None:
        said = self._tongue.said(event)
        if said:
            self._written.append(said)
            self._bytes += len(said)
            self.paused = self._bytes > PAUSE_BYTES
            self._news.set()

    def close(self, code: int, reason: str = "") -> None:
        """A client that does not read would not read a farewell either."""
        self.finish()
        if code == TRY_AGAIN_LATER:
            self._abort()

    def refuse(self, error: RolehostError) -> None:
        self.refused = error
        self.tell(self._follows or None, error)
        self.finish()

    def migrate(self) -> None:
        """One turn's stream ends with its turn anyway."""
        if self._follows:
            now = self._gate.now_ms()
            self.put(
                wire.Migrate(
                    session_id=self._follows, seq=None, ts=now, reconnect_after_ms=RECONNECT_MS, reason="drain"
                )
            )
            self.finish()

    # ── its bytes ───────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """It is among those that are told of a revoked key, of a token's end and of a leaving gateway, until it is
        `over`."""
        self._gate.admit(self, self._principal)
        self._gate.metrics.streams.inc()

    def over(self) -> None:
        self._disarm()
        self._gate.hub.remove(self)
        self._gate.metrics.streams.dec()
        self._ending = True
        self._out.on_gone()
        self.left()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What is to be written, as it comes; a comment where nothing comes for long."""
        while True:
            if not self._written and not self._ending:
                try:
                    async with asyncio.timeout(BEAT_SECONDS):
                        await self._news.wait()
                except TimeoutError:
                    self._written.append(BEAT)
            self._news.clear()
            data, self._written, self._bytes = b"".join(self._written), [], 0
            if data:
                self._timer = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._abort)
                yield data
                self._disarm()
                self.paused = False
                self._out.on_writable()
            elif self._ending:
                last = self._tongue.ended()
                if last:
                    yield last
                return

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class StreamAnswer(StreamingResponse):
    """A stream that is open, as an answer. Whoever goes away, it is over afterwards."""

    def __init__(self, stream: Stream, headers: dict[str, str] | None = None) -> None:
        super().__init__(stream.pieces(), media_type="text/event-stream", headers=HEADERS | (headers or {}))
        self._stream = stream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.over()


def _nothing() -> None:
    """Nothing is to be done."""
