"""Several Roles behind one socket, as the other side of a client's switchboard. Each Role's session is a World.

The socket speaks to one of them at a time; events of all but the first say whose they are. What happens is written
down as the steps of a golden case, so that another switchboard can be held to the same day.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.support.client_cases import HOME, Table, shown
from tests.support.client_world import SESSION, World

from rolehost.client.actions import Close, Connect, Phase, Send, Tell
from rolehost.client.core import Core

Frame = dict[str, Any]
ROLES = (HOME, "cat", "tutor")
OFTEN = {
    "deliver": 40, "grow": 20, "commit": 5, "fail": 2, "die": 1, "orphan": 1, "cut": 3, "moved": 1, "say": 9, "other": 2, "soon": 14,
    "late": 1, "refuse": 2,
}  # fmt: skip
STEPS = 250
PATIENCE_MS = 10_000_000


@dataclass
class Room(World):
    """The session of one Role. `hub` is the socket that it is on."""

    role: str = ""
    hub: Any = None

    def tell(self, frame: Frame) -> None:
        if self.attached:
            of = {} if self.role == HOME else {"of": {"role": self.role}}
            self.hub.line.append({"session_id": SESSION, "seq": None, **of, **frame})

    def cut(self, code: int = 1006) -> None:
        self.hub.cut(code)

    def receive(self, frame: Frame) -> None:
        if frame["type"] == "message":
            assert frame["client_msg_id"].startswith(self.role), "a word was said to another Role than it was meant for"
        super().receive(frame)


@dataclass
class Socket:
    """One client with one socket; asserts in every room what a World asserts."""

    now: float = 0
    up: bool = False
    at: str = HOME
    line: deque[Frame] = field(default_factory=deque)
    refusals: int = 0
    """So many switches are refused from now on."""
    said: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    steps: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        home = Core(SESSION, lambda: 0.5, after_seq=0)
        self.table = Table(home, lambda: 0.5)
        self.rooms = {role: Room(home, role=role, hub=self) for role in ROLES}
        self._do({"do": "start"}, lambda: home.start(self.now))
        for role in ROLES[1:]:
            self._do({"do": "switch", "with": {"role": role, "session_id": SESSION, "after_seq": 0}}, lambda: self._switch(role))  # noqa: B023 - at once  # fmt: skip

    def _switch(self, role: str) -> None:
        core = self.table.board.switch(self.now, role, SESSION, after_seq=0)
        self.rooms[role].core = core
        self.table.number(core)

    @property
    def case(self) -> Frame:
        return {"core": {"session_id": SESSION, "after_seq": 0}, "draw": 0.5, "steps": self.steps}

    # ── the client's side ───────────────────────────────────────────────────────────

    def _do(self, step: Frame, happens: Callable[[], None]) -> None:
        happens()
        done = self.table.board.collect(self.now)
        out = [({"of": number} if (number := self.table.number(core)) else {}) | shown(action) for core, action in done]
        self.steps.append({"at": self.now, **step, "out": out, "is": {"phase": self._phase(step)}})
        for core, action in done:
            match action:
                case Connect():
                    self.line.clear()
                    self.up, self.at = True, HOME
                    self._do({"do": "opened"}, lambda: self.table.board.opened(self.now))
                    self.rooms[HOME].attach()
                case Close() if core is self.table.cores[0]:
                    self.gone()
                case Send(frame):
                    if self.up:
                        self.receive(frame)
                case Tell(event):
                    self.room(core).told(event)

    def _phase(self, step: Frame) -> str:
        return self.table.cores[step.get("of", 0)].phase.value

    def room(self, core: Core) -> Room:
        return next(room for room in self.rooms.values() if room.core is core)

    def pass_time(self, ms: float) -> None:
        until = self.now + ms
        while (due := self.table.board.due()) is not None and due <= until:
            self.now = max(self.now, due)
            self._do({}, lambda: self.table.board.tick(self.now))
        self.now = until

    def say(self, role: str) -> None:
        message_id = f"{role}-{self.said[role]}"
        self.said[role] += 1
        core = self.rooms[role].core
        given: Frame = {"message": "hi", "client_msg_id": message_id, "patience_ms": PATIENCE_MS}
        self._do({"do": "say", "of": self.table.number(core), "with": given}, lambda: core.say(self.now, **given))

    # ── the connection, and the server ──────────────────────────────────────────────

    def gone(self) -> None:
        self.up = False
        self.line.clear()
        for room in self.rooms.values():
            room.gone()

    def cut(self, code: int = 1006) -> None:
        if self.up:
            self.gone()
            given: Frame = {"code": code, "reason": "", "status": 0}
            self._do({"do": "lost", "with": given}, lambda: self.table.board.lost(self.now, **given))

    def deliver(self) -> None:
        if self.up and self.line:
            frame = self.line.popleft()
            self._do({"frame": frame}, lambda: self.table.board.heard(self.now, json.dumps(frame)))

    def receive(self, frame: Frame) -> None:
        if frame["type"] == "ping":
            self.line.append({"type": "pong", "session_id": None, "seq": None, "t": frame["t"]})
        elif frame["type"] != "session.switch":
            self.rooms[self.at].receive(frame)
        elif self.refusals:
            self.refusals -= 1
            error = {"code": "busy", "message": "no", "retryable": True}
            self.line.append({"type": "error", "session_id": None, "seq": None, "error": error, "role": frame["role"]})
        else:
            self.at, came = frame["role"], self.at
            room = self.rooms[self.at]
            attached, room.attached = room.attached, True
            room.tell({"type": "session.switched", "from": came, "to": self.at})
            if not attached:
                room.attach()


def perform(socket: Socket, dice: Random) -> None:
    for kind in dice.choices(list(OFTEN), list(OFTEN.values()), k=STEPS):
        role = dice.choice(ROLES)
        room = socket.rooms[role]
        match kind:
            case "deliver":
                socket.deliver()
                socket.deliver()
            case "say":
                socket.say(role)
            case "grow":
                room.grow(dice.randint(1, 6))
            case "commit" | "fail" | "orphan":
                getattr(room, kind)()
            case "other":
                room.numbers += 1
                room.message(f"{role}-x{room.numbers}")
            case "die":
                for one in socket.rooms.values():
                    one.turn = None
                    one.waiting.clear()
                socket.cut()
            case "cut":
                socket.cut()
            case "moved":
                socket.cut(1012)
            case "refuse":
                socket.refusals = dice.randint(1, 3)
            case "soon":
                socket.pass_time(dice.randint(1, 400))
            case "late":
                socket.pass_time(dice.randint(1, 40_000))


def settle(socket: Socket) -> None:
    """From now on everything works: long enough for every word to end."""
    socket.refusals = 0
    for _ in range(400):
        while socket.line and socket.up:
            socket.deliver()
        rooms = socket.rooms.values()
        if all(room.core.phase is Phase.READY for room in rooms) and all(
            f"{room.role}-{number}" in room.ends for room in rooms for number in range(socket.said[room.role])
        ):
            break
        for room in rooms:
            room.grow(1)
            room.commit()
        socket.pass_time(1_000)
    for _ in range(5):
        while socket.line and socket.up:
            socket.deliver()
        socket.pass_time(2_000)


def bad_day(seed: int) -> Frame:
    """As a golden case."""
    dice, socket = Random(seed), Socket()
    perform(socket, dice)
    settle(socket)
    return socket.case
