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

What guards have against a message ends the turn before it has a pod, with their words as the reply; what they have against
the reply ends that, and the turn goes on: `finish_reason` is `content_filter`.

A client's deadline that comes while the model speaks ends the answer there, and it says so: `finish_reason`
is `length`, and `degraded` names the deadline. Where nothing was said by then, the turn fails.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from msgspec.structs import replace

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import BadRequest, Conflict, Forbidden, LogicError, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import (
    INTERRUPTED,
    MAX_REPLY_CHARS,
    CallModel,
    CallTool,
    Commit,
    Degraded,
    Fetch,
    Fetched,
    ModelResult,
    PersonaSegment,
    Question,
    QuestionAnswer,
    Recall,
    Recalled,
    Say,
    Segment,
    StartTurn,
    ToolResult,
    TurnFailed,
)
from rolehost_api.link.tools import ToolCall, ToolSpec
from rolehost_api.wire import FinishReason, HeardPart, Usage
from rolehost_runtime.core.lorebook.placing import Placed
from rolehost_runtime.core.models.caching import cache_key
from rolehost_runtime.core.models.chain import Candidate
from rolehost_runtime.core.parts import apart, known
from rolehost_runtime.core.prompt import Exchange, Spoken, Told, compose, estimate, stable_chars
from rolehost_runtime.core.record import MODEL, TOOL, JournalEntry
from rolehost_runtime.core.session import cut
from rolehost_runtime.core.tooling import FAILED, TOLD, pause
from rolehost_runtime.gateway.link.bind import persona_of
from rolehost_runtime.gateway.ports import (
    Links,
    ModelEnd,
    ModelMessage,
    ModelProvider,
    ModelRequest,
    NoToolbox,
    Person,
    Toolbox,
    TurnCall,
)
from rolehost_runtime.gateway.sessions.guarding import Guarding, NoPod
from rolehost_runtime.gateway.sessions.inspecting import CallSeen, TurnSeen
from rolehost_runtime.gateway.sessions.laying import NotLaidOut, laid_out
from rolehost_runtime.gateway.sessions.lore import NOTHING, Telling
from rolehost_runtime.gateway.sessions.metrics import TurnSink, outcome_of
from rolehost_runtime.gateway.sessions.reaching import Reaching, shown
from rolehost_runtime.gateway.sessions.remembering import Remembering
from rolehost_runtime.gateway.sessions.toolwork import Rounds, Toolwork
from rolehost_runtime.gateway.sessions.usage import estimated, summed
from rolehost_runtime.gateway.sessions.watching import Watching
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables
from rolehost_runtime.gateway.tracing.turn import WORTH_TELLING, TurnTrace
from rolehost_runtime.plugins.prompts import PromptTemplate

MAX_MODEL_CALLS = 16
MAX_RECALLS = 16
MAX_STEERS = 8
"""Messages that may join one turn."""
MAX_RESULT_BYTES = 1_000_000
"""Of a model's text on its way to the pod: with its envelope it must fit the link's 1 MiB."""
PAUSE = "\n\n"
"""Between what an answer said before the user spoke up in it and what it says after."""
MAX_JOURNAL_BYTES = 65_536
MAY_PASS = frozenset({"overloaded", "not_bound", "logic_unavailable", "replay_diverged"})
"""Codes of a given-up turn that another try may well not meet."""
COMMIT_PART, MOST_COMMIT_SECONDS = 0.1, 0.25
"""Of the time until a client's deadline, so much is left for hooks and commit behind an answer that it ends."""
LONG_ANSWER_TOKENS = 32_768
"""An answer is given a bound of tokens where no more than this is left for the turn."""
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
DEADLINE, FALLBACK, TOOLS_LEFT_OUT, STOPPED = "deadline", "fallback", "tools_left_out", "stopped_by_logic"
"""Codes in `degraded`."""
_VENDOR_ROLE: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "user": "user",
    "persona": "assistant",
}
_SPEAKERS: Mapping[str, str] = {role: speaker for speaker, role in _VENDOR_ROLE.items()}


@dataclass(slots=True)
class Clockings:
    """Where a turn's time went, in seconds of the loop's clock."""

    route: float = 0.0
    hooks: float = 0.0
    recall: float = 0.0
    model: float = 0.0


