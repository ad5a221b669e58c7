"""What a client does, without a socket, a clock or a task: what happened goes in, what is to be done comes out.

Every input takes `now`, milliseconds of a clock that never goes back, and leaves what is to
be done in `out`. The same machine is written once more in rolehost.js; tests/unit/client/cases
hold both to the same words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rolehost.client.backlog import DELTA, MAX_EVENTS, Backlog
from rolehost.client.frames import Frame, error_of, failure, number, read, word
from rolehost.client.known import Known
from rolehost.client.pauses import (
    CODES,
    FINAL_STATUS,
    LOAD_MS,
    LOADED,
    LOSS_MS,
    MOVED,
    MOVED_MS,
    UNAUTHORIZED,
    is_final,
    next_pause,
)
from rolehost.client.polling import Polling
from rolehost.client.pulse import Pulse
from rolehost.client.says import CANNOT_BE_ANSWERED, MAX_WAITING, Say, Says
from rolehost.client.texts import Hole, Text, Texts
from rolehost_api.errors import BadRequest, Overloaded
from rolehost_api.wire import MAX_FRAME_BYTES, MAX_MESSAGE_CHARS, encode

OPEN_MS = 20_000
"""From the first try of a connection to its `session.created`."""
RESUME_MS = 10_000
"""Without a replayed event, and a resume is taken for lost."""
STEADY_MS = 1_000
"""A connection that stood so long was a good one: the next pause is a first pause again."""
PATIENCE_MS = 60_000
GONE = 1006
NOT_ANSWERED = failure(
    "not_answered",
    "no answer came in time",
    "Say it again with the same client_msg_id: it is answered once",
    retryable=True,
)
UNREACHABLE = failure("unreachable", "the gateway could not be reached in time", retryable=True)
CLOSED = failure("closed", "the session was closed")


class Phase(Enum):
    """Where the connection is."""

    WAITING = "waiting"
    """There is none, until the next try."""
    CONNECTING = "connecting"
    OPENING = "opening"
    """It stands; `session.created` has not come."""
    RESUMING = "resuming"
    """What was missed is being told."""
    READY = "ready"
    STALLED = "stalled"
    """It was dropped, because nobody reads the events that came."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket; then `opened`, `heard` and at last `lost`, of this one only."""


@dataclass(frozen=True, slots=True)
class Send:
    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Forget the socket; nothing of it is to be told any more."""

    code: int


@dataclass(frozen=True, slots=True)
class Poll:
    """GET this path of the same host, once, and tell `polled`."""

    path: str


@dataclass(frozen=True, slots=True)
class Tell:
    """An event for the user: the server's own, or one of ours, `client.*`."""

    event: Frame


Action = Connect | Send | Close | Poll | Tell


