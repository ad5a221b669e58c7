"""One turn's effects, carried out: what the pod asks for is checked, done and answered.

What was done is kept in a journal, so that a turn whose pod was lost runs again on
another pod without asking a model twice or saying a word twice. A re-run that asks for
something else than the first run did cannot be joined to it and fails.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from msgspec.structs import replace

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import BadRequest, Conflict, Forbidden, LogicError, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import (
    MAX_REPLY_CHARS,
    CallModel,
    Commit,
    ModelResult,
    Say,
    StartTurn,
    TurnFailed,
)
from rolehost_api.wire import FinishReason, Usage
from rolehost_runtime.core.prompt import Exchange, Told, build
from rolehost_runtime.core.record import JournalEntry
from rolehost_runtime.gateway.link.bind import persona_of
from rolehost_runtime.gateway.ports import Links, ModelEnd, ModelMessage, ModelProvider, ModelRequest, TurnCall
from rolehost_runtime.gateway.sessions.metrics import TurnSink, outcome_of
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables

MAX_MODEL_CALLS = 16
MAX_RESULT_BYTES = 1_000_000
"""Of a model's text on its way to the pod: with its envelope it must fit the link's 1 MiB."""
MAX_JOURNAL_BYTES = 65_536
MAY_PASS = frozenset({"overloaded", "not_bound", "logic_unavailable", "replay_diverged"})
"""Codes of a given-up turn that another try may well not meet."""
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_VENDOR_ROLE = {"system": "system", "user": "user", "persona": "assistant"}


@dataclass(slots=True)
class Clockings:
    """Where a turn's time went, in seconds of the loop's clock."""

    route: float = 0.0
    hooks: float = 0.0


@dataclass(slots=True)
class Done:
    """An effect that was carried out, and the model's answer where it was a question."""

    effect: Say | CallModel
    result: ModelResult | None = None


