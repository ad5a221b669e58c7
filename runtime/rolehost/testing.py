"""`role_session`: a pytest fixture that plays turns of a Role with no model, no server and no clock.

    async def test_dragon(role_session):
        r = await role_session("story.py", user="u-17").say("tell me about a dragon")
        r.expect.state(dragons=1).text(contains="dragon").no_event("error")

Time passes only where a test says so: `await session.later("10m")` lets timers go off that are due by then.

The turn runs in the engine that serves it in production, state is folded from the patch
as the gateway folds it, and the next `say` of the same session remembers this one.
`say` has nothing to wait for, so `await` is a courtesy: a plain `def` test works as well,
and an `async def` one needs no plugin for async tests.
"""

import asyncio
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from rolehost.errors import ModelFailed
from rolehost.role import TIMERS, Hook, Role
from rolehost.timers import seconds_of
from rolehost_api.crd.role import Role as Manifest
from rolehost_api.link.messages import (
    INTERRUPTED,
    CallModel,
    CallTool,
    Commit,
    Degraded,
    Fetch,
    Fetched,
    HistorySegment,
    InputSegment,
    ModelResult,
    PersonaSegment,
    Recall,
    Recalled,
    Say,
    StartTurn,
    TextSegment,
    TimerSpec,
    ToolResult,
    Transition,
    TurnFailed,
)
from rolehost_api.link.tools import ToolCall
from rolehost_api.manifest import load
from rolehost_api.persona.resolving import resolved
from rolehost_runtime.core import timers
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.behavior.place import nodes
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.behavior.ticking import Ticked, Traced
from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
from rolehost_runtime.core.dsl.manifests import COMPILER
from rolehost_runtime.core.engine import Reporter, TurnEngine
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.placing import Placed
from rolehost_runtime.core.lorebook.playing import Played, examples_text
from rolehost_runtime.core.memory import short
from rolehost_runtime.core.memory.atoms import Changes, Source, kept, made
from rolehost_runtime.core.memory.recalling import Indexed, told
from rolehost_runtime.core.merge import Kind, applied, changes_of
from rolehost_runtime.core.patch import apply
from rolehost_runtime.core.prompt import NO_MESSAGE, Exchange, Piece, Spoken, Volatility, estimate, inserted
from rolehost_runtime.core.reach import stubs
from rolehost_runtime.core.reach.stubs import Requested as Requested
from rolehost_runtime.core.reach.stubs import Stub as Stub
from rolehost_runtime.core.reach.stubs import StubWeb
from rolehost_runtime.core.safety.compiling import Compiled as Safety
from rolehost_runtime.core.safety.compiling import compiled as compile_safety
from rolehost_runtime.core.safety.guards import Decision
from rolehost_runtime.core.safety.turn import RuledTurn
from rolehost_runtime.core.states import States
from rolehost_runtime.core.timers import Schedule
from rolehost_runtime.core.tooling import DENIED, TOLD, UNKNOWN, arguments_of, call_id, granted, pause


@dataclass(frozen=True, slots=True)
class Call:
    """The model calls a tool: `Call("stars", city="Oslo")`, or with what is no JSON: `Call("stars", raw="{")`."""

    tool: str
    arguments: Mapping[str, Any]
    raw: str | None
    text: str

    def __init__(self, tool: str, /, *, raw: str | None = None, text: str = "", **arguments: Any) -> None:
        """`text`: what it says before it calls."""
        for name, value in (("tool", tool), ("arguments", arguments), ("raw", raw), ("text", text)):
            object.__setattr__(self, name, value)


Line = str | ModelFailed | Call | tuple[Call, ...] | Callable[[str], str]
"""What the model says: the words, the error that it ends in, tools that it calls before it says more, or a function of
the prompt."""
Script = Line | Sequence[Line] | None

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Used:
    """A tool that the model called."""

    tool: str
    arguments: Mapping[str, Any]
    result: str
    """What the model read."""
    error: str
    """A code where it came to nothing."""


