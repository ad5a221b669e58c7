"""A client's side of the conversation on one socket: frames in, events out, whatever carries them.

Frames of one session run in the order in which they came; several sessions on one socket
run beside each other, and the socket goes on reading while they do. What concerns the turn
that runs does not wait for it: a cancel, and a message that is not to be queued. A socket
speaks to one Role at a time, and for one user or several: what it says goes to a session of
that Role and that user, so the same session_id may name several.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from rolehost_api import identity, wire
from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.auth import acting, seconds_left
from rolehost_runtime.gateway.edge.handshake import Address, Dialect, Opening, address, find_role
from rolehost_runtime.gateway.edge.hub import MOVED, SERVICE_RESTART, Hub, Live
from rolehost_runtime.gateway.edge.outbox import TRY_AGAIN_LATER, Carrier, Outbox
from rolehost_runtime.gateway.edge.telling import Telling
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Principal, SessionHandle, Sessions
from rolehost_runtime.gateway.scores import NoScores, Scores
from rolehost_runtime.gateway.tables import Tables

log = logging.getLogger(__name__)

MAX_PENDING = 32
MAX_SESSIONS = 32
"""Attached on one socket; beyond them the one that was quiet longest is let go of."""
AGAIN_SECONDS = 30.0
"""A client that falls behind once more within them is let go of."""
NORMAL = 1000
NOBODY: frozenset[int] = frozenset()
RECONNECT_MS = 0
"""At once: sockets are asked to move one after the other already."""

Frame = wire.Said | wire.Resume | wire.Cancel


class Paced(Carrier, Protocol):
    """A carrier that gives signs of life, and listens for them."""

    def hurry(self, urgent: bool) -> None:
        """Oftener from now on, or as before."""

    def pace(self, heartbeat_ms: int) -> int:
        """So often, as the client wishes; returns what is taken of that."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What every conversation of this process shares."""

    tables: Tables
    sessions: Sessions
    hub: Hub
    metrics: Metrics
    now_ms: Callable[[], int]
    scores: Scores = field(default_factory=NoScores)

    @contextmanager
    def asking(self, principal: Principal, role_name: str) -> Iterator[None]:
        """Within it a message is on its way to its session; one that does not come there is counted."""
        try:
            yield
        except RolehostError as error:
            self.scores.refused(principal.tenant, role_name, error)
            raise

    def clock(self) -> float:
        """Seconds of a clock that only goes forward."""
        return asyncio.get_running_loop().time()

    def admit(self, socket: Live, principal: Principal) -> None:
        """It is told when its key is revoked, when its token expires, and when this gateway leaves."""
        self.hub.add(socket, seconds_left(principal, self.now_ms()))


@dataclass(slots=True, eq=False)
class _Line:
    """One session on this socket."""

    at: Address
    principal: Principal
    session_id: str
    of: wire.Of | UnsetType
    """What tells its events from those of the sessions that the socket was opened for."""
    pending: deque[Frame | None] = field(default_factory=deque)
    """None: only attach."""
    handle: SessionHandle | None = None
    working: bool = False
    aside: int = 0
    """Frames that run beside the working one."""
    saying: list[Telling] = field(default_factory=list)
    """Of the messages that run."""
    behind: bool = False
    """What happens is not told, until a snapshot says what it came to."""

    def tagged(self, event: wire.ServerFrame) -> wire.ServerFrame:
        return event if self.of is UNSET else replace(event, of=self.of)


class _Ear:
    """Implements ports.Channel."""

    __slots__ = ("_conversation", "_line")

    def __init__(self, conversation: "Conversation", line: _Line) -> None:
        self._conversation = conversation
        self._line = line

    def send(self, event: wire.ServerFrame) -> None:
        for telling in self._line.saying:
            telling.hear(event)
        if self._line.behind and not isinstance(event, wire.Snapshot):
            return
        self._line.behind = False
        if isinstance(event, wire.Urgent):
            self._conversation.hurry(self._line, event.is_urgent)
        self._conversation.emit(self._line.tagged(event))

    async def room(self) -> bool:
        return await self._conversation.room()


