"""`role_session`: a pytest fixture that plays turns of a Role with no model, no server and no clock.

    async def test_dragon(role_session):
        r = await role_session("story.py", user="u-17").say("tell me about a dragon")
        r.expect.state(dragons=1).text(contains="dragon").no_event("error")

The turn runs in the engine that serves it in production, state is folded from the patch
as the gateway folds it, and the next `say` of the same session remembers this one.
`say` has nothing to wait for, so `await` is a courtesy: a plain `def` test works as well,
and an `async def` one needs no plugin for async tests.
"""

import asyncio
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rolehost.errors import ModelFailed
from rolehost.role import Hook, Role
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
    StartTurn,
    TextSegment,
    TurnFailed,
)
from rolehost_runtime.core.engine import Reporter, TurnEngine
from rolehost_runtime.core.merge import Kind, applied, changes_of
from rolehost_runtime.core.patch import apply
from rolehost_runtime.core.states import States

Line = str | ModelFailed | Callable[[str], str]
"""What the model says: the words, the error that it ends in, or a function of the prompt."""
Script = Line | Sequence[Line] | None

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


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
        self.logs: list[str] = []
        """What `t.log` was given."""
        self.degraded: tuple[Degraded, ...] = ()
        """Hooks that the turn went on without."""
        self.urgent = False
        """The change of the state is to be noticed at once: `t.urgent()`."""
        self.error: str | None = None
        """The code of a turn that failed; nothing of it is kept then."""

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

    def interrupted(self) -> "Expect":
        """The user cut the reply short, so `on_interrupt` hooks ran in place of `on_reply`."""
        assert self.reply.interrupted, "the turn was not interrupted"
        return self

    def urgent(self) -> "Expect":
        """The turn changed the state, and said that it is urgent."""
        assert self.reply.urgent, "nothing urgent happened to the state"
        return self

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

    def failed(self, code: str) -> "Expect":
        """The turn failed with this code."""
        assert self.reply.error == code, f"the turn's error is {self.reply.error!r}, expected {code!r}"
        return self


@dataclass(slots=True)
class _Listening(Reporter):
    folder: str
    reply: Reply

    def log(self, text: str) -> None:
        self.reply.logs.append(text)

    def failed(self, hook: Hook, error: BaseException) -> None:
        """On stderr, which pytest shows with a failed test."""
        traceback.print_exception(error)

    def where(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(self.folder)]
        return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


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
    transcript: list[tuple[str, str]] = field(default_factory=list)
    """(message, reply) of every turn that was committed."""
    _asked: int = 0

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

    def _play(self, message: str, heard: int | None) -> Reply:
        reply = Reply()
        turn = len(self.transcript) + 1
        start = StartTurn(
            session=self.session_id,
            session_id=self.session_id,
            turn=turn,
            version=turn - 1,
            message=message,
            user=self.user,
            now_ms=round(self.now.timestamp() * 1000),
            rng_seed=turn,
            deadline_ms=30_000,
            user_at=str(turn) if self.user else "",
        )
        engine = TurnEngine(
            self.role,
            start,
            self.raw,
            user_state=self.shared,
            personas=1 if self.persona else 0,
            max_state_bytes=self.max_state_bytes,
            reporter=_Listening(self.folder, reply),
        )
        out = engine.begin()
        while not engine.done:
            reply.text += "".join(said.text for said in out if isinstance(said, Say))
            question = out[-1]
            assert isinstance(question, CallModel)
            result = self._answer(question, message, reply)
            reply.text += result.text if question.stream else ""
            if heard is not None and question.stream and len(reply.text) >= heard and not result.error:
                reply.text, reply.interrupted = reply.text[:heard], True
                result = msgspec.structs.replace(result, error=INTERRUPTED, heard=heard)
            out = engine.resume(result)
        reply.text += "".join(said.text for said in out if isinstance(said, Say))
        self._end(out[-1], message, reply)
        return reply

    def _end(self, end: object, message: str, reply: Reply) -> None:
        if isinstance(end, TurnFailed):
            reply.error = end.code
        elif isinstance(end, Commit):
            reply.degraded, reply.urgent = end.degraded, end.urgent
            self.raw = apply(self.raw, end.patch, max_bytes=self.max_state_bytes)
            self.shared.update(applied(self.shared, changes := changes_of(end.user_patch)))
            for gone in (change.field for change in changes if change.kind is Kind.DROP):
                self.shared.pop(gone, None)
            self.transcript.append((message, reply.text))
            self.now += timedelta(minutes=1)
        states = States(self.role, self.raw, self.shared if self.user else None, self.max_state_bytes)
        states.give(reply, states.read())

    def _answer(self, question: CallModel, message: str, reply: Reply) -> ModelResult:
        prompt = "\n".join(self._lines(question, message))
        reply.prompts.append(prompt)
        line = self._next_line(message)
        if callable(line):
            line = line(prompt)
        if isinstance(line, ModelFailed):
            return ModelResult(index=question.index, error=line.code)
        return ModelResult(index=question.index, text=line, finish_reason="stop")

    def _next_line(self, message: str) -> Line:
        if self.model is None:
            return f"(the model answers: {message})"
        if isinstance(self.model, str | ModelFailed) or callable(self.model):
            return self.model
        self._asked += 1
        if self._asked > len(self.model):
            pytest.fail(f"the model was asked {self._asked} times, but model= has {len(self.model)} lines")
        return self.model[self._asked - 1]

    def _lines(self, question: CallModel, message: str) -> Iterator[str]:
        for segment in question.segments:
            match segment:
                case PersonaSegment():
                    yield f"system: {self.persona}"
                case TextSegment(speaker=speaker, text=text):
                    yield f"{speaker}: {text}"
                case HistorySegment():
                    for said, replied in self.transcript:
                        yield f"user: {said}"
                        yield f"persona: {replied}"
                case InputSegment():
                    yield f"user: {message}"


def open_session(source: Path, **options: Any) -> RoleSession:
    """A session with the Role in a file, `story.py` or `story.py:storyteller`; the file is read afresh."""
    name, _, attribute = source.name.partition(":")
    path = source.with_name(name)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return RoleSession(_role_in(vars(module), attribute, path), str(path.parent), **options)


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
    """Open a session: `role_session("story.py", user="u-17", model=["Once upon a time"])`.

    The file is looked for beside the test, in the folders above it, and where pytest was
    started. `model`: the words that it says, a list of them, a function of the prompt, or
    `ModelFailed(…)`; without it, it quotes the message. Sessions of one test with the same file and the same `user`
    share that person's State with scope user; without a `user` it is the session's own.
    """
    known = set(sys.modules)
    folders: list[Path] = []
    shared: dict[tuple[Path, str], dict[str, Any]] = {}

    def opened(source: str, **options: Any) -> RoleSession:
        path = _found(source, request.path.parent, request.config.rootpath)
        folders.append(path.parent)
        monkeypatch.syspath_prepend(path.parent)
        options.setdefault("shared", shared.setdefault((path, options.get("user", "")), {}))
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
