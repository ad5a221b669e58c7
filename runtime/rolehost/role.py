"""Role: what a module of role logic declares."""

import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, overload

from rolehost.state import State, merges, scope_of
from rolehost_api.errors import LogicError

EVENTS = ("on_start", "on_message", "on_reply", "on_interrupt")
MAX_HOOKS = 64

S = TypeVar("S", bound=State)
Function = Callable[[Any], Awaitable[None] | None]
H = TypeVar("H", bound=Function)


@dataclass(frozen=True, slots=True)
class Hook:
    """A function of the tenant's and when it is called."""

    event: str
    name: str
    """event:function, and a number where that is taken; stable for the same source."""
    function: Function
    required: bool


class Role(Generic[S]):
    """An AI persona that people talk to.

    cat = Role("cat")

    @cat.on_message
    async def answer(t: Turn) -> None:
        await t.reply(t.ask())
    """

    @overload
    def __init__(
        self: "Role[State]", name: str, *, persona: str | None = None, user_state: type[State] | None = None
    ) -> None: ...
    @overload
    def __init__(
        self, name: str, *, persona: str | None = None, state: type[S], user_state: type[State] | None = None
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        persona: str | None = None,
        state: type[S] | None = None,
        user_state: type[State] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise LogicError("a Role needs a name", code="invalid_role")
        if persona is not None and (not isinstance(persona, str) or persona.startswith("template:")):
            raise LogicError("persona must be plain text; templates come later", code="invalid_role")
        for declared in (state, user_state):
            if declared is not None and not (isinstance(declared, type) and issubclass(declared, State)):
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

    def of(self, event: str) -> list[Hook]:
        """The hooks of an event, in the order of the source."""
        return [hook for hook in self.hooks if hook.event == event]

    def _declare(self, event: str, function: H | None, required: bool) -> H | Callable[[H], H]:
        def declare(function: H) -> H:
            if not callable(function) or inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
                raise LogicError(f"{event} takes a def or async def with one argument, the turn", code="invalid_hook")
            if len(self.hooks) >= MAX_HOOKS:
                raise LogicError(f"a Role has at most {MAX_HOOKS} hooks", code="invalid_hook")
            base = f"{event}:{getattr(function, '__name__', 'hook')[:200]}"
            taken = sum(hook.name.partition("#")[0] == base for hook in self.hooks)
            name = f"{base}#{taken + 1}" if taken else base
            self.hooks.append(Hook(event, name, function, required))
            return function

        return declare if function is None else declare(function)