class Core:
    """One session. `draw` gives random numbers in [0, 1).

    `after_seq` is the last event that the user knows already: 0 tells the whole session, None what
    happens from now on. `renewable`: there is a fresh token for every connection.
    """

    def __init__(
        self,
        session_id: str,
        draw: Callable[[], float],
        *,
        after_seq: int | None = None,
        user: str | None = None,
        renewable: bool = False,
        max_events: int = MAX_EVENTS,
    ) -> None:
        self.session_id = session_id
        self.out: list[Action] = []
        self.phase = Phase.WAITING
        self.backlog = Backlog(max_events)
        self.pulse = Pulse()
        self.known = Known()
        self.greeted: Frame = {}
        """The last `session.created`."""
        self.error: Frame | None = None
        """Why it ended."""
        self.last = after_seq
        """Number of the last event that was told; None: the next one, whatever it is."""
        self._draw, self._user, self._renewable = draw, user, renewable
        self._says = Says()
        self._texts = Texts()
        self._polling = Polling()
        self._connect_at: float | None = None
        self._by: float | None = None
        """When the connection must have got further."""
        self._stood_since: float | None = None
        """Since when the session is open on this connection."""
        self._pause = 0
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

    # ── from the user ───────────────────────────────────────────────────────────────

    def start(self, now: float) -> None:
        self._connect_at = now
        self.tick(now)

    def say(self, now: float, message: str, client_msg_id: str, *, patience_ms: int = PATIENCE_MS, **more: Any) -> None:
        """Say something; it ends with `response.done`, `client.cancelled` or `client.failed` of this id.

        Raises BadRequest for what no server takes, Overloaded `busy` where too much waits already.
        """
        frame: Frame = {
            "type": "message",
            "message": message,
            "session_id": self.session_id,
            "client_msg_id": client_msg_id,
            **({} if self._user is None else {"user": self._user}),
            **{name: value for name, value in more.items() if value is not None},
        }
        if len(message) > MAX_MESSAGE_CHARS or len(encode(frame)) > MAX_FRAME_BYTES:
            raise BadRequest(
                "the message is too long",
                hint=f"At most {MAX_MESSAGE_CHARS} characters and {MAX_FRAME_BYTES} bytes",
                code="message_too_large",
            )
        if self._says.of(client_msg_id) is not None:
            raise BadRequest("a message with this client_msg_id waits already", code="said_already")
        if len(self._says.waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} messages wait for their answers already", code="busy")
        say = self._says.add(now, frame, patience_ms)
        if self.phase is Phase.ENDED:
            self._fail(say, self.error or CLOSED)
        self._flush(now)

    def cancel(self, now: float, client_msg_id: str | None = None, heard: Frame | None = None) -> None:
        """End an answer early: that of a message, else the oldest that is waited for, else whatever is being said.

        `heard`: {"chars": …, "audio_ms": …}, what the user took in (characters always); None: all that was sent.
        """
        say = self._says.of(client_msg_id) if client_msg_id else next(iter(self._says), None)
        if say is None:
            text = next((text for text in self._texts.open.values() if not text.stale), None)
            if text is not None and client_msg_id is None and self.phase is Phase.READY:
                self._send_cancel(text.response_id, heard or {})
            return
        say.cancel = heard or {}
        if not say.at_large:
            self._says.pop(say)
            self._tell({"type": "client.cancelled", "client_msg_id": say.id})
            self._flush(now)
        elif say.response_id is not None and say.sent:
            self._send_cancel(say.response_id, say.cancel)

    def listen(self) -> None:
        """Somebody reads events from now on, by `take`."""
        self.backlog.open = True

    def unlisten(self, now: float) -> None:
        """Nobody reads events any more."""
        self.backlog.shut()
        self.take(now)

    def take(self, now: float) -> Frame | None:
        """The next event for who reads them. A connection that was dropped for want of a reader comes back."""
        event = self.backlog.take()
        if self.phase is Phase.STALLED and self.backlog.roomy:
            self.phase, self._connect_at = Phase.WAITING, now
            self.tick(now)
        return event

    def give_up(self, error: Frame) -> None:
        """There is no use in trying on: the way to the gateway itself is broken."""
        if self.phase is not Phase.ENDED:
            self._end(error)

    def close(self) -> None:
        """The user is done with this session."""
        if self.phase is not Phase.ENDED:
            self._end(CLOSED, told=False)

    # ── from the world ──────────────────────────────────────────────────────────────

    def due(self) -> float | None:
        """When `tick` is to be called next, at the latest."""
        if self.phase is Phase.ENDED:
            return None
        leaving = None if any(say.sent for say in self._says) else self._leave_at
        times = [self._connect_at, self._by, self.pulse.due, self._polling.due, leaving]
        ready = self.phase is Phase.READY and self._leave_at is None
        return min((at for at in (*times, *self._says.due(ready=ready)) if at is not None), default=None)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.phase is Phase.ENDED:
            return
        if self._connect_at is not None and now >= self._connect_at:
            self._connect_at = None
            self.phase, self._by = Phase.CONNECTING, now + OPEN_MS
            self.out.append(Connect())
        if self._by is not None and now >= self._by:
            self._drop(now, GONE, "nothing came for too long")
        if self.pulse.due is not None and now >= self.pulse.due:
            if self.pulse.beat(now):
                self._send({"type": "ping", "t": int(now)})
            else:
                self._drop(now, GONE, "no sign of life")
        if self._leave_at is not None and now >= self._leave_at and not any(say.sent for say in self._says):
            self._drop(now, MOVED, "moved")
        for say in self._says.expired(now):
            away = self._stood_since is None and not say.at_large
            self._fail(say, say.error or (UNREACHABLE if away else NOT_ANSWERED))
        if (path := self._polling.next(now, self.known.version)) is not None:
            self.out.append(Poll(path))
        self._flush(now)

    def opened(self, now: float) -> None:
        """The socket stands."""
        if self.phase is Phase.CONNECTING:
            self.phase, self._by = Phase.OPENING, now + OPEN_MS

    def lost(self, now: float, code: int = GONE, reason: str = "", status: int = 0) -> None:
        """The socket is gone, or never stood; `status` of an HTTP answer instead of one."""
        if self.phase in (Phase.WAITING, Phase.STALLED, Phase.ENDED):
            return
        forgiven = (self._told or {}).get("retryable") is True or (
            code == UNAUTHORIZED and self._renewable and self._stood_since is not None
        )
        if is_final(code) and not forgiven:
            self._end(
                self._told or failure(CODES.get(code, "refused"), reason or f"the connection was closed ({code})")
            )
        elif status in FINAL_STATUS and not self.greeted:
            self._end(failure("no_gateway", f"what is asked for a socket answers HTTP {status}", "Check the address"))
        else:
            self._lost(now, code, reason)

    def heard(self, now: float, text: str | bytes) -> None:
        """A text frame."""
        frame = read(text)
        if self.phase not in (Phase.OPENING, Phase.RESUMING, Phase.READY) or frame is None:
            return
        if frame.get("session_id") not in (None, self.session_id):
            return
        self.pulse.alive()
        self._weight = len(text)
        if frame["type"] != "error":
            self._told = None
        on = self._handlers.get(frame["type"])
        if on is not None:
            on(self, now, frame)
        elif self._numbered(now, frame):
            self._tell(frame)
            self._progress(now)
        if self.backlog.full:
            self._stall(now)

    def polled(self, now: float, answer: Any) -> None:
        """What a poll brought: a JSON value, or None where it failed."""
        self._polling.answered(now)
        if isinstance(answer, dict) and self.known.whole(answer):
            self._tell({"type": "client.state", "version": self.known.version})

    # ── the connection ──────────────────────────────────────────────────────────────

    def _created(self, now: float, frame: Frame) -> None:
        if self.phase is not Phase.OPENING:
            return
        first, self.greeted = not self.greeted, frame
        self._stood_since, self._by = now, None
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
        self._says.lost(now)
        self._texts.lost()
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
        return max(self._pause, min(after, 60_000)) if after is not None else self._pause

    def _end(self, error: Frame, *, told: bool = True) -> None:
        self.out.append(Close(1000))
        self.phase, self.error = Phase.ENDED, error
        self._connect_at = self._by = self._leave_at = None
        self.pulse.stop()
        self._polling.stop()
        for say in self._says:
            self._fail(say, error)
        if told:
            self._tell({"type": "client.ended", "error": error})

    # ── answers ─────────────────────────────────────────────────────────────────────

    def _began(self, now: float, frame: Frame) -> None:
        response_id, message_id = word(frame, "response_id"), word(frame, "client_msg_id")
        if response_id is None or self._texts.over(response_id):
            return
        self._replaced(response_id, message_id, begun=True)
        text, new = self._texts.begin(response_id, message_id)
        say = self._says.of(message_id)
        if say is not None:
            say.response_id, say.at_large = response_id, True
            say.joined = response_id if text.client_msg_id != message_id else None
            if say.cancel is not None:
                self._send_cancel(response_id, say.cancel)
        if new:
            self._tell(frame)

    def _delta(self, now: float, frame: Frame) -> None:
        response_id, offset, delta = word(frame, "response_id"), number(frame, "offset"), word(frame, "delta")
        if response_id is None or offset is None or delta is None or self._texts.over(response_id):
            return
        text = self._texts.open.get(response_id)
        if text is None and offset == 0:
            self._replaced(response_id, None, begun=True)
            text, _ = self._texts.begin(response_id, None)
        try:
            if text is None:
                raise Hole
            at, new = text.length, text.add(offset, delta)
        except Hole:
            # On one connection nothing is missing but by a fault of the other end; a fresh one is told from the start.
            self._drop(now, GONE, "a piece of an answer is missing")
            return
        if new:
            whose = {} if text.client_msg_id is None else {"client_msg_id": text.client_msg_id}
            self._tell({**frame, **whose, "offset": at, "delta": new})

    def _reset(self, now: float, frame: Frame) -> None:
        text = self._texts.open.get(word(frame, "response_id") or "")
        if text is not None:
            self._clear(text)

    def _clear(self, text: Text) -> None:
        """What was shown of a response is void."""
        if text.length:
            self._tell({"type": "response.reset", "response_id": text.response_id, "client_msg_id": text.client_msg_id})
        text.clear()

    def _replaced(self, response_id: str, message_id: str | None, *, begun: bool) -> None:
        for text in self._texts.outdated(response_id, message_id, begun=begun):
            self._clear(text)

    def _done(self, now: float, frame: Frame) -> None:
        response_id, message_id = word(frame, "response_id") or "", word(frame, "client_msg_id")
        say = self._says.of(message_id)
        failed = frame.get("status") == "failed"
        if failed and number(frame, "seq") is None:
            self._failed(now, frame, response_id, say)
            return
        seen = self._texts.ended(response_id)
        last = self.last
        next_one = self._numbered(now, frame)
        early = not next_one and last is not None and (number(frame, "seq") or 0) > last
        if not early and (say is not None or (next_one and not seen)):
            self._replaced(response_id, message_id, begun=False)
            self._texts.end(response_id, durable=True)
            if say is not None:
                self._says.pop(say)
            self._tell(frame)
        elif not early and not next_one and frame.get("replay") is True and (asks := self._says.unanswered("steer")):
            asks.joined = response_id  # nothing old is told but to who asks again
        for joined in () if early else self._says.joined_to(response_id):
            self._says.pop(joined)
            self._tell({"type": "client.joined", "client_msg_id": joined.id, "response": frame})
        self._progress(now)
        self._flush(now)

    def _failed(self, now: float, frame: Frame, response_id: str, say: Say | None) -> None:
        """The turn came to nothing; the message may be sent again."""
        text = self._texts.open.get(response_id)
        if text is not None:
            self._clear(text)
        self._texts.end(response_id, durable=False)
        self._tell(frame)
        for one in (*(() if say is None else (say,)), *self._says.joined_to(response_id)):
            self._retry(now, one, error_of(frame))

    def _numbered_state(self, now: float, frame: Frame) -> None:
        if self._numbered(now, frame):
            self.known.patched(frame)
            self._tell(frame)
            self._progress(now)

    def _error(self, now: float, frame: Frame) -> None:
        error = self._told = error_of(frame)
        self._tell(frame)
        say = self._says.blamed(frame)
        about_a_cancel = word(frame, "response_id") is not None and word(frame, "client_msg_id") is None
        if error["code"] in CANNOT_BE_ANSWERED or about_a_cancel:
            return
        if say is not None:
            self._retry(now, say, error)
        elif self.phase in (Phase.OPENING, Phase.RESUMING):
            if error["retryable"]:
                self._drop(now, GONE, error["code"])
            else:
                self._end(error)

    def _retry(self, now: float, say: Say, error: Frame) -> None:
        if error["retryable"] and say.cancel is None and say.postpone(now, self._draw(), error):
            retry_ms = int(say.retry_at - now)
            self._tell({"type": "client.retry", "client_msg_id": say.id, "error": error, "retry_ms": retry_ms})
        elif say.cancel is not None:
            self._says.pop(say)
            self._tell({"type": "client.cancelled", "client_msg_id": say.id})
        else:
            self._fail(say, error)
        self._flush(now)

    def _fail(self, say: Say, error: Frame) -> None:
        self._says.pop(say)
        self._tell({"type": "client.failed", "client_msg_id": say.id, "error": error})

    def _flush(self, now: float) -> None:
        """Send what may be sent now."""
        if self.phase is not Phase.READY or self._leave_at is not None:
            return
        for say in self._says.sendable(now):
            say.sent = say.at_large = True
            self._send(say.frame)

    # ── the channel ─────────────────────────────────────────────────────────────────

    def _pong(self, now: float, frame: Frame) -> None:
        self.pulse.pong(now, frame.get("t"))

    def _urgent(self, now: float, frame: Frame) -> None:
        self.pulse.urgent(now, frame.get("is_urgent") is True, frame.get("heartbeat_ms"))
        self._tell(frame)

    def _degraded(self, now: float, frame: Frame) -> None:
        self._polling.told(now, frame)
        self._tell(frame)

    def _send_cancel(self, response_id: str, heard: Frame) -> None:
        what = {"heard": heard} if heard else {}
        self._send({"type": "response.cancel", "session_id": self.session_id, "response_id": response_id, **what})

    def _send(self, frame: Frame) -> None:
        self.out.append(Send(frame))

    def _tell(self, event: Frame) -> None:
        self.out.append(Tell(event))
        self.backlog.put(event, self._weight)

    _handlers: dict[str, Callable[["Core", float, Frame], None]] = {
        "session.created": _created,
        "session.resumed": _resumed,
        "session.snapshot": _snapshot,
        "session.migrate": _migrate,
        "response.created": _began,
        DELTA: _delta,
        "response.reset": _reset,
        "response.done": _done,
        "role.state.delta": _numbered_state,
        "error": _error,
        "pong": _pong,
        "channel.urgent": _urgent,
        "channel.degraded": _degraded,
    }
