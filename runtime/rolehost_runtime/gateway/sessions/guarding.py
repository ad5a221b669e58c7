"""One turn's guards: the rules, and whoever judges whole texts.

What a user says is judged before the turn has a pod, so that neither logic nor model hears what is blocked. What is said to
them goes through rules as it streams; a guard that asks a model, or a plugin, is shown whole texts: an answer, or what the
logic says between two answers. Until it was judged nothing of such a text goes out.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_api.link.messages import Commit, Degraded
from rolehost_api.link.tools import ToolSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.record import GUARD
from rolehost_runtime.core.safety.asking import NoVerdict
from rolehost_runtime.core.safety.compiling import Asked, Compiled
from rolehost_runtime.core.safety.guards import UNJUDGED, Decision, Guard, Objection, Stage, invalid, rewritten
from rolehost_runtime.core.safety.turn import LetIn, RuledTurn
from rolehost_runtime.core.safety.words import Word
from rolehost_runtime.gateway.ports import ModelProvider
from rolehost_runtime.gateway.sessions.model_guard import ModelGuard
from rolehost_runtime.gateway.sessions.usage import summed
from rolehost_runtime.gateway.tables import RoleEntry, Tables

log = logging.getLogger(__name__)

LONG_MESSAGE = 4096
"""Characters: a longer one is read beside the loop."""


class GuardSink(Protocol):
    """Where failures of guards go; decisions are counted when their turn is durable."""

    def guard_failed(self, tenant: str, role: str, policy: str, code: str) -> None: ...


class NoPod:
    """The pod's side of a turn that no pod hears of."""

    tools: Sequence[ToolSpec] = ()
    deltas = False

    async def next(self, timeout_seconds: float) -> Commit:
        """It is over already."""
        return Commit()

    def answer(self, result: object) -> None:
        """Nobody asked."""

    def notice(self, index: int, text: str, noticed: object) -> None:
        """Nobody looks."""

    def committed(self, version: int, user_at: str | None = None) -> None:
        """The state is what it was."""

    def abort(self, code: str) -> None:
        """Nothing to end."""


@dataclass(slots=True)
class Guarding:
    """Of one turn, however often it runs."""

    safety: Compiled | BadRequest
    role: RoleEntry
    tables: Tables
    models: ModelProvider
    sink: GuardSink
    deadline: float | None = None
    """By the loop's clock: a guard that would take longer has failed."""
    plugins: Mapping[str, Guard] = field(default_factory=dict)
    degraded: list[Degraded] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    """Of all questions to models."""
    _rules: RuledTurn | None = None
    _questions: dict[str, int] = field(default_factory=dict)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(self._rules.decisions) if self._rules is not None else ()

    @property
    def shut(self) -> bool:
        """Nothing of this turn goes out any more."""
        return self._rules is not None and self._rules.shut

    async def let_in(self, message: str) -> LetIn:
        """Judge what a user said. Raises BadRequest where the Role's guards cannot be made."""
        safety = self.safety
        if isinstance(safety, BadRequest):
            raise safety
        rules = self._rules = RuledTurn(safety, holds=bool(safety.asked_out))
        let = rules.let_in(message) if len(message) <= LONG_MESSAGE else await asyncio.to_thread(rules.let_in, message)
        text = let.text
        if let.reply is None:
            for asked in safety.asked_in:
                text, found = await self._judged(rules, asked, "input", text)
                if found is not None:
                    return LetIn(message, rules.refuse(found))
            return LetIn(text)
        return let

    def clean(self, message: str) -> bool:
        """Whether no guard has anything to say about a message that would join a running answer. One that has hears of it
        as a turn of its own."""
        if self._rules is None or isinstance(self.safety, BadRequest):
            return False
        return not self.safety.asked_in and len(message) <= LONG_MESSAGE and self._rules.clean(message)

    def say(self, text: str) -> str:
        """A piece of the reply → what may go out now."""
        return self._rules.say(text) if self._rules is not None else ""

    async def end(self) -> str:
        """A text is over: an answer, or what the logic said before one. What of it still goes out."""
        rules, safety = self._rules, self.safety
        if rules is None or isinstance(safety, BadRequest):
            return ""
        text = rules.end()
        whole = rules.held
        if not whole:
            return text
        for asked in safety.asked_out if whole.strip() else ():
            whole, found = await self._judged(rules, asked, "output", whole)
            if found is not None:
                return rules.cut(found.guard, found.category)
        return rules.release(whole)

    # ── guards of whole texts ───────────────────────────────────────────────────────

    async def _judged(self, rules: RuledTurn, asked: Asked, stage: Stage, text: str) -> tuple[str, Word | None]:
        """The text as it passes, and as what it is blocked; None where it is not."""
        try:
            objections = await self._objections(asked, stage, text)
        except Exception as failed:
            policy, code = "closed" if asked.closed else "open", _code(failed)
            self.sink.guard_failed(self.role.tenant.name, self.role.name, policy, code)
            self.degraded.append(Degraded(hook=GUARD, code=f"guard_{policy}", where=f"{asked.guard}: {code}"))
            return text, _as_word(asked.guard, UNJUDGED) if asked.closed else None
        for one in objections:
            if one.action == "block":
                return text, _as_word(asked.guard, one.category)
        for one in objections:
            rules.decide(asked.guard, stage, one.category, one.action)
        return rewritten(text, objections), None

    async def _objections(self, asked: Asked, stage: Stage, text: str) -> Sequence[Objection]:
        times = self._questions[asked.guard] = self._questions.get(asked.guard, 0) + 1
        if times > asked.max_questions:
            raise Unavailable("this guard has asked as often as it may in one turn", code="too_many_questions")
        now = asyncio.get_running_loop().time()
        until = min(now + asked.timeout_seconds, self.deadline if self.deadline is not None else float("inf"))
        guard = self._guard(asked)
        async with asyncio.timeout_at(until):
            found = tuple(await guard.judge(stage, text))
        if fault := invalid(found, text):
            raise Unavailable(fault, code="guard_invalid")
        return found

    def _guard(self, asked: Asked) -> Guard:
        if asked.model is not None:
            return ModelGuard(asked.guard, asked.model, self.role.tenant, self.tables, self.models, self._spent)
        plugin = self.plugins.get(asked.plugin)
        if plugin is None:
            raise Unavailable("this guard's plugin is not installed here", code="guard_not_found")
        return plugin

    def _spent(self, usage: Usage) -> None:
        self.usage = summed(self.usage, usage)


def _code(failed: Exception) -> str:
    """Of a plugin's own error nothing is told but that it failed: its words may quote the text."""
    if isinstance(failed, RolehostError):
        return failed.code
    if isinstance(failed, NoVerdict):
        return "no_verdict"
    if isinstance(failed, TimeoutError):
        return "guard_timeout"
    log.warning("a guard failed", extra={"error": type(failed).__name__})
    return "guard_failed"


def _as_word(guard: str, category: str) -> Word:
    """What somebody else has against a text, as if a rule had."""
    return Word("", (), False, False, guard, category, "block")