class Reply:
    """What a turn did. Awaiting it gives itself."""

    def __init__(self) -> None:
        self.text = ""
        """The whole reply; of an interrupted one what was heard."""
        self.interrupted = False
        """The user cut it short."""
        self.state: Any = None
        """The Role's State after the turn; of a Role whose only State has the scope user, that one."""
        self.user_state: Any = None
        """Its State with scope user after the turn; None where it declares none."""
        self.prompts: list[str] = []
        """What the model was shown, once per question."""
        self.memories: list[tuple[str, str]] = []
        """What the turn remembered: (kind, text)."""
        self.requests: list[Requested] = []
        """What `t.http` asked for, and was granted."""
        self.forgotten: tuple[str, ...] = ()
        """Ids of what it forgot."""
        self.logs: list[str] = []
        """What `t.log` was given."""
        self.degraded: tuple[Degraded, ...] = ()
        """Hooks that the turn went on without."""
        self.urgent = False
        """The change of the state is to be noticed at once: `t.urgent()`."""
        self.transitions: tuple[Transition, ...] = ()
        """How the behaviour graph moved, one step a subgraph at most."""
        self.nodes: Mapping[str, str] = {}
        """The current node of each subgraph after the turn."""
        self.trace: tuple[Traced, ...] = ()
        """Which edges were looked at, and what was to be said of each: why it went this way and no other."""
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        """Frames of the Role's own: (name, data)."""
        self.lore: tuple[str, ...] = ()
        """Ids of the lorebook's entries that the model was told, but for those that it is always told."""
        self.error: str | None = None
        """The code of a turn that failed; nothing of it is kept then."""
        self.finish_reason = "stop"
        """`content_filter` where a rule of the manifest's guards ended the turn or its reply."""
        self.decisions: tuple[Decision, ...] = ()
        """What the rules of the manifest's guards decided. Models and plugins are not asked here."""

        self.tools: list[Used] = []
        """What the model called, and what came of it."""

    @property
    def expect(self) -> "Expect":
        return Expect(self)

    def __await__(self) -> Generator[None, None, "Reply"]:
        return self
        yield  # makes this a generator


