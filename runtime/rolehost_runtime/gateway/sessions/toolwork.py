"""What one turn may do with tools: what its model is offered, what it calls, and what came of it.

A pod is hostile: it may offer only what the Role grants, name only answers that its own turn got, and hand back results
only of calls that were made. What it says of its own tools' outcomes is repeated as one of a few codes.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import CallModel, CallTool, ModelResult, ToolResult
from rolehost_api.link.tools import (
    MAX_ARGUMENT_BYTES,
    MAX_ARGUMENTS_BYTES,
    MAX_CALLS,
    ToolCall,
    ToolOutcome,
    ToolSpec,
)
from rolehost_api.wire import UsedTool
from rolehost_runtime.core.prompt import InvalidPrompt
from rolehost_runtime.core.tooling import (
    CODES,
    DENIED,
    FAILED,
    FOREIGN,
    INVALID,
    LATE,
    OTHER,
    ROUNDS,
    TOLD,
    TOO_LARGE,
    TOO_MANY,
    UNKNOWN,
    arguments_of,
    call_id,
    clipped,
    granted,
    name_of,
    offered,
    outcome_of,
)
from rolehost_runtime.gateway.ports import Called, ModelMessage, Toolbox
from rolehost_runtime.gateway.sessions.metrics import TurnSink
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

MAX_TOOL_CALLS = 64
"""Of other servers' tools, in one turn."""
MAX_USED = 64
"""Calls that a turn's record names."""
MAX_OFFERED = 128
"""To one question; vendors take no more."""
OFFER_SECONDS, CALL_SECONDS = 5.0, 30.0


