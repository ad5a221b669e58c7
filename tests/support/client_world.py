"""A Role's session as the other side of a client core: a log, one turn at a time, and a connection that misbehaves.

It follows the gateway's rules (a resume replays the log and catches up with the turn that
runs, a known client_msg_id is answered from the log), and is told by a test what goes wrong.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from rolehost.client.core import Close, Connect, Core, Send, Tell

SESSION = "s"
Frame = dict[str, Any]


@dataclass
class Turn:
    response_id: str
    client_msg_id: str
    text: str
    said: int = 0
    heard: int | None = None
    """How much of it was sent on the connection that stands; None: nobody there hears it."""


@dataclass
class World:
    """`core` is the client. Asserts at every event told that what is shown is a prefix of the truth."""

    core: Core
    now: float = 0
    log: list[Frame] = field(default_factory=list)
    line: deque[Frame] = field(default_factory=deque)
    """On its way to the client."""
    up: bool = False
    attached: bool = False
    turn: Turn | None = None
    waiting: deque[tuple[str, str]] = field(default_factory=deque)
    truth: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    """Messages in the order in which their answers were told."""
    answered: set[str] = field(default_factory=set)
    """Responses whose end was told."""
    numbers: int = 0

    # ── the client's side ───────────────────────────────────────────────────────────

    def act(self) -> None:
        while self.core.out:
            match self.core.out.pop(0):
                case Connect():
                    self.line.clear()
                    self.up, self.attached = True, False
                    self.core.opened(self.now)
                    self.attach()
                case Close():
                    self.gone()
                case Send(frame):
                    if self.up:
                        self.receive(frame)
                case Tell(event):
                    self.told(event)

    def told(self, event: Frame) -> None:
        kind, response_id = event["type"], event.get("response_id", "")
        if kind == "response.output_text.delta":
            assert response_id not in self.answered, "something was shown after the end"
            before = self.shown.get(response_id, "")
            assert event["offset"] == len(before), "a hole or a double"
            self.shown[response_id] = before + event["delta"]
            assert self.truth[response_id].startswith(self.shown[response_id])
        elif kind == "response.reset" or (kind == "response.done" and event["status"] == "failed"):
            self.shown.pop(response_id, None)
        elif kind == "response.done":
            assert response_id not in self.answered, "an answer was told twice"
            self.answered.add(response_id)
            assert event["message"] == self.truth[response_id]
            self.done.append(event["client_msg_id"])
        if kind in ("client.failed", "client.cancelled") or (kind == "response.done" and event["status"] != "failed"):
            self.ends.setdefault(event["client_msg_id"], []).append(kind)

    def pass_time(self, ms: float) -> None:
        until = self.now + ms
        while (due := self.core.due()) is not None and due <= until:
            assert due >= self.now - 1e-6 or due <= until
            self.now = max(self.now, due)
            self.core.tick(self.now)
            self.act()
        self.now = until

    # ── the connection ──────────────────────────────────────────────────────────────

    def gone(self) -> None:
        self.up = self.attached = False
        self.line.clear()
        if self.turn is not None:
            self.turn.heard = None

    def cut(self, code: int = 1006) -> None:
        if self.up:
            self.gone()
            self.core.lost(self.now, code)
            self.act()

    def deliver(self, place: int = 0, *, keep: bool = False) -> None:
        if self.up and len(self.line) > place:
            frame = self.line[place]
            if not keep:
                del self.line[place]
            self.core.heard(self.now, json.dumps(frame))
            self.act()

    # ── the server's side ───────────────────────────────────────────────────────────

    def tell(self, frame: Frame) -> None:
        if self.attached:
            self.line.append({"session_id": SESSION, "seq": None, **frame})

    def attach(self) -> None:
        self.attached = True
        self.tell({"type": "session.created", "head": len(self.log), "version": 0, "heartbeat_ms": 5000})

    def receive(self, frame: Frame) -> None:
        match frame["type"]:
            case "ping":
                self.tell({"type": "pong", "t": frame["t"]})
            case "session.resume":
                self.resume(frame["after_seq"])
            case "message":
                self.message(frame["client_msg_id"])

    def resume(self, after: int) -> None:
        lost = after > len(self.log)
        after = 0 if lost else after
        self.tell({"type": "session.resumed", "from_seq": after + 1, "to_seq": len(self.log), "gap": lost})
        for event in self.log[after:]:
            self.tell({**event, "replay": True})
        self.catch_up()

    def catch_up(self) -> None:
        turn = self.turn
        if turn is not None and turn.heard is None:
            self.began(turn)
            if turn.said:
                self.delta(turn, 0)

    def message(self, message_id: str) -> None:
        for event in self.log:
            if event.get("client_msg_id") == message_id:
                self.tell({**event, "replay": True})
                return
        if self.turn is not None and self.turn.client_msg_id == message_id:
            self.catch_up()
        elif all(message_id != waiting for waiting, _ in self.waiting):
            self.numbers += 1
            self.waiting.append((message_id, f"{message_id}, answer {self.numbers} 龙🐉."))
            self.begin()

    def began(self, turn: Turn) -> None:
        turn.heard = 0
        self.tell({"type": "response.created", "response_id": turn.response_id, "client_msg_id": turn.client_msg_id})

    def delta(self, turn: Turn, offset: int) -> None:
        piece = turn.text[offset : turn.said]
        self.tell(
            {
                "type": "response.output_text.delta",
                "response_id": turn.response_id,
                "offset": offset,
                "delta": piece,
            }
        )
        turn.heard = turn.said

    def begin(self) -> None:
        if self.turn is None and self.waiting:
            message_id, text = self.waiting.popleft()
            self.turn = Turn(f"r{len(self.truth) + 1}", message_id, text)
            self.truth[self.turn.response_id] = text
            if self.attached:
                self.began(self.turn)

    def grow(self, chars: int) -> None:
        turn = self.turn
        if turn is not None and turn.said < len(turn.text):
            offset, turn.said = turn.said, min(len(turn.text), turn.said + chars)
            if turn.heard is not None:
                self.delta(turn, offset)

    def commit(self) -> None:
        turn, self.turn = self.turn, None
        if turn is not None:
            ids = {"response_id": turn.response_id, "client_msg_id": turn.client_msg_id}
            for event in (
                {"type": "custom.note"},
                {"type": "response.done", "status": "completed", "message": turn.text} | ids,
            ):
                self.log.append({**event, "seq": len(self.log) + 1})
                self.tell(self.log[-1])
            self.begin()

    def fail(self) -> None:
        turn, self.turn = self.turn, None
        if turn is not None:
            error = {"code": "model_timeout", "message": "no", "retryable": True}
            ids = {"response_id": turn.response_id, "client_msg_id": turn.client_msg_id}
            self.tell({"type": "response.done", "status": "failed", "message": "", "error": error, **ids})
            self.begin()

    def die(self) -> None:
        """The process is killed: what is not in the log is gone."""
        self.turn = None
        self.waiting.clear()
        self.cut()

    def other(self) -> None:
        """Somebody else in the same session says something."""
        self.numbers += 1
        self.message(f"x{self.numbers}")
