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
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace as replace_struct

from rolehost import ModelFailed, Role, Turn
from rolehost.memory import Look, Memory
from rolehost.role import Hook
from rolehost.timers import written
from rolehost.tools import Tool
from rolehost.turn import Ask, Session
from rolehost.web import HttpAnswer, Request
from rolehost_api.errors import LogicError, ProtocolViolation
from rolehost_api.link.messages import (
    INTERRUPTED,
    CallModel,
    CallTool,
    Commit,
    Degraded,
    Emitted,
    Fetched,
    HistorySegment,
    InputSegment,
    ModelResult,
    PatchOp,
    PersonaSegment,
    Question,
    QuestionAnswer,
    Recalled,
    Say,
    Segment,
    StartTurn,
    TextSegment,
    ToolResult,
    Transition,
    TurnFailed,
)
from rolehost_api.link.tools import ToolCall, ToolOutcome
from rolehost_api.link.tracing import TracedGraph
from rolehost_runtime.core.behavior import place as places
from rolehost_runtime.core.behavior.blending import told
from rolehost_runtime.core.behavior.graph import Graph, Refused
from rolehost_runtime.core.behavior.stating import ChangeFailed, new_value
from rolehost_runtime.core.behavior.steering import Steering
from rolehost_runtime.core.behavior.ticking import Ticked, tick
from rolehost_runtime.core.behavior.tracing import traced
from rolehost_runtime.core.calling import Belt, Ready, refusal, said_by
from rolehost_runtime.core.dsl.expressions import Facts
from rolehost_runtime.core.emitting import InvalidEmit, emitted
from rolehost_runtime.core.guard import HookFailed, Returned, advance, call, close, error_type
from rolehost_runtime.core.journal import Entry, Stop, entry
from rolehost_runtime.core.memory.turn import TurnMemory
from rolehost_runtime.core.patch import InvalidPatch, StateTooLarge, apply
from rolehost_runtime.core.states import Kept, States
from rolehost_runtime.core.tooling import TOO_MANY

MAX_QUESTIONS = 16
MAX_EFFECTS = 1000
MAX_DEGRADED = 16
MAX_ROUNDS = 8
"""Of tools, in one answer of the model; after them it is asked for words."""

