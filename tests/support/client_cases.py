"""Golden cases of what a client does: JSON that the Python core and the one in rolehost.js both run.

A case is a list of steps. At each, the time `at` (ms) is let pass first, then one thing
happens: a `frame` of the server, or `do` with its `with`. `out` is everything that the core
wants because of it, in order; `is` holds for the core afterwards. `{"tell": "frame"}` is the
frame of the step, as it came. tests/support/client_cases.mjs is the same for rolehost.js.

With `do: switch` another session comes onto the same socket; a step `of` its number (1 for the first that
was switched to) happens to it, or asks of it, and what is its own in `out` has that number too.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rolehost.client.actions import Action, Close, Connect, Poll, Send
from rolehost.client.core import Core
from rolehost.client.switchboard import Guest, Switchboard

FOLDER = Path(__file__).parents[1] / "unit" / "client" / "cases"
MOST_TICKS = 1_000
Case = dict[str, Any]


def cases() -> dict[str, Case]:
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def expected(step: dict[str, Any]) -> list[Any]:
    return [one | {"tell": step["frame"]} if one.get("tell") == "frame" else one for one in step.get("out", [])]


HOME = "storyteller"


class Table:
    """A switchboard, and every session that was ever on it by its number."""

    def __init__(self, home: Core, draw: Callable[[], float]) -> None:
        self.board = Switchboard(home, HOME, draw)
        self.cores: list[Core] = [home]

    def number(self, core: Core) -> int:
        if core not in self.cores:
            self.cores.append(core)
        return self.cores.index(core)

    def out(self, now: float) -> list[dict[str, Any]]:
        return [self._own(core) | shown(action) for core, action in self.board.collect(now)]

    def _own(self, core: Core) -> dict[str, Any]:
        number = self.number(core)
        return {"of": number} if number else {}


def run(case: Case) -> list[dict[str, Any]]:
    """What the Python library wants at each step, and what is true of it where the step asks."""
    draw = case.get("draw", 0.5)
    table = Table(Core(draw=lambda: draw, **case["core"]), lambda: draw)
    return [_step(table, step) for step in case["steps"]]


def _step(table: Table, step: dict[str, Any]) -> dict[str, Any]:
    now, board = step["at"], table.board
    out: list[Any] = []
    for _ in range(MOST_TICKS):
        due = board.due()
        if due is None or due > now:
            break
        board.tick(due)
        out += table.out(due)
    else:
        raise AssertionError("time does not pass")
    core = table.cores[step.get("of", 0)]
    taken = _happens(table, core, now, step)
    out += table.out(now) + [{"took": event} for event in taken]
    return {"out": out, "is": {name: _of(table, core, name) for name in step.get("is", {})}}


def _happens(table: Table, core: Core, now: float, step: dict[str, Any]) -> list[Any]:
    given, board = step.get("with", {}), table.board
    if "frame" in step:
        board.heard(now, json.dumps(step["frame"], ensure_ascii=False, separators=(",", ":")))
    match step.get("do"):
        case "switch":
            table.number(board.switch(now, **given))
        case "text":
            board.heard(now, given)
        case "say":
            core.say(now, **given)
        case "polled":
            core.polled(now, given)
        case "close":
            core.close()
        case "listen":
            core.listen()
        case "unlisten":
            core.unlisten(now)
        case "take":
            return [event for _ in range(given["count"]) if (event := core.take(now)) is not None]
        case "start" | "cancel" as name:
            getattr(core, name)(now, **given)
        case "opened" | "lost" as name:
            getattr(board, name)(now, **given)
    return []


def shown(action: Action) -> dict[str, Any]:
    """As JSON."""
    match action:
        case Connect():
            return {"connect": True}
        case Send(frame):
            return {"send": frame}
        case Close(code):
            return {"close": code}
        case Poll(path):
            return {"poll": path}
        case _:
            return {"tell": action.event}


def _of(table: Table, core: Core, name: str) -> Any:
    match name:
        case "same_as":
            return None if not isinstance(core, Guest) or core.same_as is None else table.number(core.same_as)
        case "phase":
            return core.phase.value
        case "last":
            return core.last
        case "version":
            return core.known.version
        case "values":
            return core.known.values
        case "user_version":
            return core.shared.version
        case "user_values":
            return core.shared.values
        case "rtt_ms":
            return core.pulse.rtt_ms
        case _:
            raise KeyError(name)