@dataclass(slots=True)
class TurnRun:
    """One turn, over as many pods as it takes (two at most)."""

    role: RoleEntry
    revision: RevisionEntry
    session_key: str
    start: StartTurn
    past: Sequence[Exchange] | Told
    emit: Callable[[str], None]
    """Text of the reply, at once to the clients."""
    tables: Tables
    links: Links
    models: ModelProvider
    sink: TurnSink
    reply: list[str] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    """Why the model stopped that spoke the (last part of the) reply."""
    usage: Usage = field(default_factory=Usage)
    clockings: Clockings = field(default_factory=Clockings)
    _chars: int = 0
    _asked: int = 0
    _journal: list[Done] = field(default_factory=list)
    _model_errors: dict[str, RolehostError] = field(default_factory=dict)

    async def run(self) -> tuple[TurnCall, Commit]:
        """Until the pod wants to commit. The call is still open: the caller ends it.

        Raises what the turn failed with; the call is aborted then.
        """
        try:
            return await self._on_a_pod()
        except Unavailable as error:
            if error.code != "pod_lost":
                raise
        return await self._on_a_pod()

    async def _on_a_pod(self) -> tuple[TurnCall, Commit]:
        call = await self._route()
        try:
            return call, await self._drive(call)
        except asyncio.CancelledError:
            call.abort("cancelled")
            raise
        except BaseException as error:
            call.abort(outcome_of(error))
            raise

    async def _route(self) -> TurnCall:
        """A pod's ear. Waiting for a pod is part of what turnTimeoutSeconds bounds."""
        began = asyncio.get_running_loop().time()
        try:
            start = self._with_deadline()
            return await self.links.start_turn(self.role, self.revision, self.session_key, start, self._left())
        finally:
            self.clockings.route += asyncio.get_running_loop().time() - began

    def _left(self) -> float:
        spent = self.clockings.route + self.clockings.hooks
        left = self.role.spec.sessions.turn_timeout_seconds - spent
        if left <= 0:
            raise Unavailable("the Role's hooks took longer than the turn may", code="turn_timeout")
        return left

    def _with_deadline(self) -> StartTurn:
        return replace(self.start, deadline_ms=max(1, int(1000 * self._left())))

    async def _drive(self, call: TurnCall) -> Commit:
        loop = asyncio.get_running_loop()
        while True:
            left, began = self._left(), loop.time()
            try:
                asked = await call.next(left)
            finally:
                self.clockings.hooks += loop.time() - began
            match asked:
                case Commit():
                    return asked
                case TurnFailed():
                    raise self._failure(asked)
                case Say():
                    if self._recorded(asked) is None:
                        self._journal.append(Done(asked))
                        self._say(asked.text)
                case CallModel():
                    done = self._recorded(asked)
                    if done is None:
                        done = Done(asked, await self._ask(asked))
                        self._journal.append(done)
                    if done.result is not None:
                        call.answer(done.result)

    def _recorded(self, effect: Say | CallModel) -> Done | None:
        """What came of this effect in an earlier run; None where this run is the first to ask for it."""
        if effect.index >= len(self._journal):
            return None
        done = self._journal[effect.index]
        if done.effect != effect:
            raise Conflict(
                "the Role's logic did something else when the turn ran again on another pod",
                hint="Take randomness from t.rng and time from t.now",
                code="replay_diverged",
                retryable=True,
            )
        return done

    def _say(self, text: str) -> None:
        if self._chars + len(text) > MAX_REPLY_CHARS:
            raise BadRequest(f"a reply is over {MAX_REPLY_CHARS} characters", code="reply_too_large")
        if text:
            self._chars += len(text)
            self.reply.append(text)
            self.emit(text)

    # ── the model ───────────────────────────────────────────────────────────────────

    async def _ask(self, ask: CallModel) -> ModelResult:
        """Ask the revision's model. Its failure is an answer too: the logic may handle it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: RolehostError | None = None
        heard: list[str] = []
        finish_reason = ""
        try:
            finish_reason = await self._listen(ask, heard)
            if ask.stream:
                self.finish_reason = finished(finish_reason)
        except RolehostError as failed:
            error = self._model_errors[failed.code] = failed
        tenant, role = self.role.tenant.name, self.role.name
        self.sink.model_call(tenant, role, outcome_of(error), loop.time() - began)
        return ModelResult(
            index=ask.index, text="".join(heard), error=error.code if error else "", finish_reason=finish_reason
        )

    async def _listen(self, ask: CallModel, heard: list[str]) -> str:
        """The model's text into `heard`, and to the clients where it is the reply. Returns why it ended."""
        backend, request = self._request(ask)
        size = 0
        async with aclosing(self.models.stream(backend, request)) as stream:  # type: ignore[type-var]
            async for item in stream:
                if isinstance(item, ModelEnd):
                    self.usage = _sum(self.usage, item.usage)
                    return item.finish_reason
                size += len(item.encode())
                if size > MAX_RESULT_BYTES or (ask.stream and self._chars + len(item) > MAX_REPLY_CHARS):
                    return "length"
                heard.append(item)
                if ask.stream:
                    self._say(item)
        return ""

    def _request(self, ask: CallModel) -> tuple[BackendSpec, ModelRequest]:
        template = self.revision.spec.template
        self._asked += 1
        if self._asked > MAX_MODEL_CALLS:
            raise Overloaded(f"a turn may ask the model {MAX_MODEL_CALLS} times", code="too_many_model_calls")
        if "model.call" not in template.permissions:
            raise Forbidden(
                "this Role may not call a model", hint="Add model.call to permissions", code="permission_denied"
            )
        backend = self.tables.backends.get(template.model.backend)
        if backend is None:
            raise Unavailable("this Role's ModelBackend does not exist", code="backend_not_found")
        messages = [
            ModelMessage(_VENDOR_ROLE[speaker], text)  # type: ignore[arg-type]
            for speaker, text in build(ask.segments, persona_of(self.revision), self.past, self.start.message)
        ]
        return backend, ModelRequest(
            model=_served(backend, template.model.name),
            messages=messages,
            params=template.model.params,
            max_tokens=ask.max_tokens,
            tenant_uid=self.role.tenant.uid,
        )

    def _failure(self, failed: TurnFailed) -> RolehostError:
        """The pod gave the turn up. Its words are not passed on: it may have chosen any."""
        if failed.code in self._model_errors:
            return self._model_errors[failed.code]
        code = failed.code if _CODE.fullmatch(failed.code) else LogicError.code
        return LogicError(
            "the Role's logic failed and the turn was not kept",
            hint=f"`rolehost logs {self.role.name}` shows where",
            code=code,
            retryable=code in MAY_PASS,
        )

    def journal(self) -> tuple[JournalEntry, ...]:
        """What a re-run without a model needs. Past 64 KiB an outcome is its digest only."""
        entries: list[JournalEntry] = []
        room = MAX_JOURNAL_BYTES
        for done in self._journal:
            if done.result is None:
                entries.append(JournalEntry(index=done.effect.index, kind="say"))
                continue
            text = done.result.text.encode()
            room -= len(text)
            outcome = done.result.text if room >= 0 else f"sha256:{hashlib.sha256(text).hexdigest()}"
            entries.append(
                JournalEntry(index=done.effect.index, kind="call_model", outcome=outcome, error=done.result.error)
            )
        return tuple(entries)


def finished(reason: str) -> FinishReason:
    """Why a model stopped, in the words that clients know; vendors have many for stopping by itself.

    >>> finished("length"), finished("max_tokens"), finished("content_filter"), finished("eos")
    ('length', 'length', 'content_filter', 'stop')
    """
    if reason in ("length", "max_tokens"):
        return "length"
    return "content_filter" if reason == "content_filter" else "stop"


def _served(backend: BackendSpec, name: str) -> str:
    """What the server calls the model that the Role names; the backend's first where it names none."""
    if not name:
        return backend.models[0].model if backend.models else ""
    for served in backend.models:
        if served.name == name:
            return served.model
    if backend.models:
        raise BadRequest("this Role's ModelBackend does not serve that model", code="model_not_served")
    return name


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        estimated=one.estimated or other.estimated,
    )
