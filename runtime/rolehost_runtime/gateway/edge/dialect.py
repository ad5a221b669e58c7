"""A client's side of the conversation on one socket: frames in, events out, whatever carries them.

Frames of one session run in the order in which they came; several sessions on one socket
run beside each other, and the socket goes on reading while they do.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from rolehost_api import identity, wire
from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.handshake import Dialect, Opening, find_role
from rolehost_runtime.gateway.edge.hub import MOVED, SERVICE_RESTART, Hub
from rolehost_runtime.gateway.edge.outbox import Carrier, Outbox
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Principal, SessionHandle, Sessions
from rolehost_runtime.gateway.tables import Tables

log = logging.getLogger(__name__)

MAX_PENDING = 32
MAX_SESSIONS = 32
"""Attached on one socket; beyond them the one that was quiet longest is let go of."""
NORMAL = 1000
RECONNECT_MS = 0
"""At once: sockets are asked to move one after the other already."""

Frame = wire.Said | wire.Resume


@dataclass(frozen=True, slots=True)
class Gate:
    """What every conversation of this process shares."""

    tables: Tables
    sessions: Sessions
    hub: Hub
    metrics: Metrics
    now_ms: Callable[[], int]

    def clock(self) -> float:
        """Seconds of a clock that only goes forward."""
        return asyncio.get_running_loop().time()


@dataclass(slots=True, eq=False)
class _Line:
    """One session on this socket, or the one that is still without a name."""

    key: str
    pending: deque[Frame | None] = field(default_factory=deque)
    """None: only attach."""
    handle: SessionHandle | None = None
    working: bool = False
    failed: str = ""
    """Code of the failed turn that the client was told of since the running frame began."""


class _Ear:
    """Implements ports.Channel."""

    def __init__(self, conversation: "Conversation", line: _Line) -> None:
        self._conversation = conversation
        self._line = line

    def send(self, event: wire.ServerFrame) -> None:
        if isinstance(event, wire.ResponseDone) and event.error is not None:
            self._line.failed = event.error.code
        self._conversation.emit(event)

    async def room(self) -> bool:
        return await self._conversation.room()


class Conversation:
    def __init__(self, gate: Gate, socket: Carrier, principal: Principal, opening: Opening) -> None:
        self._gate = gate
        self._socket = socket
        self._principal = principal
        self._opening = opening
        self._lines: dict[str, _Line] = {}
        self._unnamed = opening.session_id or ""
        """The line of frames without a session_id."""
        self._pending = 0
        self._out = Outbox(socket)
        self._gone = False
        self._migrating = False
        self._finishing = False
        self._hears = _hears(opening)

    def start(self) -> None:
        """Open the session that the address named, so that its events come without a word said."""
        opening = self._opening
        if opening.session_id is not None:
            after = opening.after_seq
            self._queue(
                None if after is None else wire.Resume(session_id=opening.session_id, after_seq=after), self._unnamed
            )

    # ── from the client ─────────────────────────────────────────────────────────────

    def on_text(self, data: bytes) -> None:
        self.on_frame(wire.read_frame, data)

    def on_packed(self, data: bytes) -> None:
        """A frame in msgpack."""
        self.on_frame(wire.read_packed, data)

    def on_frame(self, read: Callable[[bytes], wire.ClientFrame], data: bytes) -> None:
        """A frame in whatever `read` reads; what is wrong with it is told, and the next one is listened to."""
        self._gate.metrics.frames_in += 1
        try:
            frame = read(data)
            if isinstance(frame, wire.Ping):
                now = self._gate.now_ms()
                self.emit(wire.Pong(session_id=None, seq=None, ts=now, t=frame.t, server_t=now))
                return
            key = self._unnamed if frame.session_id is None else identity.session_id(frame.session_id)
            self._unnamed = self._unnamed or key
            if self._migrating:
                raise Unavailable("the gateway restarts", hint="Connect again", code="draining")
            if self._pending >= MAX_PENDING:
                raise Overloaded(f"{MAX_PENDING} frames of this socket wait already", code="busy")
        except RolehostError as error:
            self.tell(None, error)
            return
        self._queue(frame, key)

    def migrate(self) -> None:
        """The gateway stops: once nothing of this socket runs any more, the client is asked to come again."""
        self._migrating = True
        if not self._pending:
            self._leave()

    def finish(self) -> None:
        """The client says no more, and listens until all that it said was answered."""
        self._finishing = True
        if not self._pending:
            self._socket.close(NORMAL)

    def _leave(self) -> None:
        for line in self._lines.values():
            if line.handle is not None:
                now = self._gate.now_ms()
                self.emit(
                    wire.Migrate(session_id=line.key, seq=None, ts=now, reconnect_after_ms=RECONNECT_MS, reason="drain")
                )
        self._socket.close(SERVICE_RESTART, MOVED)

    def on_writable(self) -> None:
        self._out.on_writable()

    def on_gone(self) -> None:
        """The client is gone. What it had said already runs on; nobody listens any more."""
        self._gone = True
        self._out.on_gone()
        for line in self._lines.values():
            if line.handle is not None and not line.working:
                line.handle.detach()
        self._lines.clear()

    # ── to the client ───────────────────────────────────────────────────────────────

    def emit(self, event: wire.ServerFrame) -> None:
        if self._gone:
            return
        if not isinstance(event, self._hears):
            if isinstance(event, wire.Resumed) and event.gap:
                lost = RolehostError("a part of this session's history is lost", code=event.code or "resume_lost")
                self.tell(event.session_id, lost)
            return
        self._out.put(event)

    async def room(self) -> bool:
        return await self._out.room()

    def tell(self, session_id: str | None, error: RolehostError) -> None:
        self._gate.metrics.told(error)
        self.emit(wire.Error(session_id=session_id, seq=None, ts=self._gate.now_ms(), error=wire.error_body(error)))

    # ── one session after the other ─────────────────────────────────────────────────

    def _queue(self, frame: Frame | None, key: str) -> None:
        line = self._lines.pop(key, None) or _Line(key)
        self._lines[key] = line  # the newest last
        self._pending += 1
        line.pending.append(frame)
        if not line.working:
            line.working = True
            self._gate.hub.start(self._work(line))
        if len(self._lines) > MAX_SESSIONS:
            self._let_go()

    async def _work(self, line: _Line) -> None:
        while line.pending:
            frame = line.pending.popleft()
            line.failed = ""
            try:
                await self._run(line, frame)
            except Exception as error:
                told = faults.told(log, "running a frame", error)
                if line.failed != told.code:
                    self.tell(line.key or None, told)
            finally:
                self._pending -= 1
        line.working = False
        if self._gone and line.handle is not None:
            line.handle.detach()
        if self._migrating and not self._pending and not self._gone:
            self._leave()
        elif self._finishing and not self._pending and not self._gone:
            self._socket.close(NORMAL)

    async def _run(self, line: _Line, frame: Frame | None) -> None:
        if line.handle is None:
            role = find_role(self._gate.tables.roles, self._principal, self._opening.address)
            line.handle = await self._gate.sessions.attach(
                self._principal, role, line.key or None, _Ear(self, line), revision=self._opening.address.revision
            )
            if not line.key:
                self._name(line, line.handle.session_id)
        if isinstance(frame, wire.Said):
            await line.handle.say(replace(frame, session_id=line.key))
        elif frame is not None:
            await line.handle.resume(frame.after_seq)

    def _name(self, line: _Line, session_id: str) -> None:
        """A session that was opened without a name got one."""
        if self._lines.get("") is line:
            del self._lines[""]
            self._lines[session_id] = line
        line.key = session_id
        self._unnamed = self._unnamed or session_id

    def _let_go(self) -> None:
        for key, line in self._lines.items():
            if not line.working:
                if line.handle is not None:
                    line.handle.detach()
                del self._lines[key]
                return


def _hears(opening: Opening) -> tuple[type[wire.Event], ...]:
    if not opening.stream:
        return (wire.ResponseDone, wire.Error)
    return wire.BARE if opening.dialect is Dialect.BARE else (wire.Event,)
