"""The engine: one turn of a Role, from its message to its commit. Sans-IO.

`begin` and `resume` return the messages that the link should carry, in order. Between
them the turn is suspended at a question to the model, and everything about it can be
lost: a new engine that is given the journal (the effects so far and their answers)
arrives at the same place, for hooks are coroutines driven by hand and depend on nothing
but the turn's own values.

A hook that fails, by its own fault or because it was stopped at its deadline, is left
out: what it said stands, what it did to the state does not, and the commit says so.

Where the user interrupts the turn, the answer that a hook waits for says so. The hook ends
there, with the state as it was when it asked; no other hook of the turn is called any
more but those for `on_interrupt`.
"""

import inspect
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from rolehost import ModelFailed, Role, Turn
from rolehost.role import Hook
from rolehost.turn import Ask, Session
from rolehost_api.errors import LogicError, ProtocolViolation
from rolehost_api.link.messages import (
    INTERRUPTED,
    CallModel,
    Commit,
    Degraded,
    HistorySegment,
    InputSegment,
    ModelResult,
    PersonaSegment,
    Say,
    Segment,
    StartTurn,
    TextSegment,
    TurnFailed,
)
from rolehost_runtime.core.guard import HookFailed, Returned, advance, call, close, error_type
from rolehost_runtime.core.journal import Entry, Stop, entry
from rolehost_runtime.core.patch import InvalidPatch, StateTooLarge
from rolehost_runtime.core.states import Kept, States

MAX_QUESTIONS = 16
MAX_EFFECTS = 1000
MAX_DEGRADED = 16

Out = Say | CallModel | Commit | TurnFailed
Steps = Generator[None, ModelResult, Any]


class Reporter:
    """What an engine tells its surroundings while it runs; nothing here has an answer."""

    def entering(self, run: int, hook: Hook) -> None:
        """A hook is about to be called, or to go on with an answer."""

    def log(self, text: str) -> None:
        """`t.log`, for the tenant's eyes."""

    def caught_up(self) -> None:
        """A run by a journal has made its last effect again: all before it happened once already, all after is new."""

    def failed(self, hook: Hook, error: BaseException) -> None:
        """A hook failed; the traceback is for the tenant's eyes."""

    def where(self, error: BaseException) -> str:
        """file:line in the tenant's code, or empty."""
        return ""


class _TurnOver(Exception):
    """The turn ends here with TurnFailed."""

    def __init__(self, outcome: TurnFailed) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


class _Interrupted(Exception):
    """The user interrupted the turn at the answer to a question. `state` is as it was when it was asked, or why it
    cannot be kept."""

    def __init__(self, state: Kept | HookFailed) -> None:
        super().__init__()
        self.state = state


