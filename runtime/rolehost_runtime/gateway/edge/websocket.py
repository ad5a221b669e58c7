"""WebSocket bytes: an asyncio protocol over `frames`, without extensions.

It knows closing, liveness and how much may wait to be sent; what the text means is
the conversation's. uvicorn is handed this class as `Config(ws=…)`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from rolehost_api import wire
from rolehost_api.errors import BadRequest, ProtocolViolation, RolehostError, Unavailable
from rolehost_runtime.core.heartbeat import Beat, Heartbeat
from rolehost_runtime.gateway.edge.auth import Authenticator, acting, require
from rolehost_runtime.gateway.edge.dialect import Conversation, Gate
from rolehost_runtime.gateway.edge.frames import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    TOO_BIG,
    Frame,
    Frames,
    closing,
    framed,
)
from rolehost_runtime.gateway.edge.handshake import (
    Headers,
    answer,
    dialect,
    find_role,
    opening,
    packed,
    presented_key,
)
from rolehost_runtime.gateway.edge.outbox import TRY_AGAIN_LATER
from rolehost_runtime.gateway.edge.patience import MAX_FRAGMENTS, Flooded, Patience
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.tables import Scope

MAX_BUFFERED_BYTES = 1 << 21
"""What may wait when one more event is written, and the largest of them: 262,144 characters of six bytes."""
PAUSE_BYTES = 1 << 18
QUANTUM_BYTES = 1 << 13
"""Read before the other sockets have their turn: a frame may be 20 bytes long and takes some 25 µs."""
LINGER_SECONDS = 2.0
"""For the client to read our last words, and to close from its side."""
MAX_STAMP = 20
"""Digits of a ping's time."""
INTERNAL, NO_CODE = 1011, 1005


@dataclass(frozen=True, slots=True)
class Door:
    """What a handshake is judged by, and what stands behind it."""

    policy: Policy
    auth: Authenticator
    gate: Gate