class Conversation:
    __slots__ = (
        "_at",
        "_fell_at",
        "_finishing",
        "_gate",
        "_gone",
        "_hears",
        "_home",
        "_lines",
        "_migrating",
        "_opening",
        "_out",
        "_pending",
        "_principal",
        "_socket",
        "_urgent",
        "_word",
    )

    def __init__(self, gate: Gate, socket: Paced, principal: Principal, opening: Opening) -> None:
        self._gate = gate
        self._socket = socket
        self._principal = principal
        self._opening: Opening | None = opening
        self._home = self._at = opening.address
        """The Role that it was opened for, and the one that is spoken to."""
        self._lines: dict[tuple[str, str, str], _Line] = {}
        """By Role, user and session_id; those that were quiet longest first."""
        self._word = opening.session_id or ""
        """The session_id of frames that say none; empty until one has come."""
        self._pending = 0
        self._out = Outbox(socket, self._fell_behind)
        self._fell_at: float | None = None
        self._urgent = NOBODY
        """Sessions of this socket that are urgent."""
        self._gone = False
        self._migrating = False
        self._finishing = False
        self._hears = _hears(opening)

    def start(self) -> None:
        """Open the session that the address named, so that its events come without a word said. Called once."""
        opening, self._opening = self._opening, None
        if opening is not None and opening.session_id is not None:
            after = opening.after_seq
            first = None if after is None else wire.Resume(session_id=opening.session_id, after_seq=after)
            self._queue(first, self._line(self._principal, opening.session_id))

    # ── from the client ─────────────────────────────────────────────────────────────

    def on_text(self, data: bytes) -> None:
        self.on_frame(wire.read_frame, data)

    def on_packed(self, data: bytes) -> None:
        """A frame in msgpack."""
        self.on_frame(wire.read_packed, data)

    def on_frame(self, read: Callable[[bytes], wire.ClientFrame], data: bytes) -> None:
        """A frame in whatever `read` reads; what is wrong with it is told, and the next one is listened to."""
        self._gate.metrics.frames_in += 1
        frame: wire.ClientFrame | None = None
        try:
            frame = read(data)
            if isinstance(frame, wire.Ping):
                now = self._gate.now_ms()
                self.emit(wire.Pong(session_id=None, seq=None, ts=now, t=frame.t, server_t=now))
                return
            if isinstance(frame, wire.Update):
                self._update(frame.session)
                return
            who = acting(self._principal, frame.user)
            word = self._session(frame.session_id)
            if self._migrating and not isinstance(frame, wire.Cancel):
                raise Unavailable("the gateway restarts", hint="Connect again", code="draining")
            if self._pending >= MAX_PENDING:
                raise Overloaded(f"{MAX_PENDING} frames of this socket wait already", code="busy")
            to = self._role(who, frame.role) if isinstance(frame, wire.Switch) else self._at
        except RolehostError as error:
            if frame is None or isinstance(frame, wire.Said):
                self._gate.scores.refused(self._principal.tenant, self._at.name, error)
            self.tell(None, error, about=frame)
            return
        came, self._at = self._at, to
        line = self._line(who, word)
        if isinstance(frame, wire.Switch):
            now = self._gate.now_ms()
            switched = wire.Switched(session_id=word, seq=None, ts=now, from_=came.name, to=to.name)
            self.emit(line.tagged(switched))
            self._queue(None, line)
        else:
            self._queue(frame, line)

    def _update(self, wishes: wire.Wishes) -> None:
        taken = self._socket.pace(wire.HEARTBEAT_MS if wishes.heartbeat_ms is None else wishes.heartbeat_ms)
        self.emit(wire.Updated(session_id=None, seq=None, ts=self._gate.now_ms(), heartbeat_ms=taken))

    def _session(self, asked: str | None) -> str:
        """The session_id that a frame means."""
        word = identity.session_id(asked) if asked is not None else self._word or secrets.token_hex(12)
        self._word = self._word or word
        return word

    def _role(self, who: Principal, asked: str) -> Address:
        """The address of a Role that is there for this principal. Raises NotFound."""
        at = address(asked)
        find_role(self._gate.tables.roles, who, at)
        return at

    def _line(self, who: Principal, session_id: str) -> _Line:
        """The session of that name with the Role that is spoken to."""
        key = (self._at.name, who.user, session_id)
        line = self._lines.pop(key, None)
        if line is None:
            home = (self._at.name, who.user) == (self._home.name, self._principal.user)
            of = UNSET if home else wire.Of(role=self._at.name, user=who.user)
            line = _Line(self._at, who, session_id, of)
        self._lines[key] = line  # the newest last
        return line

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
                migrate = wire.Migrate(
                    session_id=line.session_id, seq=None, ts=now, reconnect_after_ms=RECONNECT_MS, reason="drain"
                )
                self.emit(line.tagged(migrate))
        self._socket.close(SERVICE_RESTART, MOVED)

    def on_writable(self) -> None:
        self._out.on_writable()

    def on_gone(self) -> None:
        """The client is gone. What it had said already runs on; nobody listens any more."""
        self._gone = True
        self._out.on_gone()
        for line in self._lines.values():
            if line.handle is not None and not line.working and not line.aside:
                line.handle.detach()
        self._lines.clear()

    # ── to the client ───────────────────────────────────────────────────────────────

    def emit(self, event: wire.ServerFrame) -> None:
        if self._gone:
            return
        if not isinstance(event, self._hears):
            if isinstance(event, wire.Resumed) and event.gap:
                lost = RolehostError("a part of this session's history is lost", code=event.code or "resume_lost")
                self.tell(event.session_id, lost, event.of)
            return
        self._out.put(event)

    async def room(self) -> bool:
        return await self._out.room()

    def hurry(self, line: _Line, urgent: bool) -> None:
        """One of the sessions is urgent, or not any more. Who is not told of it is not held to it either."""
        if not issubclass(wire.Urgent, self._hears):
            return
        before = bool(self._urgent)
        self._urgent = self._urgent | {id(line)} if urgent else self._urgent - {id(line)}
        if bool(self._urgent) != before:
            self._socket.hurry(bool(self._urgent))

    def _fell_behind(self) -> bool:
        """The client reads far slower than things happen, and what waited for it was dropped: each session is told
        as it stands, once there is room. False where the client cannot be helped so."""
        now, before = self._gate.clock(), self._fell_at
        if not issubclass(wire.Snapshot, self._hears) or (before is not None and now - before < AGAIN_SECONDS):
            return False
        self._fell_at = now
        self._gate.metrics.slow_clients.inc()
        for line in self._lines.values():
            if line.handle is not None:
                line.behind = True
                line.aside += 1
                self._pending += 1
                self._gate.hub.start(self._snapshot(line, line.handle))
        return True

    async def _snapshot(self, line: _Line, handle: SessionHandle) -> None:
        try:
            await handle.resume(0, whole=True)
        except Exception as error:
            faults.told(log, "telling a session whole", error)
            self._socket.close(TRY_AGAIN_LATER, "what was missed cannot be told now")
        finally:
            line.aside -= 1
            self._pending -= 1
            self._rest(line)

    def tell(
        self,
        session_id: str | None,
        error: RolehostError,
        of: wire.Of | UnsetType = UNSET,
        *,
        about: wire.ClientFrame | None = None,
    ) -> None:
        """Of what it is about the frame names the id, or the Role: several frames of a session may run at once."""
        self._gate.metrics.told(error)
        self.emit(
            wire.Error(
                session_id=session_id,
                seq=None,
                ts=self._gate.now_ms(),
                of=of,
                error=wire.error_body(error),
                client_msg_id=about.client_msg_id if isinstance(about, wire.Said) else None,
                response_id=about.response_id if isinstance(about, wire.Cancel) else None,
                role=about.role if isinstance(about, wire.Switch) else UNSET,
            )
        )

    # ── one session after the other ─────────────────────────────────────────────────

    def _queue(self, frame: Frame | None, line: _Line) -> None:
        self._pending += 1
        line.pending.append(frame)
        if line.handle is not None:
            self._step_aside(line)
        if not line.working:
            line.working = True
            self._gate.hub.start(self._work(line))
        if len(self._lines) > MAX_SESSIONS:
            self._let_go()

    async def _work(self, line: _Line) -> None:
        while line.pending:
            frame = line.pending.popleft()
            await self._run_and_tell(line, frame)
        line.working = False
        self._rest(line)

    def _step_aside(self, line: _Line) -> None:
        """Run what must not wait for the frame that runs beside it."""
        waiting = line.pending if line.working else ()
        for frame in [frame for frame in waiting if _at_once(frame)]:
            line.pending.remove(frame)
            line.aside += 1
            self._gate.hub.start(self._beside(line, frame))

    async def _beside(self, line: _Line, frame: Frame | None) -> None:
        """A frame that concerns the one that runs."""
        await self._run_and_tell(line, frame)
        line.aside -= 1
        self._rest(line)

    async def _run_and_tell(self, line: _Line, frame: Frame | None) -> None:
        telling = Telling(frame.client_msg_id) if isinstance(frame, wire.Said) else None
        if telling is not None:
            line.saying.append(telling)
        try:
            await self._run(line, frame)
        except Exception as error:
            told = faults.told(log, "running a frame", error)
            if telling is None or telling.code != told.code:
                self.tell(line.session_id, told, line.of, about=frame)
        finally:
            self._pending -= 1
            if telling is not None:
                line.saying.remove(telling)

    def _rest(self, line: _Line) -> None:
        """Something of this line is over."""
        if self._gone and line.handle is not None and not line.working and not line.aside:
            line.handle.detach()
        if self._migrating and not self._pending and not self._gone:
            self._leave()
        elif self._finishing and not self._pending and not self._gone:
            self._socket.close(NORMAL)

    async def _run(self, line: _Line, frame: Frame | None) -> None:
        if line.handle is None:
            said = isinstance(frame, wire.Said)
            with self._gate.asking(line.principal, line.at.name) if said else nullcontext():
                role = find_role(self._gate.tables.roles, line.principal, line.at)
                line.handle = await self._gate.sessions.attach(
                    line.principal, role, line.session_id, _Ear(self, line), revision=line.at.revision
                )
            self._step_aside(line)
        if isinstance(frame, wire.Said):
            await line.handle.say(replace(frame, session_id=line.session_id))
        elif isinstance(frame, wire.Cancel):
            await line.handle.cancel(frame.response_id, frame.heard)
        elif frame is not None:
            await line.handle.resume(frame.after_seq)

    def _let_go(self) -> None:
        for key, line in self._lines.items():
            if not line.working and not line.aside:
                if line.handle is not None:
                    line.handle.detach()
                self.hurry(line, False)
                del self._lines[key]
                return


def _at_once(frame: Frame | None) -> bool:
    """It says something about the turn that runs, and would come too late after it."""
    if isinstance(frame, wire.Said):
        return frame.busy_policy not in (None, "queue")
    return isinstance(frame, wire.Cancel)


def _hears(opening: Opening) -> tuple[type[wire.Event], ...]:
    if not opening.stream:
        return (wire.ResponseDone, wire.Error)
    return wire.BARE if opening.dialect is Dialect.BARE else (wire.Event,)