@dataclass(frozen=True, slots=True)
class Expect:
    """Assertions about a Reply; each gives back the whole, so that they chain."""

    reply: Reply

    def state(self, **fields: Any) -> "Expect":
        """These fields of the state have these values."""
        for name, expected in fields.items():
            actual = getattr(self.reply.state, name)
            assert actual == expected, f"state.{name} is {actual!r}, expected {expected!r}"
        return self

    def user_state(self, **fields: Any) -> "Expect":
        """These fields of the State with scope user have these values."""
        for name, expected in fields.items():
            actual = getattr(self.reply.user_state, name)
            assert actual == expected, f"user_state.{name} is {actual!r}, expected {expected!r}"
        return self

    def text(self, equals: str | None = None, *, contains: str | None = None) -> "Expect":
        actual = self.reply.text
        assert equals is None or actual == equals, f"the reply is {actual!r}, expected {equals!r}"
        assert contains is None or contains in actual, f"the reply is {actual!r}, without {contains!r}"
        return self

    def asked(self, times: int) -> "Expect":
        """The model was asked so many questions."""
        actual = len(self.reply.prompts)
        assert actual == times, f"the model was asked {actual} times, expected {times}"
        return self

    def tool(self, name: str, /, *, result: str | None = None, error: str = "", **arguments: Any) -> "Expect":
        """The model called this tool with these arguments among others; it worked, or failed with this error."""
        used = self.reply.tools
        found = [one for one in used if one.tool == name and arguments.items() <= one.arguments.items()]
        assert found, f"no such call was made; made were {[(one.tool, dict(one.arguments)) for one in used]}"
        outcomes = [one.error or "ok" for one in found]
        assert (error or "ok") in outcomes, f"{name} came to {', '.join(outcomes)}, expected {error or 'ok'}"
        results = [one.result for one in found]
        assert result is None or any(result in one for one in results), f"{name} gave {results}, expected {result!r}"
        return self

    def no_tool(self) -> "Expect":
        """The model called no tool."""
        assert not self.reply.tools, f"the model called {[one.tool for one in self.reply.tools]}"
        return self

    def memory(self, kind: str = "", *, contains: str = "") -> "Expect":
        """The turn remembered something of this kind that contains this; a relation is `Ann → fears → spiders`."""
        found = [text for one, text in self.reply.memories if kind in ("", one) and contains in text]
        assert found, f"no such thing was remembered; remembered was {self.reply.memories}"
        return self

    def forgot(self, times: int = 1) -> "Expect":
        """The turn forgot so many memories."""
        actual = len(self.reply.forgotten)
        assert actual == times, f"{actual} memories were forgotten, expected {times}"
        return self

    def requested(self, method: str, url: str, *, json: Any = None) -> "Expect":
        """The turn made such a request, with this JSON for a body where it is given."""
        made = [one for one in self.reply.requests if (one.method, one.url) == (method, url)]
        every = ", ".join(f"{one.method} {one.url}" for one in self.reply.requests) or "nothing"
        assert made, f"no such request was made; made was {every}"
        assert json is None or json in [one.json() for one in made], f"its body is {made[0].body!r}, expected {json!r}"
        return self

    def interrupted(self) -> "Expect":
        """The user cut the reply short, so `on_interrupt` hooks ran in place of `on_reply`."""
        assert self.reply.interrupted, "the turn was not interrupted"
        return self

    def urgent(self) -> "Expect":
        """The turn changed the state, and said that it is urgent."""
        assert self.reply.urgent, "nothing urgent happened to the state"
        return self

    def transition(self, source: str, target: str, *, subgraph: str = "", why: str | None = None) -> "Expect":
        """The behaviour graph went from one node to the other, and this was why where it is given."""
        steps = [step for step in self.reply.transitions if subgraph in ("", step.subgraph)]
        found = [step for step in steps if (step.source, step.target) == (source, target)]
        went = ", ".join(f"{step.source} → {step.target}" for step in steps) or "nowhere"
        assert found, f"the graph went {went}, expected {source} → {target}.{self._why_not()}"
        assert why in (None, found[0].why), f"it went there by {found[0].why!r}, expected {why!r}"
        return self

    def no_transition(self) -> "Expect":
        """The behaviour graph stayed where it was."""
        went = ", ".join(f"{step.source} → {step.target}" for step in self.reply.transitions)
        assert not went, f"the graph went {went}"
        return self

    def node(self, name: str, *, subgraph: str = "") -> "Expect":
        """The current node after the turn; without `subgraph` of the first one."""
        nodes = self.reply.nodes
        actual = nodes.get(subgraph) if subgraph else next(iter(nodes.values()), None)
        assert actual == name, f"the session is in {actual!r}, expected {name!r}.{self._why_not()}"
        return self

    def lore(self, *ids: str) -> "Expect":
        """The model was told these entries of the lorebook, and no others but those that it is always told."""
        actual = self.reply.lore
        assert sorted(actual) == sorted(ids), f"the lorebook told {list(actual)}, expected {list(ids)}"
        return self

    def _why_not(self) -> str:
        lines = [
            f"\n  {one.node} → {way.target} ({way.why or 'always'}): {'taken' if way is one.taken else verdict}"
            for one in self.reply.trace
            for way, verdict in one.looked_at
        ]
        return "".join(lines)

    def no_event(self, event: str) -> "Expect":
        """No such event: "error" is a turn that failed or a hook that was left out, "degraded" the latter only."""
        if event not in ("error", "degraded"):
            raise ValueError(f"no event is called {event!r}; there are 'error' and 'degraded'")
        left_out = ", ".join(f"{one.hook} ({one.code} at {one.where or '?'})" for one in self.reply.degraded)
        assert not left_out, f"the turn went on without {left_out}"
        assert event == "degraded" or self.reply.error is None, f"the turn failed: {self.reply.error}"
        return self

    def degraded(self, hook: str = "", code: str = "") -> "Expect":
        """Some hook was left out: one whose name contains `hook`, with this code, where they are given."""
        found = [one for one in self.reply.degraded if hook in one.hook and code in ("", one.code)]
        assert found, f"no such hook was left out; left out were {list(self.reply.degraded)}"
        return self

    def emitted(self, name: str, **data: Any) -> "Expect":
        """The turn emitted a frame of this name, with these values in it."""
        found = [held for one, held in self.reply.emitted if one == name]
        assert found, f"no {name} was emitted; there was {[one for one, _ in self.reply.emitted]}"
        fits = any(all(held.get(field) == value for field, value in data.items()) for held in found)
        assert fits, f"{name} was emitted with {found}, expected {data}"
        return self

    def finished(self, by: str) -> "Expect":
        """The reply ended by this: `stop`, or `content_filter`."""
        actual = self.reply.finish_reason
        assert actual == by, f"the reply ended by {actual!r}, expected {by!r}"
        return self

    def failed(self, code: str) -> "Expect":
        """The turn failed with this code."""
        assert self.reply.error == code, f"the turn's error is {self.reply.error!r}, expected {code!r}"
        return self