class WebSocket(asyncio.Protocol):
    """Implements dialect.Paced, hub.Live and wheel.Rung."""

    __slots__ = (
        "_closing",
        "_conversation",
        "_door",
        "_frames",
        "_loop",
        "_over",
        "_packed",
        "_parts",
        "_parts_packed",
        "_patience",
        "_pulse",
        "_transport",
        "_unread",
        "goodbye",
        "key_sha256",
        "paused",
        "spoke",
    )

    def __init__(self, door: Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._pulse: Heartbeat
        self._frames = Frames(wire.MAX_FRAME_BYTES)
        self.goodbye = 0
        """Code of our close frame, which may echo the client's; 0: none was sent."""
        self._conversation: Conversation | None = None
        self._parts: bytearray | None = None
        """Of a message that came in fragments so far."""
        self._parts_packed = False
        """They are binary."""
        self._packed = False
        """Everything is said in msgpack, in binary frames."""
        self._unread: bytearray | None = None
        """What came at once and is more than a quantum, as far as it was not read."""
        self.spoke = 0
        self._patience = Patience(self._loop.time())
        self._closing = False
        """We said goodbye; what comes is read only for the client's own goodbye."""
        self._over = False
        """Nothing that still comes is looked at."""
        self.paused = False
        self.key_sha256 = ""

    # ── the handshake ───────────────────────────────────────────────────────────────

    def open(self, transport: asyncio.Transport, method: str, target: str, headers: Headers, rest: bytes) -> None:
        """Take over a connection whose request asked for an upgrade; `rest` came after the request."""
        self._transport = transport
        self._pulse, self._packed = Heartbeat(self._now(), *dialect(headers).value), packed(target)
        self._door.gate.hub.connections += 1
        transport.set_write_buffer_limits(high=PAUSE_BYTES)
        taken, answered = answer(method, headers)
        transport.write(answered)
        if not taken:
            self._finish()
            return
        try:
            self._enter(target, headers)
        except RolehostError as error:
            self._door.gate.metrics.handshakes.labels(error.code).inc()
            self.refuse(error)
        else:
            self._door.gate.metrics.handshakes.labels("ok").inc()
            self._rearm()
        if rest:
            self.data_received(rest)

    def _enter(self, target: str, headers: Headers) -> None:
        door = self._door
        if door.gate.hub.draining:
            raise Unavailable("the gateway restarts", hint="Connect again", code="draining")
        door.policy.check(_first(headers, "host"), _first(headers, "origin"))
        asked = opening(target, headers)
        principal = acting(door.auth.principal(presented_key(headers)), asked.user)
        require(principal, Scope.CHAT)
        find_role(door.gate.tables.roles, principal, asked.address)
        self.key_sha256 = principal.key_sha256
        self._conversation = Conversation(door.gate, self, principal, asked)
        door.gate.admit(self, principal)
        door.gate.metrics.sockets.inc()
        self._conversation.start()

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        self._pulse.heard(self._now())
        if self._unread is not None:
            self._unread += data
        elif len(data) > QUANTUM_BYTES:
            self._unread = bytearray(data)
            self._transport.pause_reading()
            self._read_on(self._unread)
        else:
            self._read(data)

    def _read_on(self, unread: bytearray) -> None:
        piece = bytes(unread[:QUANTUM_BYTES])
        del unread[:QUANTUM_BYTES]
        self._read(piece)
        if unread:
            self._loop.call_soon(self._read_on, unread)
            return
        self._unread = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _read(self, data: bytes) -> None:
        if self._over:
            return
        frames = self._frames
        for frame in frames.feed(data):
            if not self._closing:
                self._frame(frame)
        if frames.closed:
            self._parted()
        elif frames.wrong:
            self._violated(frames.wrong)

    def eof_received(self) -> None:
        self._over = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._door.gate.hub.wheel.drop(self)
        self._door.gate.hub.connections -= 1
        if self._conversation is not None:
            self._door.gate.hub.remove(self)
            self._door.gate.metrics.sockets.dec()
            self._conversation.on_gone()
            self._conversation = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._conversation is not None:
            self._conversation.on_writable()

    # ── outbox.Carrier, hub.Live ────────────────────────────────────────────────────

    def send(self, event: wire.ServerFrame) -> None:
        if not self.goodbye:
            self._door.gate.metrics.frames_out += 1
            self._write(self._said(event))

    def close(self, code: int, reason: str = "") -> None:
        if not self.goodbye:
            self._closing = True
            self._arm(LINGER_SECONDS)
            self._part(code, reason)

    def hurry(self, urgent: bool) -> None:
        self._pulse.urgent(self._now(), urgent)
        self._rearm()

    def pace(self, heartbeat_ms: int) -> int:
        taken = self._pulse.choose(self._now(), heartbeat_ms)
        self._rearm()
        return taken

    def _rearm(self) -> None:
        if not self._closing and not self._over:
            self._arm(self._pulse.every_ms / 1000)

    def migrate(self) -> None:
        if self._conversation is not None and not self._closing:
            self._conversation.migrate()

    def refuse(self, error: RolehostError) -> None:
        self._door.gate.metrics.told(error)
        self.send(_error_event(error, self._door.gate.now_ms()))
        self.close(error.close_code, error.code)

    # ── inside ──────────────────────────────────────────────────────────────────────

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (PING, PONG):
            if not self._patience.control(self._loop.time()):
                self._flooded(Flooded("more pings than keep a connection alive", hint="One in some seconds is enough"))
            elif frame.opcode == PING:
                self._write(framed(PONG, frame.data))
            else:
                self._answered(frame.data)
            return
        if frame.opcode != CLOSE and not self._patience.fragment(last=frame.fin):
            self._flooded(Flooded("a message comes in too many pieces", hint=f"At most {MAX_FRAGMENTS}"))
            return
        if frame.opcode == TEXT or (frame.opcode == BINARY and self._packed):
            if frame.fin:
                self._whole(frame.data, packed=frame.opcode == BINARY)
                return
            self._parts, self._parts_packed = bytearray(frame.data), frame.opcode == BINARY
        elif frame.opcode == CONT and self._parts is not None:
            self._parts += frame.data
        elif frame.opcode == BINARY and self._conversation is not None:
            refused = BadRequest(
                "binary frames are not understood",
                hint="Send JSON as text, or connect with ?fmt=msgpack",
                code="binary_not_supported",
            )
            self._conversation.tell(None, refused)
            return
        else:
            return
        if frame.fin and self._parts is not None:
            whole, self._parts = bytes(self._parts), None
            self._whole(whole, packed=self._parts_packed)

    def _whole(self, message: bytes, *, packed: bool) -> None:
        if not packed:
            self._text(message)
        elif self._conversation is not None:
            self._conversation.on_packed(message)

    def _flooded(self, error: Flooded) -> None:
        """What still comes is swallowed and not parsed: there may be a million frames of it."""
        self.refuse(error)
        self._over = True

    def _text(self, text: bytes) -> None:
        try:
            text.decode()
        except UnicodeDecodeError:
            self.refuse(_NotText("a text frame is not valid UTF-8"))
            return
        if self._conversation is not None:
            self._conversation.on_text(text)

    def _parted(self) -> None:
        """The client said goodbye: it hears the same, and that is all."""
        if not self.goodbye:
            echoed = self._frames.last
            self.goodbye = int.from_bytes(echoed[:2], "big") or NO_CODE
            self._write(framed(CLOSE, echoed))
        self._finish()

    def _violated(self, code: int) -> None:
        """This is not the protocol: say why, unless we said goodbye already, and hang up."""
        if not self.goodbye:
            self._say_why(code)
        if not self.goodbye:
            self._part(code)
        self._finish()

    def _say_why(self, code: int) -> None:
        if code == TOO_BIG:
            error: RolehostError = BadRequest(
                "the frame is too large", hint=f"At most {wire.MAX_FRAME_BYTES} bytes", code="frame_too_large"
            )
        else:
            error = ProtocolViolation("this is not the WebSocket protocol")
        self._door.gate.metrics.told(error)
        self._write(self._said(_error_event(error, self._door.gate.now_ms())))

    def _said(self, event: wire.ServerFrame) -> bytes:
        return framed(BINARY, wire.pack(event)) if self._packed else framed(TEXT, wire.encode(event))

    def _part(self, code: int, reason: str = "") -> None:
        self.goodbye = code
        self._write(closing(code, reason))

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_BUFFERED_BYTES:
            if not self.goodbye:
                self.close(TRY_AGAIN_LATER, "this client reads too slowly")
            else:
                self._abort()

    def _finish(self) -> None:
        """Our side has said its last. Closing at once, with bytes of the client unread, would reset the
        connection under what it has yet to read."""
        self._over = True
        if self._transport.is_closing():
            return
        if self._frames.closed:
            self._transport.close()
            return
        if self._transport.can_write_eof():
            with suppress(OSError):  # it is gone, and nothing was read since that would say so
                self._transport.write_eof()
        self._arm(LINGER_SECONDS)

    def ring(self) -> None:
        if self._closing or self._over:
            self._abort()
        else:
            self._beat()

    def _beat(self) -> None:
        now = self._now()
        match self._pulse.beat(now):
            case Beat.DEAD:
                self._door.gate.metrics.dead.inc()
                if not self.goodbye:
                    self._part(INTERNAL, "no sign of life")
                self._abort()
                return
            case Beat.ASK if not self.goodbye:
                self._write(framed(PING, b"%d" % now))
        self._rearm()

    def _answered(self, stamp: bytes) -> None:
        """A pong, which need not be to a ping of ours."""
        if stamp.isdigit() and len(stamp) < MAX_STAMP:
            took = self._pulse.answered(self._now(), int(stamp))
            if took is not None:
                self._door.gate.metrics.round_trips.observe(took / 1000)

    def _now(self) -> float:
        """Milliseconds of the loop's clock."""
        return self._loop.time() * 1000

    def _abort(self) -> None:
        self._transport.abort()

    def _arm(self, seconds: float) -> None:
        self._door.gate.hub.wheel.put(self, seconds)


class _NotText(BadRequest):
    code = "invalid_utf8"
    close_code = 1007


def _error_event(error: RolehostError, now_ms: int) -> wire.Error:
    return wire.Error(session_id=None, seq=None, ts=now_ms, error=wire.error_body(error))


def _first(headers: Headers, name: str) -> str | None:
    return next((value for given, value in headers if given == name), None)