Out = Say | Question | Commit | TurnFailed
Answer = QuestionAnswer
Steps = Generator[None, Answer, Any]


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

    def ticked(self, ticked: Ticked) -> None:
        """The behaviour graph was walked one step; the trace says why it went this way."""


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
        graph: Graph | None = None,
        permissions: Collection[str] | None = None,
    ) -> None:
        """`state` and `user_state` are what is stored, whatever code wrote it; `personas` counts Bind's segments, and
        `permissions` are Bind's (None: not known here, the gateway refuses)."""
        self._graph = graph
        self._steering = Steering(graph, places.read(state) if graph is not None else {})
        self._transitions: list[Transition] = []
        self._trace: tuple[TracedGraph, ...] = ()
        self._judging = False
        """A predicate is running: it may log, and nothing else."""
        self._known = Kept({})
        """The states as the tick finds them."""
        self._facts: dict[str, Facts] = {}
        self._role = role
        self._start = start
        shared = user_state if start.user_at else None
        self._states = States(role, dict(state), None if shared is None else dict(shared), max_state_bytes)
        self._belt = Belt(role.tools, permissions)
        self._in_tool = False
        self._memory = TurnMemory(start.now_ms, permissions, state, self._may_act)
        self._max_state_bytes = max_state_bytes
        self._personas = personas
        self._journal = journal
        self._stops = {stop.run: stop for stop in stops}
        self._reporter = reporter or Reporter()
        self._out: list[Out] = []
        self._degraded: list[Degraded] = []
        self._emitted: list[Emitted] = []
        self._noticing = self._stopped = False
        """on_delta is running; it wanted no more of an answer."""
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

    def resume(self, result: Answer) -> list[Out]:
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
        self._may_act()
        if self._interrupted:
            raise _reply_is_over()
        if self._count >= MAX_EFFECTS:
            raise LogicError(f"a turn has at most {MAX_EFFECTS} effects", code="too_many_effects")
        self._emit(Say(index=self._count, text=text))
        self._turn.replied += text
        self._spoke = True

    def _may_act(self) -> None:
        """Raise LogicError unless a hook runs, and one that has effects."""
        if self._judging:
            raise LogicError(
                "the predicate of an edge only answers",
                hint="Do it in @role.enter or on_message",
                code="no_effects_here",
            )
        if not self._listening:
            raise LogicError("this hook is over", code="hook_over")

    def log(self, text: str) -> None:
        """Not again while the turn is run again, nor when its hook is over."""
        if (self._listening or self._judging) and self._count >= len(self._journal):
            self._reporter.log(text)

    def emit(self, name: str, data: dict[str, Any]) -> None:
        self._may_act()
        try:
            self._emitted.append(emitted(name, data, self._emitted))
        except InvalidEmit as error:
            raise LogicError(error.message, hint=error.hint, code=error.code) from None

    def stop(self) -> None:
        if not self._noticing:
            raise LogicError("only on_delta stops an answer", code="no_effects_here")
        self._stopped = True

    def notice(self, text: str) -> bool:
        """Show `on_delta` hooks more of the answer that the turn waits for; True: they want no more of it.

        They change nothing of the turn, so a run by the journal does without them: what they decided shows in the answer.
        """
        if self.done or self._interrupted:
            return False
        turn, kept, was_urgent = self._turn, self._left(), self._turn.is_urgent
        prompts = len(turn.prompt.texts)
        self._judging = self._noticing = True
        try:
            for hook in self._role.of("on_delta"):
                turn.delta = text
                self._notice(hook)
        finally:
            self._judging = self._noticing = False
            turn.delta, turn.is_urgent = "", was_urgent
            del turn.prompt.texts[prompts:]
        if self._left() != kept:
            self.note("(on_delta changed the state, which is as it was)")
            self._give(kept, turn)
        return self._stopped

    def _notice(self, hook: Hook) -> None:
        self._reporter.entering(self._runs, hook)
        try:
            value = call(hook.function, self._turn)
            if inspect.iscoroutine(value):
                close(value)
                raise HookFailed("no_effects_here", LogicError("on_delta is a plain def"))
        except HookFailed as failure:
            if failure.cause is not None:
                self._reporter.failed(hook, failure.cause)

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
            if self._start.occasion:
                yield from self._of_its_own(self._start.occasion)
            else:
                yield from self._answer()
        except _Interrupted:
            yield from self._run_hooks("on_interrupt")
        self._out.append(self._commit(before))

    def _answer(self) -> Steps:
        """What becomes of a message."""
        if self._start.turn == 1 or self._start.first:
            yield from self._run_hooks("on_start")
        for hook in self._role.of("on_resume"):
            if self._start.absent_ms >= 1000 * hook.seconds:
                yield from self._run_hook(hook)
        if self._graph is not None:
            yield from self._move(self._graph)
        yield from self._run_hooks("on_message")
        if not self._spoke:
            yield from self._default_reply()
        yield from self._run_hooks("on_reply")

    def _of_its_own(self, occasion: str) -> Steps:
        """A turn without a message: nothing is said but what these hooks say, and the graph stays where it is."""
        hooks = [hook for hook in self._role.hooks if occasion in (hook.name, hook.event)]
        if not hooks and occasion != "on_end":  # a conversation ends all the same
            raise _TurnOver(TurnFailed(code="no_such_hook"))
        for hook in hooks:
            yield from self._run_hook(hook)
        if self._spoke:
            yield from self._run_hooks("on_reply")

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
            behavior=None if self._graph is None else self._steering,
            mind=self._memory,
            absent_ms=start.absent_ms,
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
            patch, user_patch = self._states.patches(before, self._left())
        except InvalidPatch as error:  # with what newer code keeps it does not fit
            patch, user_patch = (), ()
            self._transitions.clear()
            self._degrade(Degraded("commit", error.code))
        urgent = bool(patch or user_patch) and self._turn.is_urgent
        memory, mine = self._memory, self._in_mind(patch)
        return Commit(
            patch=(*patch, *mine),
            user_patch=user_patch,
            degraded=tuple(self._degraded),
            urgent=urgent,
            transitions=tuple(self._transitions),
            atoms=memory.atoms,
            forgotten=memory.forgotten,
            confirmed=memory.confirmed,
            emitted=tuple(self._emitted),
            trace=self._trace,
        )

    def _in_mind(self, patch: tuple[PatchOp, ...]) -> tuple[PatchOp, ...]:
        """Of the session's state: what it keeps in mind, where there is room for it."""
        try:
            mine = self._memory.patch()
            if mine:
                apply(self._states.session, (*patch, *mine), max_bytes=self._max_state_bytes)
            return mine
        except InvalidPatch as error:
            self._degrade(Degraded("commit", error.code))
            return ()

    # The behaviour graph

    def _move(self, graph: Graph) -> Steps:
        """One tick, and the hooks of the nodes that the session leaves and comes to."""
        kept, was_urgent, prompts = self._left(), self._turn.is_urgent, len(self._turn.prompt.texts)
        self._known = kept
        start = self._start
        ticked = tick(graph, self._steering.places, self, turn=start.turn, now_ms=start.now_ms, seed=start.rng_seed)
        self._give(kept, self._turn)
        self._turn.is_urgent = was_urgent
        del self._turn.prompt.texts[prompts:]
        if self._over:
            raise _TurnOver(self._over)
        if ticked.ignored:
            self._degrade(Degraded("behavior", "override_ignored"))
            self.note(f"(the graph of this revision lacks what the session changed: {', '.join(ticked.ignored)})")
        if ticked.failed:
            self._degrade(Degraded("behavior", "policy_failed"))
        self._reporter.ticked(ticked)
        if start.trace:
            self._trace = traced(graph, self._steering.places, ticked)
        left = {step.subgraph: step for step in ticked.transitions}
        for name, place in ticked.places.items():
            if name not in left:
                self._steering.move(name, place)
        try:
            for step in ticked.transitions:
                self._change(graph, step.subgraph, step.source, "exit")
                for hook in self._role.at("exit", step.source, step.subgraph):
                    yield from self._run_hook(hook)
                del left[step.subgraph]
                self._arrive(step, ticked)
                self._change(graph, step.subgraph, step.target, "enter")
                for hook in self._role.at("enter", step.target, step.subgraph):
                    yield from self._run_hook(hook)
        except _Interrupted:  # the hook that asked stands where it asked; the session does not
            for step in left.values():
                self._arrive(step, ticked)
            raise

    def _change(self, graph: Graph, subgraph: str, node: str, moment: str) -> None:
        """What the manifest does to the state at a node's door, each change after the one before it."""
        for change in graph.at(subgraph, node, moment):
            kept = self._left()
            self._known = kept
            self._facts.clear()
            state = self._turn.user_state if change.scope == "user" else self._turn.state
            try:
                setattr(state, change.field, new_value(change, self.facts(node), getattr(state, change.field)))
                self._check_state()
            except (ChangeFailed, HookFailed) as failed:
                self._give(kept, self._turn)
                self._degrade(Degraded("behavior", "change_failed"))
                self.note(f"({moment} of {node}: {change.field} was not changed: {failed})")

    def _arrive(self, step: Transition, ticked: Ticked) -> None:
        self._steering.move(step.subgraph, ticked.places[step.subgraph])
        self._transitions.append(step)

    def facts(self, node: str) -> Facts:
        """What expressions are asked about; a part of `tick`."""
        found = self._facts.get(node)
        if found is None:
            start, known = self._start, self._known
            found = self._facts[node] = Facts(
                message=start.message,
                user=start.user,
                turn=start.turn,
                node=node,
                state=known.session,
                user_state=known.user,
            )
        return found

    def judge(self, hook: Hook) -> bool:
        """What the predicate of an edge says; a part of `tick`. Raises Refused where it fails."""
        run, self._runs = self._runs, self._runs + 1
        stop = self._stops.get(run)
        self._judging = True
        try:
            if stop and stop.effects <= self._count:
                raise HookFailed(stop.code)
            self._reporter.entering(run, hook)
            value = call(hook.function, self._turn)
            if inspect.iscoroutine(value):
                close(value)
            if self._turn.forgotten():
                raise HookFailed("no_effects_here", LogicError("the predicate of an edge cannot ask the model"))
            if type(value) is not bool:
                raise HookFailed("predicate_not_bool", LogicError("the predicate of an edge returns True or False"))
            return value
        except HookFailed as failure:
            self._turn.forgotten()
            self._leave_out(hook, failure)
            raise Refused(failure.code) from None
        finally:
            self._judging = False

    def note(self, text: str) -> None:
        """A line of ours in the tenant's log; not again while the turn is run again."""
        if self._count >= len(self._journal):
            self._reporter.log(text)

    # Hooks

    def _run_hooks(self, event: str) -> Steps:
        for hook in self._role.of(event):
            yield from self._run_hook(hook)

    def _run_hook(self, hook: Hook) -> Steps:
        run, self._runs = self._runs, self._runs + 1
        stop = self._stops.get(run)
        kept, was_urgent, remembered = self._left(), self._turn.is_urgent, self._memory.copy()
        frames = len(self._emitted)
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
                self._memory.back_to(remembered)
            self._give(state, self._turn)
            raise
        except HookFailed as failure:
            if self._over:
                raise _TurnOver(self._over) from None
            self._give(kept, self._turn)
            self._turn.is_urgent = was_urgent
            self._memory.back_to(remembered)
            del self._emitted[frames:]
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
            raise HookFailed("not_awaited", LogicError("t.ask() or a request of t.http was made but not awaited"))
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

    def _question(self, asked: Ask | Look | Request) -> Generator[None, Answer, str | list[Memory] | HttpAnswer]:
        if self._interrupted:
            raise _reply_is_over()
        self._questions += 1
        if self._questions > MAX_QUESTIONS - self._in_tool or self._count >= MAX_EFFECTS:
            raise LogicError(f"a turn's hooks may ask at most {MAX_QUESTIONS} questions", code="too_many_effects")
        if isinstance(asked, Look):
            return (yield from self._look(asked))
        if isinstance(asked, Request):
            return (yield from self._fetch(asked))
        return (yield from self._ask(asked))

    def _look(self, look: Look) -> Generator[None, Answer, list[Memory]]:
        """What is remembered: here, and where the gateway keeps it."""
        asked = self._memory.question(look, self._count)
        if asked is None:
            return self._memory.answer(look, None)
        self._emit(asked)
        found = yield from self._answered(asked.index)
        if not isinstance(found, Recalled):
            raise ProtocolViolation("a question to memory was answered by something else")
        return self._memory.answer(look, found)

    def _fetch(self, asked: Request) -> Generator[None, Answer, HttpAnswer]:
        """What a server outside answers; the gateway asks it. Raises HttpFailed where there is no answer."""
        fetch = asked.message(self._count)
        self._emit(fetch)
        found = yield from self._answered(fetch.index)
        if not isinstance(found, Fetched):
            raise ProtocolViolation("a request to a server was answered by something else")
        return HttpAnswer.of(found)

    def _answered(self, index: int) -> Generator[None, Answer, Answer]:
        """The answer to the effect that was just made: the journal's, or the one that comes."""
        result = self._journal[index].result if index < len(self._journal) else None
        if result is None:
            result = yield
        if result.index != index:
            raise ProtocolViolation("an answer to another question arrived")
        return result

    def _ask(self, asked: Ask) -> Generator[None, Answer, str]:
        """The model's answer, and what it says after every round of tools that it calls."""
        self._stopped = False
        question = CallModel(
            index=self._count,
            segments=self._segments(asked.text),
            stream=asked.stream,
            max_tokens=asked.max_tokens,
            tools=self._offers(asked.tools),
        )
        result = yield from self._model(question)
        text, rounds = result.text, 0
        while result.calls:
            outcomes = []
            for called in result.calls:
                outcomes.append((yield from self._tool(called)))
            rounds += 1
            self._questions += 1
            if self._count >= MAX_EFFECTS:
                break
            is_last = rounds >= MAX_ROUNDS or self._questions >= MAX_QUESTIONS
            question = replace_struct(
                question,
                index=self._count,
                segments=(),
                tools=() if is_last else question.tools,
                continues=question.index,
                results=tuple(outcomes),
            )
            result = yield from self._model(question)
            text += result.text
        return text

    def _model(self, question: CallModel) -> Generator[None, Answer, ModelResult]:
        index, stream = question.index, question.stream
        self._emit(question)
        result = yield from self._answered(index)
        if not isinstance(result, ModelResult):
            raise ProtocolViolation("a question to the model was answered by something else")
        if result.heard is not None:
            self._interrupt(result.text if stream else "", result.heard)
        if stream:
            self._turn.replied += result.text
        if result.error:
            raise ModelFailed("the model did not answer", code=result.error)
        self._spoke = self._spoke or (stream and (bool(result.text) or not result.calls))
        return result

    # Tools

    def _offers(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        return () if self._in_tool or self._questions >= MAX_QUESTIONS else self._belt.offers(wanted)

    def _tool(self, called: ToolCall) -> Generator[None, Answer, ToolOutcome]:
        """Carry a call of the model's out. Whatever goes wrong is told to the model, never more than by its code."""
        taken = self._belt.taken(called) if self._count < MAX_EFFECTS - 1 else refusal(called, TOO_MANY)
        if isinstance(taken, Ready):
            return (yield from self._run_tool(taken.tool, called, taken.given))
        if taken is not None:
            if taken.error == TOO_MANY:
                self._degrade(Degraded("tool", TOO_MANY))
            return taken
        asked = CallTool(index=self._count, name=called.name, arguments=called.arguments)
        self._emit(asked)
        result = yield from self._answered(asked.index)
        if not isinstance(result, ToolResult):
            raise ProtocolViolation("a call of a tool was answered by something else")
        return ToolOutcome(id=called.id, text=result.text, error=result.error[:64])

    def _run_tool(self, tool: Tool, called: ToolCall, given: dict[str, Any]) -> Generator[None, Answer, ToolOutcome]:
        """What a tool that fails did to the state and to memory is taken back; what it said stands."""
        run, self._runs = self._runs, self._runs + 1
        hook, stop = (
            Hook("tool", f"tool:{tool.name.replace('-', '_')}", tool.function, required=False),
            self._stops.get(run),
        )
        self._check_state()
        kept, was_urgent, remembered = self._left(), self._turn.is_urgent, self._memory.copy()
        listening, aside = self._listening, self._turn.set_aside()
        self._listening = self._in_tool = True
        try:
            if tool.name in self._belt.stopped:
                raise HookFailed(self._belt.stopped[tool.name])
            if stop and stop.effects <= self._count:
                raise HookFailed(stop.code)
            self._reporter.entering(run, hook)
            value = call(lambda turn: tool.function(turn, **given), self._turn)
            if inspect.iscoroutine(value):
                value = yield from self._drive_coroutine(value, run, hook, stop)
            if self._turn.forgotten():
                raise HookFailed("not_awaited", LogicError("t.ask() was made but not awaited"))
            outcome = ToolOutcome(id=called.id, text=said_by(value))
            self._check_state()
            return outcome
        except HookFailed as failure:
            if self._over:
                raise _TurnOver(self._over) from None
            self._take_back(kept)
            self._turn.is_urgent = was_urgent
            self._memory.back_to(remembered)
            return self._tool_failed(tool, hook, called, failure)
        finally:
            self._turn.take_up(aside)
            self._listening, self._in_tool = listening, False

    def _tool_failed(self, tool: Tool, hook: Hook, called: ToolCall, failure: HookFailed) -> ToolOutcome:
        code, where = self._belt.failed(tool, failure), ""
        if failure.cause:
            self._reporter.failed(hook, failure.cause)
            where = self._reporter.where(failure.cause)[:256]
        self._degrade(Degraded(hook.name, code, where))
        return refusal(called, code)

    def _take_back(self, kept: Kept) -> None:
        """The states as they were, in the objects that they were in: the hook that asked may hold them."""
        turn = self._turn
        held, held_user = turn.state, turn.user_state
        self._give(kept, turn)
        for old, name in ((held, "state"), (held_user, "user_state")):
            new = getattr(turn, name)
            if type(old) is type(new) and isinstance(new, msgspec.Struct):
                for one in new.__struct_fields__:
                    setattr(old, one, getattr(new, one))
                setattr(turn, name, old)

    def _interrupt(self, sent: str, heard: int) -> NoReturn:
        """The turn's reply ends where the user heard it end. The hook that waits still stands where it asked."""
        self._interrupted = True
        self._turn.replied = (self._turn.replied + sent)[:heard]
        try:
            self._check_state()
            raise _Interrupted(self._left())
        except HookFailed as invalid:
            raise _Interrupted(invalid) from None

    def _segments(self, question: str | None) -> tuple[Segment, ...]:
        persona: list[Segment] = [PersonaSegment(index) for index in range(self._personas)]
        if not persona and self._role.persona:
            persona = [TextSegment("system", self._role.persona)]
        behavior = told(self._graph, self._steering.places) if self._graph is not None else ""
        texts = [behavior, *self._turn.prompt.texts] if behavior else self._turn.prompt.texts
        added = [TextSegment("system", text) for text in texts]
        if question is None and self._start.occasion:
            question = cue(self._start.occasion, self._start.absent_ms)
        last = InputSegment() if question is None else TextSegment("user", question)
        return (*persona, *added, HistorySegment(), last)

    def _emit(self, message: Say | Question) -> None:
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
            return self._with_behavior(self._states.read())
        except (msgspec.ValidationError, RecursionError):
            raise _TurnOver(TurnFailed(code="invalid_state")) from None

    def _left(self) -> Kept:
        """As the hooks left it all."""
        return self._with_behavior(self._states.left(self._turn))

    def _with_behavior(self, kept: Kept) -> Kept:
        if self._graph is None:
            return kept
        return replace(kept, behavior=places.written(self._steering.places))

    def _give(self, kept: Kept, turn: Turn[Any]) -> None:
        if kept.behavior is not None:
            self._steering.places = places.read({places.BEHAVIOR: kept.behavior})
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


def cue(occasion: str, absent_ms: int) -> str:
    """What the model is asked in place of a message, where nobody wrote one.

    >>> cue("on_idle:nudge", 600_000)
    '(There is no message: the user has said nothing for 10m.)'
    """
    silent = written(max(1, absent_ms // 1000))
    return f"(There is no message: the user has said nothing for {silent}.)"


def _reply_is_over() -> LogicError:
    return LogicError(
        "the user interrupted this turn",
        hint="on_interrupt may change t.state and t.log; say it in the next turn",
        code=INTERRUPTED,
    )
