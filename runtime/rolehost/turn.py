"""Turn: one message and everything that a hook may do about it.

What goes through `t.` is an effect: carried out by the platform, outside the sandbox.
There is no event loop. `await` hands the request to whoever runs the hook, which makes
hooks deterministic, and lets a turn be run again elsewhere with the answers that it got.
"""

import re
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from typing import Any, Generic, Protocol, TypeVar, cast

from rolehost.behavior import Behavior, NoBehavior
from rolehost.memory import Memories, Mind
from rolehost.state import State
from rolehost.web import Web
from rolehost_api.errors import LogicError
from rolehost_api.link.messages import MAX_REPLY_CHARS, MAX_SAY_CHARS
from rolehost_api.link.tools import ALL_TOOLS, MAX_TOOLS, NAME_PATTERN

MAX_PROMPT_CHARS = 200_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

S = TypeVar("S", bound=State)


@dataclass(frozen=True, slots=True)
class Ask:
    """What awaiting a handle yields: a question to the model. The answer is sent back in."""

    text: str | None
    stream: bool
    max_tokens: int | None
    tools: tuple[str, ...] = (ALL_TOOLS,)


@dataclass(frozen=True, slots=True)
class Session:
    """The conversation that a turn belongs to."""

    id: str
    """The word that the client chose."""
    turn: int
    """1 is the first."""


class Effects(Protocol):
    """What a Turn needs of the engine for effects that have no answer."""

    def say(self, text: str) -> None: ...

    def log(self, text: str) -> None: ...

    def emit(self, name: str, data: dict[str, Any]) -> None: ...

    def stop(self) -> None: ...


class Answer:
    """The model's answer, not asked for yet. Await it for the text, or give it to `t.reply`."""

    def __init__(self, text: str | None, max_tokens: int | None, tools: tuple[str, ...] = (ALL_TOOLS,)) -> None:
        self._text = text
        self._max_tokens = max_tokens
        self._tools = tools
        self.used = False

    def __await__(self) -> Generator[Ask, str, str]:
        return self.ask(stream=False)

    def ask(self, *, stream: bool) -> Generator[Ask, str, str]:
        self.used = True
        return (yield Ask(self._text, stream, self._max_tokens, self._tools))


class Sent:
    """What `t.reply` and `t.say` return. Text is on its way already; an answer is asked for by `await`."""

    def __init__(self, text: str, answer: Answer | None = None) -> None:
        self._text = text
        self._answer = answer

    def __await__(self) -> Generator[Ask, str, str]:
        if self._answer is not None:
            self._text = yield from self._answer.ask(stream=True)
            self._answer = None
        return self._text


