"""One turn's effects, carried out: what the pod asks for is checked, done and answered.

What was done is kept in a journal, so that a turn whose pod was lost runs again on
another pod without asking a model twice or saying a word twice. A re-run that asks for
something else than the first run did cannot be joined to it and fails.

A turn that the user interrupts ends at the answer that was being given: the model's stream
is closed, and the pod is told so in that answer's place. Where the answer was complete
already and hooks went on with it, the turn runs again up to it: what they did after it
never was.

A turn that the user steers goes on with the same answer: the model is asked once more, with
what it has said so far and the user's new words after it.
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
    INTERRUPTED,
    MAX_REPLY_CHARS,
    CallModel,
    Commit,
    ModelResult,
    Say,
    StartTurn,
    TurnFailed,
)
from rolehost_api.wire import FinishReason, HeardPart, Usage
from rolehost_runtime.core.prompt import Exchange, Told, build, estimate
from rolehost_runtime.core.record import JournalEntry
from rolehost_runtime.core.session import cut
from rolehost_runtime.gateway.link.bind import persona_of
from rolehost_runtime.gateway.ports import Links, ModelEnd, ModelMessage, ModelProvider, ModelRequest, Person, TurnCall
from rolehost_runtime.gateway.sessions.metrics import TurnSink, outcome_of
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables

MAX_MODEL_CALLS = 16
MAX_STEERS = 8
"""Messages that may join one turn."""
MAX_RESULT_BYTES = 1_000_000
"""Of a model's text on its way to the pod: with its envelope it must fit the link's 1 MiB."""
PAUSE = "\n\n"
"""Between what an answer said before the user spoke up in it and what it says after."""
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


class _Rewound(Exception):
    """The turn was interrupted behind an answer that hooks went on with: it runs again, up to that answer."""


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
    person: Person | None = None
    """Whose turn it is, where user-scope state is theirs."""
    reply: list[str] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    """Why the model stopped that spoke the (last part of the) reply."""
    usage: Usage = field(default_factory=Usage)
    clockings: Clockings = field(default_factory=Clockings)
    interrupted: bool = False
    heard: HeardPart | None = None
    """Of an interrupted turn's reply; None: all that was sent."""
    _asking: CallModel | None = None
    _patience: asyncio.Timeout | None = None
    """Ends at once what the turn waits for just now."""
    _rewound: bool = False
    _steers: list[tuple[int, str]] = field(default_factory=list)
    """What the user said while an answer was given, and how much of that answer there was."""
    _steered: bool = False
    """The model has not been asked with the newest of them yet."""
    _answered: list[str] = field(default_factory=list)
    """The answer that is being given, piece by piece."""
    _chars: int = 0
    _asked: int = 0
    _journal: list[Done] = field(default_factory=list)
    _model_errors: dict[str, RolehostError] = field(default_factory=dict)

    async def run(self) -> tuple[TurnCall, Commit]:
        """Until the pod wants to commit. The call is still open: the caller ends it.

        Raises what the turn failed with; the call is aborted then.
        """
        lost = False
        while True:
            try:
                return await self._on_a_pod()
            except _Rewound:
                self._rewound = False
            except Unavailable as error:
                if error.code != "pod_lost" or lost:
                    raise
                lost = True

    async def _on_a_pod(self) -> tuple[TurnCall, Commit]:
        call = await self._route()
        try:
            return call, await self._drive(call)
        except asyncio.CancelledError:
            call.abort("cancelled")
            raise
        except _Rewound:
            call.abort(INTERRUPTED)
            raise
        except BaseException as error:
            call.abort(outcome_of(error))
            raise

    async def _route(self) -> TurnCall:
        """A pod's ear. Waiting for a pod is part of what turnTimeoutSeconds bounds."""
        began = asyncio.get_running_loop().time()
        try:
            start = self._with_deadline()
            return await self.links.start_turn(
                self.role, self.revision, self.session_key, start, self._left(), self.person
            )
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
                asked = await self._hear(call, left)
            finally:
                self.clockings.hooks += loop.time() - began
            match asked:
                case Commit():
                    return asked
                case TurnFailed() if self.interrupted and asked.code == INTERRUPTED:
                    return Commit()  # a pod that knows of no interruptions took it for a model that failed
                case TurnFailed():
                    raise self._failure(asked)
                case Say():
                    if self._recorded(asked) is None:
                        self._journal.append(Done(asked))
                        if not self.interrupted:
                            self._say(asked.text)
                case CallModel():
                    done = self._recorded(asked)
                    if done is None:
                        done = Done(asked, await self._ask(asked))
                        self._go_back()
                        self._journal.append(done)
                    if done.result is not None:
                        call.answer(done.result)

    async def _hear(self, call: TurnCall, left: float) -> Say | CallModel | Commit | TurnFailed:
        """What the pod asks for next."""
        try:
            async with asyncio.timeout(None) as self._patience:
                asked = await call.next(left)
        except TimeoutError:
            self._go_back()
            raise
        finally:
            self._patience = None
        self._go_back()
        return asked

    # ── the user interrupts ─────────────────────────────────────────────────────────

    def interrupt(self, heard: HeardPart | None) -> None:
        """The user hears no more than `heard` of the reply. Said again, it can only become less."""
        if self.interrupted:
            self.heard = min(filter(None, (self.heard, heard)), key=lambda part: part.chars, default=None)
            return
        self.interrupted, self.heard = True, heard
        streamed = self._streamed()
        if self._asking is None or not (self._asking.stream or streamed is None):
            self._rewind(streamed)
        if self._patience is not None and (self._asking is not None or self._rewound):
            self._patience.reschedule(asyncio.get_running_loop().time())

    def steer(self, message: str) -> bool:
        """The answer that is being given goes on with these words of the user known. False: none is, or too often."""
        asking = self._asking
        if asking is None or not asking.stream or self.interrupted or len(self._steers) >= MAX_STEERS:
            return False
        self._steers.append((len("".join(self._answered)), message))
        self._steered = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())
        return True

    def _streamed(self) -> int | None:
        """Place in the journal of the last answer that went to the user and that hooks went on with."""
        for place in range(len(self._journal) - 1, -1, -1):
            effect = self._journal[place].effect
            if isinstance(effect, CallModel) and effect.stream:
                return place
        return None

    def _rewind(self, place: int | None) -> None:
        """The turn ends at that answer; where there is none, at the next that is asked for."""
        if place is None:
            return
        done = self._journal[place]
        text = done.result.text if done.result is not None else ""
        self._journal[place:] = [Done(done.effect, self._unheard(done.effect.index, text))]
        self._rewound = True

    def _go_back(self) -> None:
        if self._rewound:
            raise _Rewound

    def _unheard(self, index: int, text: str) -> ModelResult:
        """In place of an answer: the user heard the reply up to here."""
        chars = cut("".join(self.reply), self.heard).chars
        return ModelResult(index=index, text=text, error=INTERRUPTED, finish_reason=INTERRUPTED, heard=chars)

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
        if self.interrupted:
            return self._unheard(ask.index, "")
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: RolehostError | None = None
        heard = self._answered = []
        first = len(self._steers)
        finish_reason = ""
        while True:
            self._asking, self._steered = ask, False
            try:
                async with asyncio.timeout(None) as self._patience:
                    finish_reason = await self._listen(ask, heard, first)
                if ask.stream:
                    self.finish_reason = finished(finish_reason)
            except TimeoutError:
                if not (self.interrupted or self._steered):
                    raise
            except RolehostError as failed:
                error = self._model_errors[failed.code] = failed
            finally:
                self._asking = self._patience = None
            if not self._steered or self.interrupted or error is not None:
                break
            if heard and self._chars + len(PAUSE) <= MAX_REPLY_CHARS:
                heard.append(PAUSE)
                self._say(PAUSE)
        tenant, role = self.role.tenant.name, self.role.name
        outcome = "cancelled" if self.interrupted else outcome_of(error)
        self.sink.model_call(tenant, role, outcome, loop.time() - began)
        if self.interrupted:
            return self._unheard(ask.index, "".join(heard))
        return ModelResult(
            index=ask.index, text="".join(heard), error=error.code if error else "", finish_reason=finish_reason
        )

    async def _listen(self, ask: CallModel, heard: list[str], first: int) -> str:
        """The model's text into `heard`, and to the clients where it is the reply. Returns why it ended.

        Steers from number `first` on came during this answer.
        """
        backend, request = self._request(ask, "".join(heard), first)
        size, ended = 0, None
        try:
            async with aclosing(self.models.stream(backend, request)) as stream:  # type: ignore[type-var]
                async for item in stream:
                    if isinstance(item, ModelEnd):
                        ended = item
                        return item.finish_reason
                    if self.interrupted or self._steered:
                        break
                    size += len(item.encode())
                    if size > MAX_RESULT_BYTES or (ask.stream and self._chars + len(item) > MAX_REPLY_CHARS):
                        return "length"
                    heard.append(item)
                    if ask.stream:
                        self._say(item)
        finally:  # of a call that was broken off nobody says any more what it cost
            self.usage = _sum(self.usage, ended.usage if ended else _estimated(request, heard))
        return ""

    def _request(self, ask: CallModel, said: str, first: int) -> tuple[BackendSpec, ModelRequest]:
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
        message = "\n\n".join((self.start.message, *(text for _, text in self._steers[:first])))
        messages = [
            ModelMessage(_VENDOR_ROLE[speaker], text)  # type: ignore[arg-type]
            for speaker, text in build(
                ask.segments, persona_of(self.revision), self.past, message, said, self._steers[first:]
            )
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


def _estimated(request: ModelRequest, heard: Sequence[str]) -> Usage:
    shown = sum(estimate(message.content) for message in request.messages)
    return Usage(input_tokens=shown, output_tokens=estimate("".join(heard)), estimated=True)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        estimated=one.estimated or other.estimated,
    )