class Later:
    """What happened while time passed. Awaiting it gives itself."""

    def __init__(self) -> None:
        self.fired: list[tuple[str, Reply]] = []
        """Hooks of timers that went off, as `event:function`, and what came of each, in order."""

    @property
    def expect(self) -> "ExpectLater":
        return ExpectLater(self)

    def __await__(self) -> Generator[None, None, "Later"]:
        return self
        yield  # makes this a generator


@dataclass(frozen=True, slots=True)
class ExpectLater:
    """Assertions about a Later; each gives back the whole, so that they chain."""

    later: Later

    def fired(self, hook: str, *, times: int = 1) -> "ExpectLater":
        """Timers whose hook's name contains this went off so many times."""
        found = [name for name, _ in self.later.fired if hook in name]
        assert len(found) == times, f"{hook} went off {len(found)} times, expected {times}; there was {self._names()}"
        return self

    def quiet(self) -> "ExpectLater":
        """Nothing went off."""
        assert not self.later.fired, f"there was {self._names()}"
        return self

    @property
    def reply(self) -> Expect:
        """About the newest turn."""
        assert self.later.fired, "nothing went off"
        return self.later.fired[-1][1].expect

    def _names(self) -> str:
        return ", ".join(name for name, _ in self.later.fired) or "nothing"


@dataclass(slots=True)
class _Listening(Reporter):
    folder: str
    reply: Reply

    def log(self, text: str) -> None:
        self.reply.logs.append(text)

    def ticked(self, ticked: Ticked) -> None:
        self.reply.trace = ticked.trace

    def failed(self, hook: Hook, error: BaseException) -> None:
        """On stderr, which pytest shows with a failed test."""
        traceback.print_exception(error)

    def where(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(self.folder)]
        return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


@dataclass(slots=True)
class Conversation:
    """Of one turn: what the model was shown and called, for the questions that go on from there."""

    prompts: dict[int, list[str]] = field(default_factory=dict)
    calls: dict[int, ModelResult] = field(default_factory=dict)
    before: dict[int, str] = field(default_factory=dict)
    """What it said up to a question, in the answer that this goes on with."""

    def went_on(self, question: CallModel, reply: Reply) -> list[str]:
        """What it is shown beside the prompt: what came of its calls."""
        if question.continues is None:
            return []
        made = self.calls[question.continues]
        self.before[question.index] = self.before.get(question.continues, "") + made.text
        lines = [*self.prompts[question.continues], *([f"persona: {made.text}"] if made.text else [])]
        for call, outcome in zip(made.calls, question.results, strict=True):
            reply.tools.append(Used(call.name, arguments_of(call.arguments) or {}, outcome.text, outcome.error))
            lines.append(f"tool {call.name}: {outcome.text}")
        return lines

    def said(self, question: CallModel) -> str:
        return self.before.get(question.index, "")

    def called(
        self, question: CallModel, wanted: Sequence[Call], role: Role[Any], permissions: Sequence[str]
    ) -> ModelResult:
        if not question.tools:
            pytest.fail(f"the model is to call {wanted[0].tool}, and no tool is offered: is tool:… in permissions?")
        made = [
            ToolCall(
                id=call_id(question.index, place),
                name=one.tool,
                arguments=msgspec.json.encode(one.arguments).decode() if one.raw is None else one.raw,
                error="" if granted(permissions, one.tool) else DENIED if one.tool in role.tools else UNKNOWN,
            )
            for place, one in enumerate(wanted)
        ]
        text = "".join(one.text for one in wanted)
        result = ModelResult(index=question.index, text=text, calls=tuple(made), finish_reason="tool_calls")
        self.calls[question.index] = result
        return result