class Prompt:
    """What this turn's questions say to the model beside persona and history."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """Add a system text after the persona's own, for the rest of this turn.

        The session does not keep it. Raises LogicError `prompt_too_large`.
        """
        checked(text)
        if len(self.texts) >= 64 or sum(map(len, self.texts)) + len(text) > MAX_PROMPT_CHARS:
            raise LogicError(f"t.prompt is over 64 texts or {MAX_PROMPT_CHARS} characters", code="prompt_too_large")
        self.texts += (text[start : start + MAX_SAY_CHARS] for start in range(0, len(text), MAX_SAY_CHARS))


class Turn(Generic[S]):
    """One message of a user, and the Role's way to answer it."""

    def __init__(
        self,
        *,
        message: str,
        user: str,
        state: S,
        session: Session,
        now_ms: int,
        seed: int,
        effects: Effects,
        user_state: Any = None,
        behavior: Behavior | None = None,
        mind: Mind | None = None,
        absent_ms: int = 0,
    ) -> None:
        self.message = message
        """What the user wrote. Empty in `on_idle`, `every` and `on_end`: nobody did."""
        self.user = user
        """Who wrote it, as verified by the platform; empty where nobody was named."""
        self.state = state
        """What the Role keeps of this session; change it, and it is durable with this turn. Of a Role whose only State
        has the scope user, that one."""
        self.user_state = user_state
        """What the Role keeps of this person, shared by all their sessions with it; of this session only where `user`
        is empty. None where the Role declares no State with scope user."""
        self.session = session
        self.behavior: Behavior = behavior if behavior is not None else cast(Behavior, NoBehavior())
        """The behaviour graph of this session, which it may change."""
        self.prompt = Prompt()
        self.memory = Memories(mind or NoMind())
        """What the Role remembers of this person: `remember`, `recall`, `forget`, `confirm`."""
        self.http = Web()
        """Servers outside that the Role's permissions grant: `get`, `post`, `put`, `patch`, `delete`."""
        self.replied = ""
        """The reply so far: said by hooks and answered by the model. In `on_interrupt` what the user heard of it."""
        self.is_urgent = False
        """`urgent` was called."""
        self.delta = ""
        """In `on_delta`, the newest piece of the answer."""
        self.absent = timedelta(milliseconds=absent_ms)
        """How long ago the user's last turn was; none in a session's first."""
        self._now_ms = now_ms
        self._seed = seed
        self._effects = effects
        self._answers: list[Answer] = []

    @property
    def nodes(self) -> Mapping[str, str]:
        """The current node of each subgraph of the behaviour graph; in `on_start` and in predicates of edges the one
        before this message."""
        return self.behavior.nodes

    @property
    def node(self) -> str:
        """The current node: of the first subgraph where there are several; empty where the Role has no graph."""
        return next(iter(self.behavior.nodes.values()), "")

    @cached_property
    def now(self) -> datetime:
        """When the turn started, in UTC; the same when the turn is run again."""
        return _EPOCH + timedelta(milliseconds=self._now_ms)

    @cached_property
    def rng(self) -> Random:
        """Random numbers of this turn; the same when the turn is run again."""
        return Random(self._seed)  # noqa: S311 - meant to be repeatable, not secret

    def ask(
        self, text: str | None = None, *, max_tokens: int | None = None, tools: bool | Collection[str] = True
    ) -> Answer:
        """The model's answer to this turn's message, or to `text` in its place.

        Nothing is asked until the answer is awaited (`words = await t.ask("…")`: for the
        logic's eyes only) or replied with (`await t.reply(t.ask())`: streamed to the user).

        `tools` says which tools the model may call before it answers: all that the Role grants, none, or these. A tool's
        own questions have none.
        """
        if text is not None and len(checked(text)) > MAX_SAY_CHARS:
            raise LogicError(f"a question is over {MAX_SAY_CHARS} characters", code="prompt_too_large")
        if max_tokens is not None and not 1 <= max_tokens <= 131_072:
            raise LogicError("max_tokens must be from 1 to 131072", code="invalid_max_tokens")
        answer = Answer(text, max_tokens, _named(tools))
        self._answers.append(answer)
        return answer

    def reply(self, what: str | Answer) -> Sent:
        """Answer the user, with text or with what the model says. Several replies follow one another."""
        if isinstance(what, Answer):
            return Sent("", what)
        return self.say(what)

    def say(self, text: str) -> Sent:
        """Send text to the user at once. Raises LogicError `reply_too_large` or `reply_not_text`."""
        checked(text)
        if len(text) + len(self.replied) > MAX_REPLY_CHARS:
            raise LogicError(f"the reply would be over {MAX_REPLY_CHARS} characters", code="reply_too_large")
        for start in range(0, len(text), MAX_SAY_CHARS):
            self._effects.say(text[start : start + MAX_SAY_CHARS])
        return Sent(text)

    def log(self, text: str) -> None:
        """A line for `rolehost logs`, for this tenant's eyes only."""
        self._effects.log(str(text))

    def emit(self, name: str, data: dict[str, Any]) -> None:
        """A frame of the Role's own, for the session's clients: `t.emit("custom.mood", {"level": 3})`.

        They hear it when the turn is durable, before its `response.done`, and again with whatever is replayed; if the
        hook fails they do not. At most 16 of them a turn, of 16 KiB each. Raises LogicError `invalid_emit`,
        `emit_too_large`, `too_many_emitted`.
        """
        self._effects.emit(name, data)

    def stop(self) -> None:
        """In `on_delta`: the answer ends here. Raises LogicError `no_effects_here` anywhere else."""
        self._effects.stop()

    def urgent(self) -> None:
        """What this turn changes in the state should be noticed at once: clients hear `is_urgent` with it, and give
        signs of life every half second for a while. Nothing where the turn changes nothing."""
        self.is_urgent = True

    def forgotten(self) -> bool:
        """Whether an answer or a request was made and never asked for: an `await` is missing. Starts afresh."""
        missed = any(not answer.used for answer in self._answers)
        self._answers.clear()
        return self.http.forgotten() or missed

    def set_aside(self) -> "list[Answer]":
        """The answers made so far, for while a tool runs; `take_up` brings them back."""
        aside, self._answers = self._answers, []
        return aside

    def take_up(self, aside: "list[Answer]") -> None:
        self._answers = aside


class NoMind:
    """Of a turn that nobody gave a memory. Implements memory.Mind."""

    def remember(self, what: object) -> None:
        raise LogicError("this turn has no memory", code="no_memory")

    keep_in_mind = forget = confirm = remember


def _named(tools: bool | Collection[str]) -> tuple[str, ...]:
    if isinstance(tools, bool):
        return (ALL_TOOLS,) if tools else ()
    if isinstance(tools, str) or len(tools) > MAX_TOOLS or not all(isinstance(one, str) for one in tools):
        raise LogicError(
            'tools is True, False, or names: ["weather"]', hint=f"At most {MAX_TOOLS} of them", code="invalid_tool"
        )
    if not all(re.match(NAME_PATTERN, one) for one in tools):
        raise LogicError("a tool's name is 1 to 64 of A-Z, a-z, 0-9, _ and -", code="invalid_tool")
    return tuple(tools)


def checked(text: object) -> str:
    """`text` if it is text that can travel. The size of what is too large is never touched."""
    if not isinstance(text, str):
        raise LogicError(f"this must be text, not {type(text).__name__}", code="reply_not_text")
    if len(text) <= MAX_REPLY_CHARS:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise LogicError("the text holds half a surrogate pair", code="reply_not_text") from None
    return text
