"""A Role's session as the other side of a client core: a log, one turn at a time, and a connection that misbehaves.

It follows the gateway's rules (a resume replays the log and catches up with the turn that
runs, a known client_msg_id is answered from the log), and is told by a test what goes wrong.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.support.client_cases import shown

from rolehost.client.actions import Close, Connect, Phase, Send, Tell
from rolehost.client.core import Core

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
    again: bool = False
    """Another gateway gives it anew, under the same id."""


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
        if turn.again:
            self.tell({"type": "response.reset", "response_id": turn.response_id})
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

    def orphan(self) -> None:
        """The process is killed, and another one takes the turn up and gives its answer anew."""
        turn = self.turn
        self.waiting.clear()
        self.cut()
        if turn is not None:
            self.numbers += 1
            text = f"{turn.client_msg_id}, anew {self.numbers} 🐉龙."
            self.turn = Turn(turn.response_id, turn.client_msg_id, text, again=True)
            self.truth[turn.response_id] = text

    def other(self) -> None:
        """Somebody else in the same session says something."""
        self.numbers += 1
        self.message(f"x{self.numbers}")


# ── what happens to it ──────────────────────────────────────────────────────────────

HONEST = {
    "deliver": 30, "grow": 20, "commit": 4, "fail": 2, "die": 2, "orphan": 2, "cut": 3, "moved": 2, "say": 6, "other": 2, "soon": 14,
    "late": 1,
}  # fmt: skip
"""What a network and servers do, and how often."""
WILD = {**HONEST, "again": 6, "drop": 1, "swap": 6, "noise": 2}
"""What none should do as well: frames that come twice, never, or in another order."""
STEPS = 200
NOISE: tuple[dict[str, Any], ...] = (
    {"type": "response.output_text.delta", "response_id": "r1", "offset": 1, "delta": ""},
    {"type": "response.done", "seq": 99, "status": "completed"},
    {"type": "response.created", "response_id": 7},
    {"type": "session.resumed"},
    {"type": "error", "error": {"code": "busy", "retryable": True}},
    {"type": "session.migrate", "reconnect_after_ms": 100},
    {"type": "channel.urgent", "is_urgent": True},
)


def world(dice: Random, core: Core | None = None) -> World:
    made = World(core or Core(SESSION, dice.random, after_seq=0))
    made.core.start(0)
    made.act()
    return made


def perform(world: World, dice: Random, often: dict[str, int]) -> int:
    """Two hundred things happen. How many messages were said."""
    said = 0
    for kind in dice.choices(list(often), list(often.values()), k=STEPS):
        match kind:
            case "deliver":
                world.deliver()
                world.deliver()
            case "grow":
                world.grow(dice.randint(1, 6))
            case "commit" | "fail" | "die" | "orphan" | "cut" | "other":
                getattr(world, kind)()
            case "moved":
                world.cut(1012)
            case "soon":
                world.pass_time(dice.randint(1, 400))
            case "late":
                world.pass_time(dice.randint(1, 40_000))
            case "say":
                world.core.say(world.now, "hi", f"m{said}", patience_ms=10_000_000)
                world.act()
                said += 1
            case "again":
                world.deliver(dice.randint(0, 3), keep=True)
            case "drop" if world.line:
                world.line.popleft()
            case "swap":
                world.deliver(dice.randint(0, 3))
            case "noise":
                world.tell(dice.choice(NOISE))
    return said


def settle(world: World, said: int) -> None:
    """From now on everything works: long enough for every word to end."""
    for _ in range(400):
        while world.line and world.up:
            world.deliver()
        if all(f"m{number}" in world.ends for number in range(said)) and world.core.phase is Phase.READY:
            break
        world.grow(1)
        world.commit()
        world.pass_time(1_000)
    for _ in range(3):
        while world.line and world.up:
            world.deliver()
        world.pass_time(2_000)


# ── the same for another core ───────────────────────────────────────────────────────


class Recorded(Core):
    """A core that writes down what happens to it as the steps of a golden case."""

    def __init__(self) -> None:
        super().__init__(SESSION, lambda: 0.5, after_seq=0)
        self.case: dict[str, Any] = {"core": {"session_id": SESSION, "after_seq": 0}, "draw": 0.5, "steps": []}
        self._depth = 0

    def _note(self, now: float, step: dict[str, Any], happens: Callable[[], None]) -> None:
        before, self._depth = len(self.out), self._depth + 1
        try:
            happens()
        finally:
            self._depth -= 1
        if not self._depth:
            out = [shown(action) for action in self.out[before:]]
            self.case["steps"].append({"at": now, **step, "out": out, "is": {"phase": self.phase.value}})

    def start(self, now: float) -> None:
        self._note(now, {"do": "start"}, lambda: super(Recorded, self).start(now))

    def tick(self, now: float) -> None:
        self._note(now, {}, lambda: super(Recorded, self).tick(now))

    def opened(self, now: float) -> None:
        self._note(now, {"do": "opened"}, lambda: super(Recorded, self).opened(now))

    def heard(self, now: float, text: str | bytes) -> None:
        self._note(now, {"frame": json.loads(text)}, lambda: super(Recorded, self).heard(now, text))

    def lost(self, now: float, code: int = 1006, reason: str = "", status: int = 0) -> None:
        given = {"code": code, "reason": reason, "status": status}
        self._note(now, {"do": "lost", "with": given}, lambda: super(Recorded, self).lost(now, code, reason, status))

    def say(self, now: float, message: str, client_msg_id: str, *, patience_ms: int = 60_000, **more: Any) -> None:
        given = {"message": message, "client_msg_id": client_msg_id, "patience_ms": patience_ms, **more}
        self._note(
            now,
            {"do": "say", "with": given},
            lambda: super(Recorded, self).say(now, message, client_msg_id, patience_ms=patience_ms, **more),
        )


def recorded(seed: int) -> dict[str, Any]:
    """A bad day of two hundred things, as a case."""
    dice, core = Random(seed), Recorded()
    here = world(dice, core)
    settle(here, perform(here, dice, WILD))
    return core.case