@dataclass(slots=True)
class RoleSession:
    """One session of one Role."""

    role: Role[Any]
    folder: str
    user: str = ""
    session_id: str = "test"
    persona: str = ""
    model: Script = None
    now: datetime = NOON
    max_state_bytes: int = 65_536
    raw: dict[str, Any] = field(default_factory=dict)
    """The state as it is stored."""
    shared: dict[str, Any] = field(default_factory=dict)
    """User-scope state as it is stored, where there is a user."""
    remembered: dict[bytes, bytes] = field(default_factory=dict)
    """What is remembered of the user, as it is stored; without a user, of this session."""
    permissions: tuple[str, ...] = (
        "model.call", "memory.read", "memory.write", "memory.forget", "tool:*", stubs.ANY_HOST,
    )  # fmt: skip
    """As the manifest grants them."""
    web: StubWeb = field(default_factory=dict)
    """What `t.http` is answered, by URL."""
    transcript: list[tuple[str, str]] = field(default_factory=list)
    """(message, reply) of every turn that was committed."""
    graph: Graph | None = None
    """The Role's behaviour graph."""
    seed: int = 0
    """Of the chances of its turns: another seed, another course of a graph with weights."""
    servers: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    """Tools of other servers, by the names that the model knows: `{"maps__route": lambda to: …}`."""
    lorebook: Played | None = None
    """The persona's, where it has one."""
    safety: Safety | None = None
    """The rules of the manifest's guards."""
    _asked: int = 0
    _rounds: Conversation = field(default_factory=Conversation)
    _spoke: datetime | None = None
    """When the user's newest turn was."""
    _schedule: Schedule | None = None
    _withheld: set[int] = field(default_factory=set)
    """Turns, from 0, of which the model is not told: their messages were blocked."""
    _started: bool = False
    """The logic has seen a turn."""

    def say(self, message: str) -> Reply:
        """Play one turn. What fails in the Role is in the reply; only a wrong script raises."""
        return self._play(message, None)

    def interrupt(self, message: str, *, heard: int) -> Reply:
        """Play one turn whose reply the user cuts short after `heard` characters.

        The hook that asked the model goes no further, its state is as it was when it asked,
        and `on_interrupt` runs; the next turns know only what was heard.
        """
        reply = self._play(message, heard)
        if not reply.interrupted and reply.error is None:
            pytest.fail(f"the model's answer ends before character {heard} of the reply: there is nothing to interrupt")
        return reply

    def later(self, period: str | timedelta) -> Later:
        """So much time passes, and whatever timers are due in it go off, each at its time."""
        until = self.now + timedelta(seconds=seconds_of(period))
        passed = Later()
        while self._schedule is not None and (due := timers.due(self._schedule, _ms(until))) is not None:
            self.now = max(self.now, datetime.fromtimestamp(due.due_ms / 1000, UTC))
            reply = self._play("", None, due.hook)
            passed.fired.append((due.hook, reply))
            self._schedule = timers.fired(self._schedule, due.hook, _ms(self.now))
        self.now = until
        return passed

    def end(self) -> Reply:
        """The conversation is ended: `on_end` runs, and no timer goes off any more."""
        self._schedule = None
        return self._play("", None, "on_end")

    def _spoken(self) -> None:
        """The user said something: timers count from now."""
        self._spoke, revision = self.now, self.role.name
        specs = [
            TimerSpec(hook.name, "on_idle" if hook.event == "on_idle" else "every", hook.seconds)
            for hook in self.role.hooks
            if hook.event in TIMERS
        ]
        self._schedule = timers.armed(self._schedule, revision, specs, key="", spoke_ms=_ms(self.now))

    def _play(self, message: str, heard: int | None, occasion: str = "") -> Reply:
        reply = Reply()
        turn = len(self.transcript) + 1
        self._rounds = Conversation()
        rules = RuledTurn(self.safety) if self.safety is not None else None
        if rules is not None and not occasion:
            let = rules.let_in(message)
            if let.reply is not None:
                return self._blocked(message, let.reply, rules, reply)
            message = let.text
        start = StartTurn(
            session=self.session_id,
            session_id=self.session_id,
            turn=turn,
            version=turn - 1,
            message=message,
            user=self.user,
            now_ms=round(self.now.timestamp() * 1000),
            rng_seed=(self.seed << 32) + turn,
            deadline_ms=30_000,
            user_at=str(turn) if self.user else "",
            occasion=occasion,
            absent_ms=_ms(self.now) - _ms(self._spoke) if self._spoke is not None else 0,
            first=turn > 1 and not self._started,
        )
        engine = TurnEngine(
            self.role,
            start,
            self.raw,
            user_state=self.shared,
            personas=1 if self.persona else 0,
            max_state_bytes=self.max_state_bytes,
            reporter=_Listening(self.folder, reply),
            graph=self.graph,
            permissions=self.permissions,
        )
        out = engine.begin()
        while not engine.done:
            reply.text += self._said(out, rules)
            question = out[-1]
            if isinstance(question, Recall):
                out = engine.resume(self._recall(question, start.now_ms))
                continue
            if isinstance(question, Fetch):
                out = engine.resume(self._fetch(question, reply))
                continue
            if isinstance(question, CallTool):
                out = engine.resume(self._served(question))
                continue
            assert isinstance(question, CallModel)
            result = self._watched(engine, question, self._guarded(question, message, reply, rules))
            reply.text += result.text if question.stream else ""
            if heard is not None and question.stream and len(reply.text) >= heard and not result.error:
                reply.text, reply.interrupted = reply.text[:heard], True
                result = msgspec.structs.replace(result, error=INTERRUPTED, heard=heard)
            out = engine.resume(result)
        reply.text += self._said(out, rules)
        if rules is not None:
            reply.text += rules.end()
            reply.decisions = tuple(rules.decisions)
            reply.finish_reason = "content_filter" if rules.shut else "stop"
        self._end(out[-1], message, reply)
        if not occasion and reply.error is None:
            self._spoken()
            self.now += timedelta(minutes=1)
        return reply

    def _watched(self, engine: TurnEngine, question: CallModel, result: ModelResult) -> ModelResult:
        """The answer as far as `on_delta` hooks let it come, who see it word by word."""
        if not question.stream or result.error or not self.role.of("on_delta"):
            return result
        heard = ""
        for piece in re.findall(r"\s*\S+\s*", result.text):
            heard += piece
            if engine.notice(piece):
                return msgspec.structs.replace(result, text=heard)
        return result

    def _blocked(self, message: str, said: str, rules: RuledTurn, reply: Reply) -> Reply:
        """A turn that the logic hears nothing of."""
        reply.text, reply.finish_reason, reply.decisions = said, "content_filter", tuple(rules.decisions)
        if any(one.action == "block" for one in rules.decisions):
            self._withheld.add(len(self.transcript))
        self.transcript.append((message, said))
        self._spoken()
        self.now += timedelta(minutes=1)
        self._shown(reply)
        return reply

    def _said(self, out: Sequence[object], rules: RuledTurn | None) -> str:
        texts = [one.text for one in out if isinstance(one, Say)]
        return "".join(texts if rules is None else map(rules.say, texts))

    def _guarded(self, question: CallModel, message: str, reply: Reply, rules: RuledTurn | None) -> ModelResult:
        """The model's answer; of one that is said, what the rules let out."""
        if rules is None or not question.stream:
            return self._answer(question, message, reply)
        reply.text += rules.end()
        if rules.shut:
            return ModelResult(index=question.index, finish_reason="content_filter")
        result = self._answer(question, message, reply)
        return msgspec.structs.replace(result, text=rules.say(result.text) + rules.end())

    def _end(self, end: object, message: str, reply: Reply) -> None:
        if isinstance(end, TurnFailed):
            reply.error = end.code
        elif isinstance(end, Commit):
            reply.degraded, reply.urgent, reply.transitions = end.degraded, end.urgent, end.transitions
            self.raw = apply(self.raw, end.patch, max_bytes=self.max_state_bytes)
            self.shared.update(applied(self.shared, changes := changes_of(end.user_patch)))
            for gone in (change.field for change in changes if change.kind is Kind.DROP):
                self.shared.pop(gone, None)
            self._remember(end, reply)
            reply.emitted = [(frame.name, frame.data) for frame in end.emitted]
            self.transcript.append((message, reply.text))
            self._started = True
        self._shown(reply)

    def _shown(self, reply: Reply) -> None:
        reply.nodes = nodes(self.raw)
        states = States(self.role, self.raw, self.shared if self.user else None, self.max_state_bytes)
        states.give(reply, states.read())

    def _recall(self, asked: Recall, now_ms: int) -> Recalled:
        found = Indexed.of(self.remembered).found(asked, now_ms)
        return Recalled(index=asked.index, atoms=told(found, only_ids=asked.to_forget))

    def _fetch(self, asked: Fetch, reply: Reply) -> Fetched:
        try:
            made, answer = stubs.answer(self.web, self.permissions, asked)
        except stubs.NotStubbed as missing:
            pytest.fail(str(missing))
        reply.requests += [made] if made is not None else []
        return answer

    def _remember(self, end: Commit, reply: Reply) -> None:
        turn, at_ms = len(self.transcript) + 1, round(self.now.timestamp() * 1000)
        atoms = made(end.atoms, Source(f"test/{self.session_id}", self.session_id, turn, "test", at_ms))
        changes = Changes(atoms, end.forgotten, end.confirmed, at_ms)
        after = kept(self.remembered, changes, f"{self.session_id}/{turn}")
        self.remembered.clear()
        self.remembered.update(after)
        reply.memories = [(atom.kind, atom.said) for atom in atoms]
        reply.memories += [("short", one.text) for one in short.read(self.raw) if one.at_ms == at_ms]
        reply.forgotten = end.forgotten

    def _served(self, asked: CallTool) -> ToolResult:
        """A tool of another server."""
        if asked.name not in self.servers or not granted(self.permissions, asked.name):
            error = DENIED if asked.name in self.servers else UNKNOWN
            return ToolResult(index=asked.index, text=TOLD[error], error=error)
        return ToolResult(index=asked.index, text=self.servers[asked.name](**(arguments_of(asked.arguments) or {})))

    def _answer(self, question: CallModel, message: str, reply: Reply) -> ModelResult:
        rounds = self._rounds
        lines = [*self._lines(question, message, reply), *rounds.went_on(question, reply)]
        rounds.prompts[question.index] = lines
        prompt = "\n".join(lines)
        reply.prompts.append(prompt)
        line = self._next_line(message) if question.tools or question.continues is None else "(no more tools)"
        if callable(line):
            line = line(prompt)
        if isinstance(line, ModelFailed):
            return ModelResult(index=question.index, error=line.code)
        before = rounds.said(question)
        if isinstance(line, str):
            return ModelResult(index=question.index, text=f"{pause(before)}{line}", finish_reason="stop")
        return rounds.called(question, line if isinstance(line, tuple) else (line,), self.role, self.permissions)

    def _next_line(self, message: str) -> Line:
        if self.model is None:
            return f"(the model answers: {message})"
        if isinstance(self.model, str | ModelFailed | Call) or callable(self.model):
            return self.model
        if isinstance(self.model, tuple) and all(isinstance(one, Call) for one in self.model):
            return cast("tuple[Call, ...]", self.model)
        self._asked += 1
        if self._asked > len(self.model):
            pytest.fail(f"the model was asked {self._asked} times, but model= has {len(self.model)} lines")
        return self.model[self._asked - 1]

    def _lines(self, question: CallModel, message: str, reply: Reply) -> Iterator[str]:
        lore, persona, said = self._lore(question, message, reply), (self.persona,), list[Spoken]()
        for segment in lore.segments(question.segments):
            match segment:
                case PersonaSegment():
                    said.append(Spoken("system", "\n\n".join(lore.persona(persona))))
                case TextSegment(speaker=speaker, text=text):
                    said.append(Spoken(speaker, text))
                case HistorySegment():
                    for number, (asked, replied) in enumerate(self.transcript):
                        if (asked or replied) and number not in self._withheld:
                            said += (Spoken("user", asked or NO_MESSAGE), Spoken("persona", replied))
                case InputSegment():
                    said.append(Spoken("user", message))
        pieces = [Piece(Volatility.TURN, one) for one in said]
        return (f"{one.speaker}: {one.text}" for _, one in inserted(pieces, lore.among))

    def _lore(self, question: CallModel, message: str, reply: Reply) -> Placed:
        if self.lorebook is None or not any(isinstance(one, PersonaSegment) for one in question.segments):
            return Placed()
        turn = len(self.transcript) + 1
        past = [Exchange(asked, replied) for asked, replied in self.transcript]
        found = self.lorebook.turn(message, past, turn=turn, seed=(self.seed << 32) + turn)
        reply.lore = self.lorebook.ids
        return found


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def open_session(source: Path, **options: Any) -> RoleSession:
    """A session with the Role in a file, `story.py` or `story.py:storyteller`, which is read afresh; or with a manifest's,
    `role.yaml`: its persona, its behaviour graph, and the Python that it names beside it."""
    name, _, attribute = source.name.partition(":")
    path = source.with_name(name)
    if path.suffix in (".yaml", ".yml"):
        return _of_manifest(path, attribute, options)
    role = _role_in(_names_in(path), attribute, path)
    return RoleSession(role, str(path.parent), **{"graph": graph_of(role), **options})


