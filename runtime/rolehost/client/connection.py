"""One session's connections, one after the other: opening, catching up, losing and coming again. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from rolehost.client.actions import Action, Close, Phase, Send, Tell
from rolehost.client.backlog import Backlog
from rolehost.client.frames import Frame, number
from rolehost.client.known import Known, KnownShared
from rolehost.client.pauses import LOAD_MS, LOADED, LOSS_MS, MOVED, MOVED_MS, next_pause
from rolehost.client.polling import Polling
from rolehost.client.pulse import Pulse

RESUME_MS = 10_000
"""Without a replayed event, and a resume is taken for lost."""
STEADY_MS = 1_000
"""A connection that stood so long was a good one: the next pause is a first pause again."""
MOST_PAUSE_MS = 60_000
"""However long the server says."""
GONE = 1006


class Connection(ABC):
    """What is numbered is told in order and once, over whatever connections that takes."""

    def __init__(
        self, session_id: str, draw: Callable[[], float], *, after_seq: int | None, max_events: int, guest: bool
    ) -> None:
        self.session_id = session_id
        self.guest = guest
        """It speaks over another session's connection."""
        self.out: list[Action] = []
        self.phase = Phase.WAITING
        self.backlog = Backlog(max_events)
        self.pulse = Pulse()
        self.known = Known()
        self.shared = KnownShared()
        self.greeted: Frame = {}
        """The last `session.created`."""
        self.last = after_seq
        """Number of the last event that was told; None: the next one, whatever it is."""
        self._draw = draw
        self._polling = Polling()
        self._connect_at: float | None = None
        self._by: float | None = None
        """When the connection must have got further."""
        self._stood_since: float | None = None
        """Since when the session is open on this connection."""
        self._pause = 0
        self.trouble: Frame | None = None
        """The last error that was told, since the session was opened last."""
        self._told: Frame | None = None
        """The error that was the last thing heard on this connection; a close that follows means it."""
        self._leave_at: float | None = None
        """The server asked to come again: when, and after how long."""
        self._moving_ms: int | None = None
        self._replay_to: int | None = None
        """Where the replay ends; None before the server said so."""
        self._hole_at: int | None = None
        """The position of the last gap: the same twice, and resuming does not help."""
        self._weight = 0

    @abstractmethod
    def _flush(self, now: float) -> None:
        """Send what may be sent now."""

    @abstractmethod
    def _interrupted(self, now: float) -> None:
        """The connection is gone under what was on its way."""

    # ── opening and catching up ─────────────────────────────────────────────────────

    def _created(self, now: float, frame: Frame) -> None:
        if self.phase is not Phase.OPENING:
            return
        first, self.greeted = not self.greeted, frame
        self._stood_since, self._by, self.trouble = now, None, None
        if not self.guest:
            self.pulse.start(now, frame.get("heartbeat_ms"))
        if first:
            self.known.joined(frame, whole=self.last == 0)
        anew = self.last is None
        if anew:
            self.last = number(frame, "head") or 0
        self._tell(frame)
        if anew:
            self._ready(now)
        else:
            self._resume(now)

    def _resume(self, now: float) -> None:
        self.phase, self._by, self._replay_to = Phase.RESUMING, now + RESUME_MS, None
        after = {"after_seq": self.last or 0, "after_version": self.known.version}
        self._send({"type": "session.resume", "session_id": self.session_id, **after})

    def _resumed(self, now: float, frame: Frame) -> None:
        if self.phase is not Phase.RESUMING:
            return
        if frame.get("gap") is True:
            start = number(frame, "from_seq")
            self.last = start - 1 if start else None
            self.known.forget()
        self._replay_to = number(frame, "to_seq") or 0
        self._tell(frame)
        self._progress(now)

    def _snapshot(self, now: float, frame: Frame) -> None:
        self.known.whole(frame)
        at = number(frame, "at_seq")
        if at is not None and at > (self.last or 0):
            self.last = at
        self._tell(frame)
        if self.phase is Phase.READY:  # this end read too slowly: among what was left out may be an answer
            self._interrupted(now)
            self._flush(now)
        self._progress(now)

    def _progress(self, now: float) -> None:
        """A part of what was missed was told: is that all?"""
        if self.phase is Phase.RESUMING:
            self._by = now + RESUME_MS
            if self._replay_to is not None and (self.last is None or self.last >= self._replay_to):
                self._ready(now)

    def _ready(self, now: float) -> None:
        self.phase, self._by = Phase.READY, None
        self._flush(now)

    def _numbered(self, now: float, frame: Frame) -> bool:
        """Whether an event is the next one. Of those that are not, the old are dropped and the early asked for."""
        seq = number(frame, "seq")
        if seq is None:
            return True
        if self.last is None or seq == self.last + 1:
            self.last = seq
            return True
        if seq > self.last and self.phase is Phase.READY:
            self._gap(now)
        return False

    def _gap(self, now: float) -> None:
        if self._hole_at == self.last:
            self._drop(now, GONE, "events are missing")
        else:
            self._hole_at = self.last
            self._resume(now)

    # ── losing ──────────────────────────────────────────────────────────────────────

    def _migrate(self, now: float, frame: Frame) -> None:
        self._moving_ms = number(frame, "reconnect_after_ms") or 0
        self._leave_at = now + int(self._draw() * self._moving_ms)
        self._tell(frame)

    def _drop(self, now: float, code: int, reason: str) -> None:
        """Let go of the socket ourselves."""
        self.out.append(Close(1000))
        self._lost(now, code, reason)

    def _stall(self, now: float) -> None:
        """Nobody reads what came: no more of it, until somebody does."""
        if self.phase is not Phase.ENDED:
            self._drop(now, GONE, "events are not read")
            self.phase, self._connect_at = Phase.STALLED, None

    def _lost(self, now: float, code: int, reason: str) -> None:
        steady = self._stood_since is not None and now - self._stood_since >= STEADY_MS
        pause = self._pause_after(now, code, steady=steady)
        self.phase, self._connect_at = Phase.WAITING, now + pause
        self._by = self._stood_since = self._told = self._leave_at = self._moving_ms = None
        self.pulse.stop()
        self._polling.stop()
        self._interrupted(now)
        self._weight = 0
        self._tell({"type": "client.lost", "code": code, "reason": reason, "retry_ms": pause})

    def _pause_after(self, now: float, code: int, *, steady: bool) -> int:
        if steady:
            self._pause = 0
        if steady and (code == MOVED or self._leave_at is not None):
            if self._leave_at is not None and self._moving_ms is not None:
                return max(0, int(self._leave_at - now))
            return int(self._draw() * MOVED_MS)
        loaded = code in LOADED or self._told is not None
        self._pause = next_pause(self._draw(), self._pause, LOAD_MS if loaded else LOSS_MS)
        after = number(self._told or {}, "retry_after_ms")
        return max(self._pause, min(after, MOST_PAUSE_MS)) if after is not None else self._pause

    # ── the channel ─────────────────────────────────────────────────────────────────

    def _pong(self, now: float, frame: Frame) -> None:
        self.pulse.pong(now, frame.get("t"))

    def _updated(self, now: float, frame: Frame) -> None:
        self.pulse.paced(now, frame.get("heartbeat_ms"))
        self._tell(frame)

    def _urgent(self, now: float, frame: Frame) -> None:
        self.pulse.urgent(now, frame.get("is_urgent") is True, frame.get("heartbeat_ms"))
        self._tell(frame)

    def _degraded(self, now: float, frame: Frame) -> None:
        self._polling.told(now, frame)
        self._tell(frame)

    def _send(self, frame: Frame) -> None:
        self.out.append(Send(frame))

    def _tell(self, event: Frame) -> None:
        self.out.append(Tell(event))
        self.backlog.put(event, self._weight)
