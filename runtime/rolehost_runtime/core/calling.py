"""What becomes of a model's calls in one turn: which are run, and what the model is told in the place of the others. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from rolehost.tools import InvalidArguments, Tool
from rolehost_api.errors import LogicError
from rolehost_api.link.tools import ToolCall, ToolOutcome
from rolehost_runtime.core.guard import HookFailed
from rolehost_runtime.core.tooling import (
    DENIED,
    FAILED,
    INVALID,
    LATE,
    TOLD,
    TOO_MANY,
    arguments_of,
    clipped,
    granted,
    may_call,
)

MAX_TOOL_CALLS = 64
"""In one turn."""
HOOK_DEADLINE = "hook_deadline"
STOPPED = (HOOK_DEADLINE, "hook_died")
"""Codes of a hook, or a tool, that was ended with its worker."""


class Ready(NamedTuple):
    """A call that is to be run."""

    tool: Tool
    given: dict[str, Any]
    """The function's arguments."""


@dataclass(slots=True)
class Belt:
    """The tools of a turn's logic."""

    tools: Mapping[str, Tool]
    permissions: Collection[str] | None
    """None: they are not known here, and who answers the model's questions has refused what is not granted."""
    calls: int = 0
    stopped: dict[str, str] = field(default_factory=dict)
    """Tools that cost a worker, and the code of it: they are not run again in this turn."""

    def offers(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Of what a question names; the gateway knows what there is and what is granted."""
        if not may_call(self.permissions) or (self.permissions is None and not self.tools):
            return ()
        return wanted

    def taken(self, called: ToolCall) -> Ready | ToolOutcome | None:
        """A call that is to be run, or what the model is told in its place. None: it is no tool of the logic's own."""
        self.calls += 1
        if called.error:
            return refusal(called, called.error)
        if self.calls > MAX_TOOL_CALLS:
            return refusal(called, TOO_MANY)
        tool = self.tools.get(called.name)
        if tool is None:
            return None
        if self.permissions is not None and not granted(self.permissions, called.name):
            return refusal(called, DENIED)
        arguments = arguments_of(called.arguments)
        if arguments is None:
            return refusal(called, INVALID)
        try:
            return Ready(tool, tool.read(arguments))
        except InvalidArguments as error:
            return ToolOutcome(id=called.id, text=clipped(str(error)), error=INVALID)

    def failed(self, tool: Tool, failure: HookFailed) -> str:
        """What a tool's failure is called, to the model and in `degraded`."""
        if failure.code in STOPPED:
            self.stopped[tool.name] = failure.code
        return LATE if failure.code == HOOK_DEADLINE else FAILED


def refusal(called: ToolCall, code: str) -> ToolOutcome:
    """What a model reads of a call that came to nothing."""
    return ToolOutcome(id=called.id, text=TOLD.get(code, TOLD[FAILED]), error=code)


def said_by(value: Any) -> str:
    """What a tool returned, as a model reads it: text, or JSON. Raises HookFailed.

    >>> said_by("Vega"), said_by(["Vega", 1]), said_by(None)
    ('Vega', '["Vega",1]', 'done')
    """
    if value is None:
        return "done"
    if isinstance(value, str):
        return clipped(value)
    try:
        return clipped(msgspec.json.encode(value).decode())
    except Exception:
        raise HookFailed(
            "tool_failed", LogicError("a tool returned what JSON cannot say", hint="Return text", code="invalid_tool")
        ) from None
