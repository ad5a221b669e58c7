"""What a client does, without a socket, a clock or a task: what happened goes in, what is to be done comes out.

Every input takes `now`, milliseconds of a clock that never goes back, and leaves what is to
be done in `out`. The same machine is written once more in rolehost.js; tests/unit/client/cases
hold both to the same words. `connection` knows losses and order, `answers` messages and texts.
"""

from collections.abc import Callable
from typing import Any

from rolehost.client.actions import Connect, Phase, Poll
from rolehost.client.answers import Answers
from rolehost.client.backlog import DELTA, MAX_EVENTS
from rolehost.client.connection import GONE
from rolehost.client.frames import Frame, failure, read
from rolehost.client.pauses import CODES, FINAL_STATUS, MOVED, UNAUTHORIZED, is_final
from rolehost.client.says import MAX_WAITING
from rolehost_api.errors import BadRequest, Overloaded
from rolehost_api.wire import MAX_FRAME_BYTES, MAX_MESSAGE_CHARS, encode

OPEN_MS = 20_000
"""From the first try of a connection to its `session.created`."""
PATIENCE_MS = 60_000
NOT_ANSWERED = failure(
    "not_answered",
    "no answer came in time",
    "Say it again with the same client_msg_id: it is answered once",
    retryable=True,
)
UNREACHABLE = failure("unreachable", "the gateway could not be reached in time", retryable=True)
CLOSED = failure("closed", "the session was closed")


class Core(Answers):
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
        guest: bool = False,
    ) -> None:
        super().__init__(session_id, draw, after_seq=after_seq, max_events=max_events, guest=guest)
        self.user, self._renewable = user, renewable

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
            **({} if self.user is None else {"user": self.user}),
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

    # ── of a connection that several share ──────────────────────────────────────────

    @property
    def stands(self) -> bool:
        """The session is open on a connection, and is not about to leave it."""
        return self.phase in (Phase.RESUMING, Phase.READY) and self._leave_at is None

    def says(self, client_msg_id: object) -> bool:
        """A message of this id waits for its answer."""
        return self._says.of(client_msg_id) is not None

    def hold(self) -> None:
        """There is nothing to connect over so far, however long that takes."""
        if self.phase is Phase.CONNECTING:
            self._by = None

    def call(self, now: float) -> None:
        """There is something to connect over: try now."""
        if self.phase is Phase.WAITING:
            self._connect_at = now
            self.tick(now)

    def drop(self, now: float, reason: str) -> None:
        """Let go of the connection, and make another."""
        if self.phase not in (Phase.WAITING, Phase.STALLED, Phase.ENDED):
            self._drop(now, GONE, reason)

    def refused(self, now: float, error: Frame) -> None:
        """It cannot be spoken to over this connection: try again later, or never."""
        self._told = self.trouble = error
        if error["retryable"]:
            self.lost(now, GONE, error["code"])
        else:
            self.give_up(error)

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
        if (path := self._polling.next(now, self.known.version, self.user)) is not None:
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
        """A frame of whatever session."""
        frame = read(text)
        if frame is not None and frame.get("session_id") in (None, self.session_id) and "of" not in frame:
            self.hear(now, frame, len(text))  # `of` tells those apart that go by the same name

    def hear(self, now: float, frame: Frame, weight: int) -> None:
        """A frame of this session's; `weight`: characters that it was."""
        if self.phase not in (Phase.OPENING, Phase.RESUMING, Phase.READY):
            return
        self.pulse.alive()
        self._weight = weight
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

    _handlers: dict[str, Callable[["Core", float, Frame], None]] = {
        "session.created": Answers._created,
        "session.resumed": Answers._resumed,
        "session.snapshot": Answers._snapshot,
        "session.migrate": Answers._migrate,
        "response.created": Answers._began,
        DELTA: Answers._delta,
        "response.reset": Answers._reset,
        "response.done": Answers._done,
        "role.state.delta": Answers._numbered_state,
        "error": Answers._error,
        "pong": Answers._pong,
        "session.updated": Answers._updated,
        "channel.urgent": Answers._urgent,
        "channel.degraded": Answers._degraded,
    }
