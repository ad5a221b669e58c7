"""Role: what a module of role logic declares."""

import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

from rolehost.behavior import DeclaredEdge, cooldown_of
from rolehost.state import State, merges, scope_of
from rolehost.timers import seconds_of
from rolehost.tools import Tool, declared
from rolehost_api.errors import LogicError
from rolehost_api.link.messages import MAX_TIMERS

EVENTS = (
    "on_start", "on_message", "on_reply", "on_interrupt", "edge", "enter", "exit", "on_idle", "every", "on_resume",
    "on_end", "on_delta",
)  # fmt: skip
TIMERS = ("on_idle", "every")
MAX_HOOKS = 64
MAX_EDGES = 1024

S = TypeVar("S", bound=State)
Function = Callable[[Any], Awaitable[None] | None]
H = TypeVar("H", bound=Function)
P = TypeVar("P", bound=Callable[[Any], bool])
T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Hook:
    """A function of the tenant's and when it is called."""

    event: str
    name: str
    """event:function, and a number where that is taken; stable for the same source."""
    function: Callable[[Any], Any]
    required: bool
    node: str = ""
    """Of `enter` and `exit`."""
    subgraph: str = ""
    """Empty: whichever has the node."""
    seconds: int = 0
    """Of a timer, and the absence that `on_resume` is about."""