@dataclass(slots=True)
class Done:
    """An effect that was carried out, and the answer where it was a question."""

    effect: Say | Question
    result: QuestionAnswer | None = None


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
    deadline: float | None = None
    """The client's own, by the loop's clock."""
    person: Person | None = None
    """Whose turn it is, where user-scope state is theirs."""
    remembering: Remembering | None = None
    """None: this turn has no memory."""
    reaching: Reaching | None = None
    """None: this turn has no way to servers outside."""
    toolbox: Toolbox = field(default_factory=NoToolbox)
    layouts: Mapping[str, PromptTemplate] = field(default_factory=dict)
    """PromptTemplates that are installed."""
    lore: Telling | None = None
    """None: the persona has no lorebook."""
    guarding: Guarding | None = None
    """None: nothing guards this Role's turns."""
    filtered: bool = False
    """The message was not let in."""
    seen: TurnSeen | None = None
    """Where it is told from underneath; None: nobody looks."""
    trace: TurnTrace | None = None
    """None: it has none."""
    reply: list[str] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    """Why the model stopped that spoke the (last part of the) reply."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """Who spoke the (last part of the) reply, `backend/model`."""
    degraded: list[Degraded] = field(default_factory=list)
    """What was done for this turn otherwise than it was asked for."""
    clockings: Clockings = field(default_factory=Clockings)
    interrupted: bool = False
    heard: HeardPart | None = None
    """Of an interrupted turn's reply; None: all that was sent."""
    tools: Toolwork = field(init=False)
    _own_tools: Sequence[ToolSpec] = ()
    """Of the logic, as the pod says them that the turn runs on."""
    _called: tuple[ToolCall, ...] = ()
    """What the answer calls that is being given."""
    _prompts: dict[int, CallModel] = field(default_factory=dict)
    """Questions with what is remembered of the user, by their place: what goes on from one does not look again."""
    _pod: TurnCall | None = None
    _watching: Watching | None = None
    """Of the answer that is being given, where the logic sees it."""
    _halted: bool = False
    """The logic wants no more of the answer that is being given."""
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
    _recalls: int = 0
    _journal: list[Done] = field(default_factory=list)
    _model_errors: dict[str, RolehostError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = self.reaching.key if self.reaching is not None else f"{self.session_key}/{self.start.turn}"
        self.tools = Toolwork(self.toolbox, self.role, self.revision, key, self.sink, self._tool_degraded)

    async def run(self) -> tuple[TurnCall, Commit]:
        """Until the pod wants to commit. The call is still open: the caller ends it.

        Raises what the turn failed with; the call is aborted then.
        """
        lost = False
        if self.guarding is not None and not self.start.occasion:
            began = monotonic()
            let = await self.guarding.let_in(self.start.message)
            self._note("guard.message", began)
            if let.reply is not None:
                self._answer_for(let.reply)
                return NoPod(), Commit()
            self.start = replace(self.start, message=let.text)
        while True:
            try:
                return await self._on_a_pod()
            except _Rewound:
                self._rewound = False
            except Unavailable as error:
                if error.code != "pod_lost" or lost:
                    raise
                lost = True

    def _answer_for(self, reply: str) -> None:
        """The message was not let in: nobody answers it but the platform."""
        self.filtered, self.finish_reason = True, "content_filter"
        self._emit(reply)

    async def _on_a_pod(self) -> tuple[TurnCall, Commit]:
        call = self._pod = await self._route()
        self._own_tools = call.tools
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
        began, at, failed = asyncio.get_running_loop().time(), monotonic(), ""
        try:
            start = self._with_deadline()
            return await self.links.start_turn(
                self.role, self.revision, self.session_key, start, self._left(), self.person
            )
        except RolehostError as error:
            failed = outcome_of(error)
            raise
        finally:
            self.clockings.route += asyncio.get_running_loop().time() - began
            self._note("route", at, failed)

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
            left, began, at, failed = self._left(), loop.time(), monotonic(), ""
            try:
                asked = await self._hear(call, left)
            except RolehostError as error:
                failed = outcome_of(error)
                raise
            finally:
                self.clockings.hooks += loop.time() - began
                if self.trace is not None:
                    self.trace.hooks(at, monotonic(), failed)
            match asked:
                case Commit():
                    await self._end_text()
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
                case Recall():
                    done = self._recorded(asked)
                    if done is None:
                        done = Done(asked, await self._recall(asked))
                        self._go_back()
                        self._journal.append(done)
                    if done.result is not None:
                        call.answer(done.result)
                case CallModel() | CallTool() | Fetch():
                    done = self._recorded(asked)
                    if done is None:
                        done = Done(asked, await self._answer(asked))
                        self._go_back()
                        self._journal.append(done)
                    if done.result is not None:
                        call.answer(done.result)

    async def _hear(self, call: TurnCall, left: float) -> Say | Question | Commit | TurnFailed:
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
        if self.guarding is not None and (self.guarding.shut or not self.guarding.clean(message)):
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
        text = done.result.text if isinstance(done.result, ModelResult) else ""
        self._journal[place:] = [Done(done.effect, self._unheard(done.effect.index, text))]
        self._rewound = True

    def _go_back(self) -> None:
        if self._rewound:
            raise _Rewound

    def _unheard(self, index: int, text: str) -> ModelResult:
        """In place of an answer: the user heard the reply up to here."""
        chars = cut("".join(self.reply), self.heard).chars
        return ModelResult(index=index, text=text, error=INTERRUPTED, finish_reason=INTERRUPTED, heard=chars)

    def _recorded(self, effect: Say | Question) -> Done | None:
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

    def _say(self, text: str) -> str:
        """A piece of the reply; what of it goes out now."""
        if self.guarding is not None:
            text = self.guarding.say(text)
            if self.guarding.shut:
                self.finish_reason = "content_filter"
        return self._emit(text)

    async def _end_text(self) -> str:
        """An answer is over, or what was said before one. What guards held back of it until now."""
        if self.guarding is None or self.interrupted:
            return ""
        began = monotonic()
        text = await self.guarding.end()
        if monotonic() - began >= WORTH_TELLING:
            self._note("guard.reply", began)
        if self.guarding.shut:
            self.finish_reason = "content_filter"
        return self._emit(text)

    @property
    def _shut(self) -> bool:
        """A guard ended the reply."""
        return self.guarding is not None and self.guarding.shut

    def _emit(self, text: str) -> str:
        if self._chars + len(text) > MAX_REPLY_CHARS:
            raise BadRequest(f"a reply is over {MAX_REPLY_CHARS} characters", code="reply_too_large")
        if text:
            self._chars += len(text)
            self.reply.append(text)
            self.emit(text)
        return text

    # ── memory ──────────────────────────────────────────────────────────────────────

    async def _recall(self, asked: Recall) -> Recalled:
        self._recalls += 1
        if self._recalls > MAX_RECALLS:
            return Recalled(index=asked.index, error="too_many_effects")
        if self.remembering is None:
            return Recalled(index=asked.index)
        began, at = asyncio.get_running_loop().time(), monotonic()
        try:
            answer = await self.remembering.recall(asked)
            if self.seen is not None:
                self.seen.recalled(asked, answer)
            return answer
        finally:
            self.clockings.recall += asyncio.get_running_loop().time() - began
            self._note("recall", at)

    async def _reminded(self, ask: CallModel) -> CallModel:
        """The question, with what is remembered of the user where the Role wants that. Raises RolehostError."""
        if self.remembering is None:
            return ask
        began, at = asyncio.get_running_loop().time(), monotonic()
        try:
            segments = await self.remembering.reminded(ask.segments, self.start.message)
        finally:
            self.clockings.recall += asyncio.get_running_loop().time() - began
        if segments is ask.segments:
            return ask
        self._note("recall", at)
        return replace(ask, segments=segments)

    def _note(self, step: str, began: float, error: str = "") -> None:
        """For the trace, by the clock of the machine: that of the loop counts whole milliseconds."""
        if self.trace is not None:
            self.trace.step(step, began, monotonic(), error=error)

    async def _answer(self, asked: CallModel | CallTool | Fetch) -> ModelResult | ToolResult | Fetched:
        if isinstance(asked, Fetch):
            return await self._fetch(asked)
        return await (self._ask(asked) if isinstance(asked, CallModel) else self._call(asked))

    # ── servers outside ─────────────────────────────────────────────────────────────

    async def _fetch(self, asked: Fetch) -> Fetched:
        """One that the user interrupts, where the turn goes back behind it, is not waited for."""
        if self.reaching is None:
            return Fetched(index=asked.index, error="http_off")
        began = monotonic()
        try:
            async with asyncio.timeout(None) as self._patience:
                answer = await self.reaching.fetch(asked)
            if self.trace is not None:
                grants = self.revision.spec.template.permissions
                self.trace.fetched(began, monotonic(), asked.url, grants, answer.error)
            return answer
        except TimeoutError:
            self._go_back()
            raise
        finally:
            self._patience = None

    # ── tools ───────────────────────────────────────────────────────────────────────

    async def _call(self, asked: CallTool) -> ToolResult:
        """A tool that is not the logic's own. An interruption ends it at once, where the turn goes back behind it."""
        try:
            async with asyncio.timeout_at(self.deadline) as self._patience:
                if self.reaching is not None and not await self.reaching.known():
                    return ToolResult(index=asked.index, text=TOLD[FAILED], error=FAILED)
                began = monotonic()
                answer = await self.tools.call(asked)
                if self.trace is not None:
                    self.trace.tool(began, monotonic(), self.tools.named(asked.name), answer.error)
                return answer
        except TimeoutError:
            self._go_back()
            raise
        finally:
            self._patience = None

    def _tool_degraded(self, code: str, tool: str) -> None:
        note = Degraded(hook=f"{TOOL}:{tool}" if tool else TOOL, code=code)
        if note not in self.degraded:
            self.degraded.append(note)

    def _answered_with_calls(self, index: int) -> tuple[CallModel, ModelResult] | None:
        """That question of this turn, where it was answered."""
        done = self._journal[index] if index < len(self._journal) else None
        if done is None or not isinstance(done.effect, CallModel) or not isinstance(done.result, ModelResult):
            return None
        return done.effect, done.result

    # ── the model ───────────────────────────────────────────────────────────────────

    async def _ask(self, ask: CallModel) -> ModelResult:
        """Ask the revision's model. Its failure is an answer too: the logic may handle it."""
        if self.interrupted:
            return self._unheard(ask.index, "")
        if ask.stream:
            await self._end_text()
            if self._shut:
                return ModelResult(index=ask.index, finish_reason="content_filter")
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: RolehostError | None = None
        heard = self._answered = []
        first = len(self._steers)
        finish_reason = ""
        self._called = ()
        cut_at = self._cut_at(began)
        self._watch(ask)
        while True:
            self._asking, self._steered = ask, False
            try:
                async with asyncio.timeout_at(cut_at) as self._patience:
                    finish_reason = await self._listen(ask, heard, first)
                if ask.stream:
                    self.finish_reason = finished(finish_reason)
            except TimeoutError:
                if not (self.interrupted or self._steered or self._halted):
                    if not (ask.stream and heard):
                        raise
                    finish_reason = self.finish_reason = "length"
                    self._degraded(DEADLINE)
            except RolehostError as failed:
                error = self._model_errors[failed.code] = failed
            finally:
                self._asking = self._patience = None
            if not self._steered or self.interrupted or self._halted or error is not None or self._shut:
                break
            if heard and self._chars + len(PAUSE) <= MAX_REPLY_CHARS:
                heard.append(self._say(PAUSE))
        if self._watching is not None:
            self._watching.over()
        if ask.stream and (rest := await self._end_text()):
            heard.append(rest)
        if self._halted and not self.interrupted and error is None:
            finish_reason = self.finish_reason = "stop"
            self._degraded(STOPPED)
        if ask.stream and self._shut:
            finish_reason = "content_filter"
        tenant, role = self.role.tenant.name, self.role.name
        outcome = "cancelled" if self.interrupted else outcome_of(error)
        self.sink.model_call(tenant, role, outcome, loop.time() - began)
        if self.interrupted:
            return self._unheard(ask.index, "".join(heard))
        return ModelResult(
            index=ask.index,
            text="".join(heard),
            error=error.code if error else "",
            finish_reason=finish_reason,
            calls=() if error or self._halted or self._shut else self._called,
        )

    def _watch(self, ask: CallModel) -> None:
        call = self._pod
        self._halted = False
        self._watching = (
            Watching(call, ask.index, self._halt) if ask.stream and call is not None and call.deltas else None
        )

    def _halt(self) -> None:
        self._halted = True
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _listen(self, ask: CallModel, heard: list[str], first: int) -> str:
        """The model's text into `heard`, and to the clients where it is the reply. Returns why it ended.

        Steers from number `first` on came during this answer.
        """
        rounds = self.tools.rounds(ask, self._answered_with_calls)
        root = rounds.root
        if root.index not in self._prompts:
            self._prompts[root.index] = await self._reminded(root)
        began = monotonic()
        offered = await self.tools.offered(self._own_tools, ask if ask.tools else root)
        if monotonic() - began >= WORTH_TELLING:
            self._note("tool.list", began)
        lore, prompt = await self._lore(root), self._prompts[root.index]
        backend, request, label = self._request(ask, prompt, rounds, offered, "".join(heard), first, lore)
        seen = self._look(prompt, request, label)
        if ask.continues is not None and not (heard or self._steers[first:]):
            before = self._answered_with_calls(ask.continues)
            self.tools.came_back(before[1].calls if before else (), ask.results)
        size, ended, self._called = 0, None, ()
        began, first_at, failed = monotonic(), None, ""
        try:
            async with aclosing(self.models.stream(backend, request)) as stream:  # type: ignore[type-var]
                async for item in stream:
                    if first_at is None:
                        first_at = monotonic()
                    if isinstance(item, ModelEnd):
                        ended = item
                        self._answered_by(ask, item.model, label)
                        if item.tools_left_out and request.tools:
                            self._degraded(TOOLS_LEFT_OUT, item.model or label)
                        if request.tools:
                            self._called = self.tools.called(ask, item.calls, item.dropped, request.tools)
                        return item.finish_reason
                    if self.interrupted or self._steered or self._halted:
                        break
                    if not heard:
                        item = pause(rounds.said) + item
                    size += len(item.encode())
                    if size > MAX_RESULT_BYTES or (ask.stream and self._chars + len(item) > MAX_REPLY_CHARS):
                        return "length"
                    if said := self._say(item) if ask.stream else item:
                        heard.append(said)
                        if self._watching is not None:
                            self._watching.said(said)
                    if ask.stream and self._shut:
                        return "content_filter"
        except RolehostError as error:
            failed = outcome_of(error)
            raise
        finally:  # of a call that was broken off nobody says any more what it cost
            took = ended.usage if ended else estimated((one.content for one in request.messages), heard)
            self.usage = summed(self.usage, took)
            self.clockings.model += monotonic() - began
            if self.trace is not None:
                self.trace.model(began, first_at, monotonic(), backend, request, label, took, ended, failed, heard)
            if ended:
                self.sink.prompted(self.role.tenant.name, self.role.name, took)
            if seen is not None:
                seen.ended(took, ended.model if ended else "", ended.finish_reason if ended else "")
        return ""

    def _look(self, asked: CallModel, request: ModelRequest, label: str) -> CallSeen | None:
        """The prompt as it is sent, for whoever looks underneath."""
        if self.seen is None:
            return None
        reminder = ""
        if self.remembering is not None:
            reminder = self.remembering.reminder
            self.seen.reminded(self.remembering.reminded_of)
        steers = [text for _, text in self._steers]
        texts = known(asked.segments, persona_of(self.revision), self.past, self.start.message, steers, reminder)
        messages = (
            (_SPEAKERS.get(one.role, one.role), one.content or ", ".join(call.name for call in one.calls))
            for one in request.messages
        )
        return self.seen.asked(apart(messages, texts), reply=asked.stream, model=label)

    def _cut_at(self, now: float) -> float | None:
        """When an answer that still goes on is ended, so that its turn can be kept by the client's deadline."""
        if self.deadline is None:
            return None
        return self.deadline - min(MOST_COMMIT_SECONDS, COMMIT_PART * max(0.0, self.deadline - now))

    def _answered_by(self, ask: CallModel, model: str, label: str) -> None:
        """A fallback answered: that is said."""
        if ask.stream and model:
            self.model = model
        if model and model != label:
            self._degraded(FALLBACK, model)

    def _degraded(self, code: str, where: str = "") -> None:
        note = Degraded(hook=MODEL, code=code, where=where[:256])
        if note not in self.degraded:
            self.degraded.append(note)

    async def _lore(self, ask: CallModel) -> Placed:
        """What the lorebook adds to a question that is the persona's."""
        if self.lore is None or not any(isinstance(one, PersonaSegment) for one in ask.segments):
            return NOTHING
        return await self.lore.placed("\n\n".join((self.start.message, *(text for _, text in self._steers))))

    def _request(
        self,
        ask: CallModel,
        prompt: CallModel,
        rounds: Rounds,
        tools: Sequence[ToolSpec],
        said: str,
        first: int,
        lore: Placed = NOTHING,
    ) -> tuple[BackendSpec, ModelRequest, str]:
        """`prompt` is what is asked, and `rounds` what came since; `said` of the answer, with the user's words from
        number `first` on, comes behind it all."""
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
        segments, persona = self._laid_out(lore.segments(prompt.segments), lore.persona(persona_of(self.revision)))
        steers, turn = self._steers[first:], self.start.turn
        if rounds.count:
            shown = compose(segments, persona, self.past, message, turn=turn, insertions=lore.among)
            later = compose((), (), (), "", said, steers)
            messages = [*_messages(shown.spoken), *rounds.since, *_messages(later.spoken)]
        else:
            shown = compose(segments, persona, self.past, message, said, steers, turn, lore.among)
            messages = _messages(shown.spoken)
        name, served = template.model.backend, _served(backend, template.model.name)
        request = ModelRequest(
            model=served,
            messages=messages,
            params=template.model.params,
            max_tokens=self._most_tokens(ask, messages),
            tenant_uid=self.role.tenant.uid,
            backend=name,
            tenant=self.role.tenant.name,
            deadline=self.deadline,
            stable_chars=stable_chars(segments, persona),
            tools=tools,
            may_call=bool(ask.tools),
            steady=shown.steady,
            cache_key=cache_key(self.role.tenant.uid, self.revision.spec.hash),
        )
        return backend, request, Candidate(name, backend, served).label

    def _laid_out(
        self, segments: Sequence[Segment], persona: tuple[str, ...]
    ) -> tuple[Sequence[Segment], tuple[str, ...]]:
        """As the Role's PromptTemplate has it; as always where that cannot be, which is said."""
        name = self.revision.spec.template.prompt.plugin
        if not name:
            return segments, persona
        try:
            if name not in self.layouts:
                raise NotLaidOut("plugin_not_found")
            return laid_out(self.layouts[name], segments, persona)
        except NotLaidOut as failed:
            self._degraded(str(failed), name)
            return segments, persona

    def _most_tokens(self, ask: CallModel, messages: Sequence[ModelMessage]) -> int | None:
        """Of this answer, by what the logic asked for and by what is left for the turn.

        Raises Overloaded `turn_tokens_spent`.
        """
        shown = sum(estimate(message.content) for message in messages)
        shown += sum(estimate(call.arguments) for message in messages for call in message.calls)
        usage = self.usage if self.guarding is None else summed(self.usage, self.guarding.usage)
        spent = usage.input_tokens + usage.output_tokens + shown
        left = self.role.spec.sessions.max_turn_tokens - spent
        if left <= 0:
            raise Overloaded(
                "this turn has taken as many tokens as a turn may",
                hint="Ask the model less often in one turn, or raise sessions.maxTurnTokens",
                code="turn_tokens_spent",
                retryable=False,
            )
        if ask.max_tokens is None and left > LONG_ANSWER_TOKENS:
            return None
        return min(left, ask.max_tokens or left)

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
            if isinstance(done.result, Recalled):  # by name only: what is forgotten later must not live on in here
                names = " ".join(atom.id for atom in done.result.atoms)
                entries.append(
                    JournalEntry(index=done.effect.index, kind="recall", outcome=names, error=done.result.error)
                )
                continue
            if isinstance(done.result, Fetched):
                told = shown(done.effect, done.result) if isinstance(done.effect, Fetch) else ""
                entries.append(
                    JournalEntry(index=done.effect.index, kind="fetch", outcome=told, error=done.result.error)
                )
                continue
            if done.result is None:
                entries.append(JournalEntry(index=done.effect.index, kind="say"))
                continue
            text = done.result.text.encode()
            room -= len(text)
            outcome = done.result.text if room >= 0 else _digest(text)
            kind = "call_tool"
            calls: tuple[ToolCall, ...] = ()
            if isinstance(done.result, ModelResult):
                kind, calls = "call_model", done.result.calls
                room -= sum(len(call.arguments.encode()) for call in calls)
                if room < 0:
                    calls = tuple(replace(call, arguments=_digest(call.arguments.encode())) for call in calls)
            entries.append(
                JournalEntry(index=done.effect.index, kind=kind, outcome=outcome, error=done.result.error, calls=calls)
            )
        return tuple(entries)


def _digest(text: bytes) -> str:
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def _messages(said: Iterable[Spoken]) -> list[ModelMessage]:
    return [ModelMessage(_VENDOR_ROLE[speaker], text, late=late) for speaker, text, late in said]


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
    served = backend.served(name)
    if served is None and backend.models:
        raise BadRequest("this Role's ModelBackend does not serve that model", code="model_not_served")
    return served.model if served is not None else name