def _of_manifest(path: Path, name: str, options: dict[str, Any]) -> RoleSession:
    found = load(path.read_text(), path.name, local=True, compiler=COMPILER)
    declared = [one for one in found if isinstance(one, Manifest) and name in ("", one.metadata.name)]
    if len(declared) != 1:
        raise ValueError(f"{path.name} has {len(declared)} such Roles; name one as {path.name}:NAME")
    template, logic = declared[0].spec.template, declared[0].spec.template.logic
    compiled = compile_behavior(template.behavior, Surroundings(has_logic=logic is not None))
    if logic is None:
        role = bare(declared[0].metadata.name, compiled)
    else:
        module, _, attribute = (logic.entrypoint or "logic").partition(":")
        file = path.with_name(f"{module.replace('.', '/')}.py")
        if not file.is_file():
            raise ValueError(f"{path.name} has logic that is not beside it: there is no {file.name}")
        role = _role_in(_names_in(file), attribute, file)
    persona = template.persona
    ready = {
        "graph": graph_of(role, compiled),
        "persona": "\n\n".join(
            filter(None, (resolved(persona)[0].system, examples_text([(e.user, e.persona) for e in persona.examples])))
        ),
        "lorebook": Played(Compiled(persona.lorebook, estimate), greeted=bool(persona.greeting or persona.greetings)),
        "permissions": tuple(template.permissions),
        "safety": compile_safety(template.safety),
    }
    return RoleSession(role, str(path.parent), **{**ready, **options})


