"""Golden cases of what a client does: JSON that the Python core and the one in rolehost.js both run.

A case is a list of steps. At each, the time `at` (ms) is let pass first, then one thing
happens: a `frame` of the server, or `do` with its `with`. `out` is everything that the core
wants because of it, in order; `is` holds for the core afterwards. `{"tell": "frame"}` is the
frame of the step, as it came. tests/support/client_cases.mjs is the same for rolehost.js.
"""

import json
from pathlib import Path
from typing import Any

from rolehost.client.actions import Action, Close, Connect, Poll, Send
from rolehost.client.core import Core

FOLDER = Path(__file__).parents[1] / "unit" / "client" / "cases"
MOST_TICKS = 1_000
Case = dict[str, Any]


def cases() -> dict[str, Case]:
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}


def expected(step: dict[str, Any]) -> list[Any]:
    return [{"tell": step["frame"]} if one == {"tell": "frame"} else one for one in step.get("out", [])]


def run(case: Case) -> list[dict[str, Any]]:
    """What the Python core wants at each step, and what is true of it where the step asks."""
    draw = case.get("draw", 0.5)
    core = Core(draw=lambda: draw, **case["core"])
    return [_step(core, step) for step in case["steps"]]


def _step(core: Core, step: dict[str, Any]) -> dict[str, Any]:
    now = step["at"]
    for _ in range(MOST_TICKS):
        due = core.due()
        if due is None or due > now:
            break
        core.tick(due)
    else:
        raise AssertionError("time does not pass")
    taken = _happens(core, now, step)
    out = [shown(action) for action in core.out] + [{"took": event} for event in taken]
    core.out.clear()
    return {"out": out, "is": {name: _of(core, name) for name in step.get("is", {})}}


def _happens(core: Core, now: float, step: dict[str, Any]) -> list[Any]:
    given = step.get("with", {})
    if "frame" in step:
        core.heard(now, json.dumps(step["frame"], ensure_ascii=False, separators=(",", ":")))
    match step.get("do"):
        case "text":
            core.heard(now, given)
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
        case "start" | "opened" | "lost" | "cancel" as name:
            getattr(core, name)(now, **given)
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


def _of(core: Core, name: str) -> Any:
    match name:
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
