"""What was said, and what came of it: each message ends once, and no text is shown twice. Pure."""

from collections.abc import Callable

from rolehost.client.actions import Close, Phase
from rolehost.client.connection import GONE, Connection
from rolehost.client.frames import Frame, error_of, number, word
from rolehost.client.known import USER
from rolehost.client.says import CANNOT_BE_ANSWERED, Say, Says
from rolehost.client.texts import Hole, Text, Texts


class Answers(Connection):
    """Every message ends once: with its response, or with the reason why not."""

    def __init__(
        self, session_id: str, draw: Callable[[], float], *, after_seq: int | None, max_events: int, guest: bool
    ) -> None:
        super().__init__(session_id, draw, after_seq=after_seq, max_events=max_events, guest=guest)
        self.error: Frame | None = None
        """Why the session ended."""
        self._says = Says()
        self._texts = Texts()

    # ── responses ───────────────────────────────────────────────────────────────────

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
            (self.shared if frame.get("scope") == USER else self.known).patched(frame)
            self._tell(frame)
            self._progress(now)

    def _error(self, now: float, frame: Frame) -> None:
        error = self._told = self.trouble = error_of(frame)
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

    # ── messages ────────────────────────────────────────────────────────────────────

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

    def _send_cancel(self, response_id: str, heard: Frame) -> None:
        what = {"heard": heard} if heard else {}
        self._send({"type": "response.cancel", "session_id": self.session_id, "response_id": response_id, **what})

    def _interrupted(self, now: float) -> None:
        self._says.lost(now)
        self._texts.lost()

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