def _names_in(path: Path) -> Mapping[str, Any]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return vars(module)


def _role_in(names: Mapping[str, Any], attribute: str, path: Path) -> Role[Any]:
    roles = {key: value for key, value in names.items() if isinstance(value, Role)}
    if attribute in roles:
        return roles[attribute]
    distinct = {id(role): role for role in roles.values()}
    if attribute or len(distinct) != 1:
        raise ValueError(f"{path.name} has Roles {sorted(roles)}; name one as {path.name}:NAME")
    return distinct.popitem()[1]


@pytest.fixture
def role_session(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., RoleSession]]:
    """Open a session: `role_session("story.py", user="u-17", model=["Once upon a time"])`, or with `role.yaml`.

    The file is looked for beside the test, in the folders above it, and where pytest was
    started. `model`: the words that it says, a list of them, a function of the prompt, a tool that it calls, `Call("stars",
    city="Oslo")`, or `ModelFailed(…)`; without it, it quotes the message. `web`: what `t.http` is answered, by
    URL: text, JSON, a status, `Stub(…)`, `HttpFailed(…)`, or a function of the request; what is not there fails the test.
    Sessions of one test with the same file and the same `user`
    share that person's State with scope user and what is remembered of them; without a `user` both are the session's own.
    """
    known = set(sys.modules)
    folders: list[Path] = []
    shared: dict[tuple[Path, str], dict[str, Any]] = {}
    remembered: dict[tuple[Path, str], dict[bytes, bytes]] = {}

    def opened(source: str, **options: Any) -> RoleSession:
        path = _found(source, request.path.parent, request.config.rootpath)
        folders.append(path.parent)
        monkeypatch.syspath_prepend(path.parent)
        user = options.get("user", "")
        options.setdefault("shared", shared.setdefault((path, user), {}))
        if user:
            options.setdefault("remembered", remembered.setdefault((path, user), {}))
        return open_session(path, **options)

    yield opened
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file and any(Path(file).is_relative_to(folder) for folder in folders):
            del sys.modules[name]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test with `role_session` where no plugin for async tests has taken it."""
    if "role_session" not in pyfuncitem.fixturenames or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True


def _found(source: str, beside: Path, root: Path) -> Path:
    name = source.partition(":")[0]
    for folder in (beside, *beside.parents):
        if (folder / name).is_file():
            return folder / source
        if folder == root:
            break
    if Path(name).is_file():
        return Path(source).absolute()
    raise FileNotFoundError(f"{name} is neither beside the test, nor above it, nor in {Path.cwd()}")