class Role(Generic[S]):
    """An AI persona that people talk to.

    cat = Role("cat")

    @cat.on_message
    async def answer(t: Turn) -> None:
        await t.reply(t.ask())
    """

    @overload
    def __init__(
        self: "Role[State]",
        name: str,
        *,
        persona: str | None = None,
        user_state: type[State] | None = None,
        initial: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        *,
        persona: str | None = None,
        state: type[S],
        user_state: type[State] | None = None,
        initial: str = "",
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        persona: str | None = None,
        state: type[S] | None = None,
        user_state: type[State] | None = None,
        initial: str = "",
    ) -> None:
        """`initial`: the node of the behaviour graph that a session begins in; empty: the first edge's source."""
        if not isinstance(name, str) or not name:
            raise LogicError("a Role needs a name", code="invalid_role")
        if persona is not None and (not isinstance(persona, str) or persona.startswith("template:")):
            raise LogicError("persona must be plain text; templates come later", code="invalid_role")
        for kind in (state, user_state):
            if kind is not None and not (isinstance(kind, type) and issubclass(kind, State)):
                raise LogicError(
                    "Role(state=…) takes a class derived from rolehost.State",
                    hint="class Tale(State): dragons: int = 0",
                    code="invalid_state",
                )
        shared = [
            one for one in (state, user_state) if one is not None and (one is user_state or scope_of(one) == "user")
        ]
        if len(shared) > 1 or (user_state is not None and scope_of(user_state) != "user"):
            raise LogicError(
                "a Role has one State of each scope at most: state=… per session, user_state=… per person",
                hint='class Bond(State, scope="user"), and Role(…, state=Tale, user_state=Bond)',
                code="invalid_state",
            )
        self.name = name
        self.persona = persona or ""
        """Only where the manifest has none: what is declared twice is an error."""
        self.user_state: type[State] | None = shared[0] if shared else None
        """What is kept per person; None: nothing is."""
        self.state: type[S] = cast(type[S], State) if state is None or state is self.user_state else state
        """What is kept per session."""
        self.merges = merges(self.user_state) if self.user_state is not None else {}
        """How fields of `user_state` merge that are no plain ones, by their encoded names."""
        merges(self.state)
        self.hooks: list[Hook] = []
        self.edges: list[DeclaredEdge] = []
        self.tools: dict[str, Tool] = {}
        """Functions that the model may call, by name."""
        self.initial = initial
        caller = sys._getframe(1)
        self.declared_at = (caller.f_code.co_filename, caller.f_lineno)

    @overload
    def on_start(self, function: H) -> H: ...
    @overload
    def on_start(self, *, required: bool = False) -> Callable[[H], H]: ...
    def on_start(self, function: H | None = None, *, required: bool = False) -> H | Callable[[H], H]:
        """Before the first message of a session is answered."""
        return self._declare("on_start", function, required)

    @overload
    def on_message(self, function: H) -> H: ...
    @overload
    def on_message(self, *, required: bool = False) -> Callable[[H], H]: ...
    def on_message(self, function: H | None = None, *, required: bool = False) -> H | Callable[[H], H]:
        """On every message. Where no hook replies, the model answers as if by `t.reply(t.ask())`."""
        return self._declare("on_message", function, required)

    @overload
    def on_reply(self, function: H) -> H: ...
    @overload
    def on_reply(self, *, required: bool = False) -> Callable[[H], H]: ...
    def on_reply(self, function: H | None = None, *, required: bool = False) -> H | Callable[[H], H]:
        """After the reply, which `t.replied` holds; before the turn is durable."""
        return self._declare("on_reply", function, required)

    def on_delta(self, function: H) -> H:
        """While the model's answer streams to the user: `t.delta` is the newest piece of it.

        A plain def. It may `t.log`, and end the answer with `t.stop()`; what was sent stays, state stays as it is, and
        nothing can be said or asked. Pieces come when it is through with those before, several at once if need be; the
        last of an answer may not come at all: `on_reply` has the whole.
        """
        return cast(H, self._declare("on_delta", function, required=False))

    @overload
    def on_interrupt(self, function: H) -> H: ...
    @overload
    def on_interrupt(self, *, required: bool = False) -> Callable[[H], H]: ...
    def on_interrupt(self, function: H | None = None, *, required: bool = False) -> H | Callable[[H], H]:
        """In place of `on_reply`, where the user cut the reply short; `t.replied` is what was heard of it.

        The state is as it was when the model was asked: the hook that asked goes no further.
        The reply is over, so nothing can be said or asked any more (LogicError `interrupted`).
        """
        return self._declare("on_interrupt", function, required)

    @overload
    def tool(self, function: T) -> T: ...
    @overload
    def tool(self, *, name: str | None = None, description: str | None = None) -> Callable[[T], T]: ...
    def tool(
        self, function: T | None = None, *, name: str | None = None, description: str | None = None
    ) -> T | Callable[[T], T]:
        """A function that the model may call while it answers: with the turn, and with arguments of its own choice.

            @cat.tool
            async def weather(t: Turn, city: str, days: Annotated[int, "how many"] = 3) -> str:
                '''The weather in a city.'''

        The signature becomes a schema, which arguments are checked against; the docstring's first paragraph is the
        description. What it returns, text or whatever JSON can say, the model reads. It may do what a hook does
        (`t.state`, `t.memory`, `t.ask`). One that fails is told to the model by a code and changes nothing of the state.
        The model is offered only what `permissions` grant: `tool:weather`, or `tool:*`. Raises LogicError `invalid_tool`.
        """

        def declare(function: T) -> T:
            tool = declared(function, name, description, self.tools)
            self.tools[tool.name] = tool
            return function

        return declare if function is None else declare(function)

    def on_idle(self, period: str | timedelta, *, required: bool = False) -> Callable[[H], H]:
        """When the user has said nothing for so long: once, and again after the next message and as long a silence.

            @role.on_idle("10m")
            async def nudge(t: Turn) -> None:
                await t.reply(t.ask("Ask, in one sentence, whether I am still there."))

        It is a turn of its own without a message. At most 8 timers a Role, from a minute to 30 days.
        """
        return self._declare_timer("on_idle", period, required)

    def every(self, period: str | timedelta, *, required: bool = False) -> Callable[[H], H]:
        """Over and over in each session, the first time so long after it began. What was missed while nobody could
        answer is made up for once."""
        return self._declare_timer("every", period, required)

    @overload
    def on_resume(self, function: H) -> H: ...
    @overload
    def on_resume(self, *, after: str | timedelta = "10m", required: bool = False) -> Callable[[H], H]: ...
    def on_resume(
        self, function: H | None = None, *, after: str | timedelta = "10m", required: bool = False
    ) -> H | Callable[[H], H]:
        """With the first message after an absence of at least `after`, before the graph and `on_message`; `t.absent` says
        how long it was."""
        return self._declare("on_resume", function, required, seconds_of(after))

    @overload
    def on_end(self, function: H) -> H: ...
    @overload
    def on_end(self, *, required: bool = False) -> Callable[[H], H]: ...
    def on_end(self, function: H | None = None, *, required: bool = False) -> H | Callable[[H], H]:
        """When the conversation is ended by whoever leads it; a turn of its own without a message. Not when the session
        is forgotten, which leaves nothing behind, nor when its time is over."""
        return self._declare("on_end", function, required)

    def on_drain(self, *_: object, **__: object) -> NoReturn:
        """There is none. Raises LogicError `no_such_hook`."""
        raise LogicError(
            "there is no on_drain: a pod that leaves holds nothing of a session that is not durable",
            hint="What is to be kept goes into t.state, in the turn in which it becomes known",
            code="no_such_hook",
        )

    def edge(
        self, source: str, target: str, *, weight: float = 1.0, cooldown: int | timedelta = 0, subgraph: str = ""
    ) -> Callable[[P], P]:
        """An edge of the behaviour graph. It may be taken where the function that it decorates returns True; used alone,
        on every message.

            @role.edge("Idle", "Explore", weight=0.8, cooldown=2)
            def hears_dragon(t: Turn) -> bool:
                return "dragon" in t.message

        Before `on_message` hooks, of the edges out of the current node that may be taken one is, with probability
        weight / sum of their weights. `cooldown`: turns that must lie between two uses, or a timedelta. The function
        only answers: it has no effects, and what it changes is not kept. One that fails counts as False, and the turn
        says so.
        """
        if len(self.edges) >= MAX_EDGES:
            raise LogicError(f"a Role has at most {MAX_EDGES} edges", code="invalid_behavior")
        caller = sys._getframe(1)
        turns, seconds = cooldown_of(cooldown)
        at = (caller.f_code.co_filename, caller.f_lineno)
        edge = DeclaredEdge(source, target, weight, turns, seconds, subgraph, at)
        self.edges.append(edge)

        def decide(function: P) -> P:
            if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
                raise LogicError(
                    "edge takes a plain def with one argument, the turn, that returns True or False",
                    code="invalid_hook",
                )
            edge.function = function
            edge.name = self._free_name("edge", function)
            return function

        return decide

    def enter(self, node: str, *, subgraph: str = "", required: bool = False) -> Callable[[H], H]:
        """When an edge led to that node; before `on_message` hooks. Not for the node that a session begins in."""
        return self._declare_at("enter", node, subgraph, required)

    def exit(self, node: str, *, subgraph: str = "", required: bool = False) -> Callable[[H], H]:
        """When an edge leads away from that node; before `enter` hooks of the next one."""
        return self._declare_at("exit", node, subgraph, required)

    def at(self, event: str, node: str, subgraph: str) -> list[Hook]:
        """The `enter` or `exit` hooks of a node, in the order of the source."""
        return [hook for hook in self.of(event) if hook.node == node and hook.subgraph in ("", subgraph)]

    def of(self, event: str) -> list[Hook]:
        """The hooks of an event, in the order of the source."""
        return [hook for hook in self.hooks if hook.event == event]

    def _declare(self, event: str, function: H | None, required: bool, seconds: int = 0) -> H | Callable[[H], H]:
        def declare(function: H) -> H:
            self._hook(event, function, required, seconds=seconds)
            return function

        return declare if function is None else declare(function)

    def _declare_timer(self, event: str, period: str | timedelta, required: bool) -> Callable[[H], H]:
        if callable(period):
            raise LogicError(f'{event} takes a duration, e.g. @role.{event}("10m")', code="invalid_timer")
        seconds = seconds_of(period)

        def declare(function: H) -> H:
            if sum(hook.event in TIMERS for hook in self.hooks) >= MAX_TIMERS:
                raise LogicError(f"a Role has at most {MAX_TIMERS} timers", code="invalid_timer")
            self._hook(event, function, required, seconds=seconds)
            return function

        return declare

    def _declare_at(self, event: str, node: str, subgraph: str, required: bool) -> Callable[[H], H]:
        if not isinstance(node, str):
            raise LogicError(f'{event} takes a node, e.g. @role.{event}("Explore")', code="invalid_hook")

        def declare(function: H) -> H:
            self._hook(event, function, required, node, subgraph)
            return function

        return declare

    def _hook(
        self,
        event: str,
        function: Function,
        required: bool,
        node: str = "",
        subgraph: str = "",
        seconds: int = 0,
    ) -> None:
        if not callable(function) or inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise LogicError(f"{event} takes a def or async def with one argument, the turn", code="invalid_hook")
        if len(self.hooks) >= MAX_HOOKS:
            raise LogicError(f"a Role has at most {MAX_HOOKS} hooks", code="invalid_hook")
        self.hooks.append(Hook(event, self._free_name(event, function), function, required, node, subgraph, seconds))

    def _free_name(self, event: str, function: Callable[..., Any]) -> str:
        base = f"{event}:{getattr(function, '__name__', 'hook')[:200]}"
        names = [*(hook.name for hook in self.hooks), *(edge.name for edge in self.edges)]
        taken = sum(name.partition("#")[0] == base for name in names)
        return f"{base}#{taken + 1}" if taken else base