class TurnEngine:
    def __init__(
        self,
        role: Role[Any],
        start: StartTurn,
        state: Mapping[str, Any],
        *,
        user_state: Mapping[str, Any] | None = None,
        personas: int = 0,
        max_state_bytes: int = 65_536,
        journal: Sequence[Entry] = (),
        stops: Sequence[Stop] = (),
        reporter: Reporter | None = None,
    ) -> None:
        """`state` and `user_state` are what is stored, whatever code wrote it; `personas` counts Bind's segments."""
        self._role = role
        self._start = start
        shared = user_state if start.user_at else None
        self._states = States(role, dict(state), None if shared is None else dict(shared), max_state_bytes)
        self._personas = personas
        self._journal = journal
        self._stops = {stop.run: stop for stop in stops}
        self._reporter = reporter or Reporter()
        self._out: list[Out] = []
        self._degraded: list[Degraded] = []
        self._count = 0
        self._questions = 0
        self._runs = 0
        self._spoke = False
        self._listening = False
        """A hook is running: only then its turn takes effects."""
        self._interrupted = False
        self._over: TurnFailed | None = None
        """Set where the end of the turn was noticed under the tenant's code, which may swallow anything."""
        self._turn: Turn[Any]
        self._steps: Steps = self._run()
        self.done = False

    def begin(self) -> list[Out]:
        """Run until the turn waits for the model or is over."""
        return self._step(lambda: next(self._steps))

    def resume(self, result: ModelResult) -> list[Out]:
        """Go on with the answer that the turn waits for. Raises ProtocolViolation where it waits for none."""
        if self.done:
            raise ProtocolViolation("a turn that is over was given an answer")
        return self._step(lambda: self._steps.send(result))

    def close(self) -> None:
        """Let go of a suspended turn; its hooks see their coroutine closed."""
        self.done = True
        self._steps.close()

    # Effects as the Turn knows them

    def say(self, text: str) -> None:
        if not self._listening:
            raise LogicError("this hook is over", code="hook_over")
        if self._interrupted:
            raise _reply_is_over()
        if self._count >= MAX_EFFECTS:
            raise LogicError(f"a turn has at most {MAX_EFFECTS} effects", code="too_many_effects")
        self._emit(Say(index=self._count, text=text))
        self._turn.replied += text
        self._spoke = True

    def log(self, text: str) -> None:
        """Not again while the turn is run again, nor when its hook is over."""
        if self._listening and self._count >= len(self._journal):
            self._reporter.log(text)

    # The turn

    def _step(self, go: Callable[[], None]) -> list[Out]:
        try:
            go()
        except StopIteration:
            self.done = True
        except _TurnOver as over:
            self.done = True
            self._out.append(over.outcome)
        out, self._out = self._out, []
        return out

    def _run(self) -> Steps:
        before = self._before = self._read()
        self._turn = self._make_turn(before)
        try:
            for event in ("on_start", "on_message") if self._start.turn == 1 else ("on_message",):
                yield from self._run_hooks(event)
            if not self._spoke:
                yield from self._default_reply()
            yield from self._run_hooks("on_reply")
        except _Interrupted:
            yield from self._run_hooks("on_interrupt")
        self._out.append(self._commit(before))

    def _make_turn(self, kept: Kept) -> Turn[Any]:
        start = self._start
        turn: Turn[Any] = Turn(
            message=start.message,
            user=start.user,
            state=None,
            session=Session(start.session_id, start.turn),
            now_ms=start.now_ms,
            seed=start.rng_seed,
            effects=self,
        )
        self._give(kept, turn)
        return turn

    def _default_reply(self) -> Steps:
        try:
            yield from self._ask(Ask(None, stream=True, max_tokens=None))
        except ModelFailed as error:
            raise _TurnOver(TurnFailed(code=error.code)) from None

    def _commit(self, before: Kept) -> Commit:
        try:
            patch, user_patch = self._states.patches(before, self._states.left(self._turn))
        except InvalidPatch as error:  # with what newer code keeps it does not fit
            patch, user_patch = (), ()
            self._degrade(Degraded("commit", error.code))
        urgent = bool(patch or user_patch) and self._turn.is_urgent
        return Commit(patch=patch, user_patch=user_patch, degraded=tuple(self._degraded), urgent=urgent)

    # Hooks

    def _run_hooks(self, event: str) -> Steps:
        for hook in self._role.of(event):
            yield from self._run_hook(hook)

    def _run_hook(self, hook: Hook) -> Steps:
        run, self._runs = self._runs, self._runs + 1
        stop = self._stops.get(run)
        kept, was_urgent = self._states.left(self._turn), self._turn.is_urgent
        try:
            if stop and stop.effects <= self._count:
                raise HookFailed(stop.code)
            self._listening = True
            yield from self._drive(run, hook, stop)
            self._check_state()
        except _Interrupted as interrupted:
            self._turn.forgotten()
            state = interrupted.state
            if isinstance(state, HookFailed):
                self._degrade(Degraded(hook.name, state.code))
                state = kept
            self._give(state, self._turn)
            raise
        except HookFailed as failure:
            if self._over:
                raise _TurnOver(self._over) from None
            self._give(kept, self._turn)
            self._turn.is_urgent = was_urgent
            self._turn.forgotten()
            self._leave_out(hook, failure)
        finally:
            self._listening = False
        if self._over:
            raise _TurnOver(self._over)

    def _leave_out(self, hook: Hook, failure: HookFailed) -> None:
        cause = failure.cause
        where = self._reporter.where(cause)[:256] if cause else ""
        if cause:
            self._reporter.failed(hook, cause)
        if hook.required:
            raise _TurnOver(TurnFailed(code=failure.code, hook=hook.name, error=error_type(cause), where=where))
        if isinstance(cause, ModelFailed) and not self._spoke:
            raise _TurnOver(TurnFailed(code=failure.code, hook=hook.name, where=where))
        self._degrade(Degraded(hook.name, failure.code, where))

    def _degrade(self, degraded: Degraded) -> None:
        if len(self._degraded) < MAX_DEGRADED:
            self._degraded.append(degraded)

    def _drive(self, run: int, hook: Hook, stop: Stop | None) -> Steps:
        self._reporter.entering(run, hook)
        value = call(hook.function, self._turn)
        if inspect.iscoroutine(value):
            value = yield from self._drive_coroutine(value, run, hook, stop)
        if self._turn.forgotten():
            raise HookFailed("not_awaited", LogicError("t.ask() was made but not awaited"))
        if isinstance(value, str) and not self._spoke:
            raise HookFailed("hook_returned_value", LogicError("a hook returned text instead of replying with it"))

    def _drive_coroutine(self, coroutine: Coroutine[Any, Any, Any], run: int, hook: Hook, stop: Stop | None) -> Steps:
        """Send answers in until the hook returns; returns what it returned."""
        answer: Any = None
        error: LogicError | None = None
        try:
            while True:
                asked = advance(coroutine, answer, error)
                try:
                    answer, error = (yield from self._question(asked)), None
                except LogicError as refused:
                    error = refused
                if stop and stop.effects <= self._count:
                    raise HookFailed(stop.code)
                self._reporter.entering(run, hook)
        except Returned as returned:
            return returned.value
        finally:
            self._listening = False
            close(coroutine)

    def _question(self, asked: Ask) -> Generator[None, ModelResult, str]:
        if self._interrupted:
            raise _reply_is_over()
        self._questions += 1
        if self._questions > MAX_QUESTIONS or self._count >= MAX_EFFECTS:
            raise LogicError(f"a turn's hooks may ask at most {MAX_QUESTIONS} questions", code="too_many_effects")
        return (yield from self._ask(asked))

    def _ask(self, asked: Ask) -> Generator[None, ModelResult, str]:
        index = self._count
        self._emit(
            CallModel(
                index=index, segments=self._segments(asked.text), stream=asked.stream, max_tokens=asked.max_tokens
            )
        )
        result = self._journal[index].result if index < len(self._journal) else None
        if result is None:
            result = yield
        if result.index != index:
            raise ProtocolViolation("an answer to another question arrived")
        if result.heard is not None:
            self._interrupt(result.text if asked.stream else "", result.heard)
        if asked.stream:
            self._turn.replied += result.text
        if result.error:
            raise ModelFailed("the model did not answer", code=result.error)
        self._spoke = self._spoke or asked.stream
        return result.text

    def _interrupt(self, sent: str, heard: int) -> NoReturn:
        """The turn's reply ends where the user heard it end. The hook that waits still stands where it asked."""
        self._interrupted = True
        self._turn.replied = (self._turn.replied + sent)[:heard]
        try:
            self._check_state()
            raise _Interrupted(self._states.left(self._turn))
        except HookFailed as invalid:
            raise _Interrupted(invalid) from None

    def _segments(self, question: str | None) -> tuple[Segment, ...]:
        persona: list[Segment] = [PersonaSegment(index) for index in range(self._personas)]
        if not persona and self._role.persona:
            persona = [TextSegment("system", self._role.persona)]
        added = [TextSegment("system", text) for text in self._turn.prompt.texts]
        last = InputSegment() if question is None else TextSegment("user", question)
        return (*persona, *added, HistorySegment(), last)

    def _emit(self, message: Say | CallModel) -> None:
        """Count an effect, and carry it out unless the journal says that it was."""
        index, self._count = self._count, self._count + 1
        if index >= len(self._journal):
            self._out.append(message)
        elif self._journal[index].mark != entry(message).mark:
            self._over = TurnFailed(code="replay_diverged")
            raise _TurnOver(self._over)
        elif self._count == len(self._journal):
            self._reporter.caught_up()

    # State

    def _read(self) -> Kept:
        try:
            return self._states.read()
        except (msgspec.ValidationError, RecursionError):
            raise _TurnOver(TurnFailed(code="invalid_state")) from None

    def _give(self, kept: Kept, turn: Turn[Any]) -> None:
        try:
            self._states.give(turn, kept)
        except (msgspec.ValidationError, RecursionError):
            raise _TurnOver(TurnFailed(code="invalid_state")) from None

    def _check_state(self) -> None:
        """What a hook left in the states must be of their types, plain and small enough. Raises HookFailed."""
        try:
            self._states.check(self._turn, self._before)
        except StateTooLarge as error:
            raise HookFailed(error.code, error) from None
        except Exception as error:
            raise HookFailed("invalid_state", error) from None


def _reply_is_over() -> LogicError:
    return LogicError(
        "the user interrupted this turn",
        hint="on_interrupt may change t.state and t.log; say it in the next turn",
        code=INTERRUPTED,
    )
