"""State: what a Role keeps of a session, typed, and durable with the turn that changed it."""

from typing import Any

import msgspec

from rolehost_api.errors import LogicError


class _StateMeta(msgspec.StructMeta):
    """Takes `scope=` beside msgspec's own options."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, scope: str = "session", **options: Any
    ) -> Any:
        if scope != "session":
            raise LogicError(
                f"State {name} has scope {scope!r}, which this version does not have",
                hint='Leave scope out, or say scope="session"; scope="user" comes later',
                code="scope_not_supported",
            )
        made: Any = super().__new__(mcls, name, bases, namespace, **options)
        if bases != (msgspec.Struct,):
            _check(made)
        return made


def _check(made: type[msgspec.Struct]) -> None:
    """A new session starts from the defaults, so there must be one for every field."""
    try:
        empty = made()
    except TypeError:
        raise LogicError(
            f"every field of State {made.__name__} needs a default",
            hint="A new session starts from the defaults, e.g. `dragons: int = 0`",
            code="state_needs_defaults",
        ) from None
    if not isinstance(msgspec.to_builtins(empty), dict):
        raise LogicError(f"State {made.__name__} cannot be array_like", code="invalid_state")


class State(msgspec.Struct, metaclass=_StateMeta):
    """Subclass it and name the class in `Role(state=…)`.

    class Tale(State):
        dragons: int = 0

    Change it as you like during a turn, nested values too; what changed is found by
    comparing before and after, checked against the types, and durable with the turn.
    """