@dataclass(slots=True)
class Toolwork:
    toolbox: Toolbox
    role: RoleEntry
    revision: RevisionEntry
    key: str
    """Of the turn: the same where another gateway gives it anew."""
    sink: TurnSink
    degraded: Callable[[str, str], None]
    """Told what was done otherwise than it was asked: a code, and the tool it is about."""
    used: list[UsedTool] = field(default_factory=list)
    """For the turn's record."""
    _foreign: tuple[ToolSpec, ...] | None = None
    _known: frozenset[str] = frozenset()
    """Names of all that were ever offered in this turn."""
    _declared: frozenset[str] = frozenset()
    _calls: int = 0

    @property
    def _permissions(self) -> Sequence[str]:
        return self.revision.spec.template.permissions

    async def offered(self, own: Sequence[ToolSpec], ask: CallModel) -> tuple[ToolSpec, ...]:
        """What the model may call in this answer."""
        self._declared |= frozenset(one.name for one in own)
        if not ask.tools:
            return ()
        if self._foreign is None:
            self._foreign = await self._others()
        found = offered([*own, *self._foreign], self._permissions, ask.tools)[:MAX_OFFERED]
        self._known |= frozenset(one.name for one in found)
        return found

    async def _others(self) -> tuple[ToolSpec, ...]:
        if not any(one.startswith("tool:") for one in self._permissions):
            return ()
        try:
            async with asyncio.timeout(OFFER_SECONDS):
                found = await self.toolbox.offered(self.role, self.revision)
        except TimeoutError:
            self.degraded("tools_unavailable", "")
            return ()
        except RolehostError as error:
            self.degraded(error.code, "")
            return ()
        return tuple(one for one in found if FOREIGN in one.name)

    # ── what the model calls ────────────────────────────────────────────────────────

    def called(
        self, ask: CallModel, calls: Sequence[Called], dropped: int, offered: Sequence[ToolSpec]
    ) -> tuple[ToolCall, ...]:
        """The calls of an answer as the pod is given them; whatever is not to be run says why."""
        may = {one.name for one in offered}
        if not ask.tools:
            for call in calls:
                self._count(name_of(call.name), ROUNDS)
            if calls:
                self.degraded(ROUNDS, "")
            return ()
        if extra := max(0, len(calls) - MAX_CALLS) + dropped:
            self.degraded(TOO_MANY, "")
            self.sink.tool_calls(self.role.tenant.name, self.role.name, OTHER, TOO_MANY, extra)
        found, room = [], MAX_ARGUMENTS_BYTES
        for place, call in enumerate(calls[:MAX_CALLS]):
            size = len(call.arguments.encode(errors="replace"))
            error = self._refusal(call.name, may)
            if not error and (call.too_large or size > min(room, MAX_ARGUMENT_BYTES)):
                error = TOO_LARGE
            if not error:
                room -= size
            found.append(
                ToolCall(
                    id=call_id(ask.index, place),
                    name=name_of(call.name),
                    arguments="" if error else call.arguments,
                    error=error,
                )
            )
        return tuple(found)

    def _refusal(self, name: str, may: Collection[str]) -> str:
        if name in may:
            return ""
        return DENIED if name in self._declared or name in self._others_names else UNKNOWN

    @property
    def _others_names(self) -> frozenset[str]:
        return frozenset(one.name for one in self._foreign or ())

    # ── what came of it ─────────────────────────────────────────────────────────────

    def rounds(self, ask: CallModel, asked: Callable[[int], tuple[CallModel, ModelResult] | None]) -> "Rounds":
        """Where a question goes on from, and all that was said since. `asked`: a question of this turn and its answer.

        Raises InvalidPrompt where it goes on from nothing, or hands back results of calls that nobody made.
        """
        backwards: list[list[ModelMessage]] = []
        while ask.continues is not None:
            before = asked(ask.continues) if ask.continues < ask.index else None
            if before is None or not before[1].calls or ask.segments:
                raise InvalidPrompt("a pod went on from an answer that it was not given")
            question, answer = before
            if [one.id for one in ask.results] != [one.id for one in answer.calls]:
                raise InvalidPrompt("a pod handed back results of calls that were not made")
            backwards.append(_round(answer, ask.results))
            ask = question
        return Rounds(ask, [message for one in reversed(backwards) for message in one], len(backwards))

    def came_back(self, calls: Sequence[ToolCall], results: Sequence[ToolOutcome]) -> None:
        """Results that a pod hands back, counted. Other servers' tools were counted when they were called."""
        for call, result in zip(calls, results, strict=False):
            if call.error or FOREIGN not in call.name:
                self._count(call.name, outcome_of(call.error or result.error))

    async def call(self, asked: CallTool) -> ToolResult:
        """A tool that is not the logic's own. Whatever it says is text for the model, cut to what may travel."""
        self._calls += 1
        if self._foreign is None:
            self._foreign = await self._others()
        if self._calls > MAX_TOOL_CALLS:
            text, error = "", TOO_MANY
        elif asked.name not in self._others_names:
            text, error = "", UNKNOWN
        elif not granted(self._permissions, asked.name):
            text, error = "", DENIED
        elif arguments_of(asked.arguments) is None:
            text, error = "", INVALID
        else:
            text, error = await self._carried_out(asked)
        self._known |= {asked.name} & self._others_names
        self._count(asked.name, outcome_of(error))
        return ToolResult(index=asked.index, text=clipped(text or TOLD.get(error, "")), error=error)

    def named(self, name: str) -> str:
        """As a trace may name it: no word of the pod's own."""
        return name if name in self._others_names else OTHER

    async def _carried_out(self, asked: CallTool) -> tuple[str, str]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                key = f"{self.key}/{asked.index}"
                return await self.toolbox.call(self.role, self.revision, asked.name, asked.arguments, key), ""
        except TimeoutError:
            self.degraded(LATE, asked.name)
            return "", LATE
        except RolehostError as error:
            code = error.code if error.code in CODES else FAILED
            self.degraded(code, asked.name)
            return "", code

    def _count(self, name: str, outcome: str) -> None:
        known = name if name in self._known or name in self._declared else OTHER
        self.sink.tool_calls(self.role.tenant.name, self.role.name, known, outcome, 1)
        if len(self.used) < MAX_USED:
            self.used.append(UsedTool(name=known, outcome=outcome))


@dataclass(frozen=True, slots=True)
class Rounds:
    """A question that goes on behind answers with calls in them."""

    root: CallModel
    """Whose prompt it is."""
    since: Sequence[ModelMessage]
    """What the model said and called since, and what came of it."""
    count: int

    @property
    def said(self) -> str:
        """What the model said since, as far as it is the answer."""
        return "".join(one.content for one in self.since if one.role == "assistant")


def _round(answer: ModelResult, results: Sequence[ToolOutcome]) -> list[ModelMessage]:
    said = ModelMessage("assistant", answer.text.strip(), calls=answer.calls)
    back = [
        ModelMessage(
            "tool", result.text or TOLD.get(result.error, ""), call_id=call.id, name=call.name, error=result.error
        )
        for call, result in zip(answer.calls, results, strict=True)
    ]
    return [said, *back]
