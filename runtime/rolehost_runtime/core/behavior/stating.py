"""The state of a Role without Python, as its manifest declares it; and what doors of nodes do to it."""

from collections.abc import Sequence
from types import new_class
from typing import Any, Literal

import msgspec

from rolehost import Role, State
from rolehost_runtime.core.dsl.compiled import Change, Compiled, Field
from rolehost_runtime.core.dsl.expressions import Facts, Fault
from rolehost_runtime.core.dsl.expressions.types import Kind

_PYTHON = {Kind.BOOL: bool, Kind.INT: int, Kind.DOUBLE: float, Kind.STRING: str, Kind.LIST: list[str]}


def bare(name: str, compiled: Compiled | None = None) -> Role[Any]:
    """A Role of which there is no Python.

    >>> bare("cat").state is State
    True
    """
    fields = compiled.state if compiled is not None else ()
    session = _state("Session", [field for field in fields if field.scope == "session"], "session")
    user = _state("User", [field for field in fields if field.scope == "user"], "user")
    return Role(name, state=session or State, user_state=user)


def _state(name: str, fields: Sequence[Field], scope: Literal["session", "user"]) -> type[State] | None:
    if not fields:
        return None
    names: dict[str, Any] = {"__annotations__": {field.name: _PYTHON[field.type.kind] for field in fields}}
    names["__module__"] = __name__
    for field in fields:
        default = field.default
        names[field.name] = _fresh(default) if isinstance(default, tuple) else default
    made: type[State] = new_class(name, (State,), {"scope": scope}, lambda body: body.update(names))
    return made


def _fresh(items: Sequence[str]) -> Any:
    return msgspec.field(default_factory=lambda: list(items))


class ChangeFailed(Exception):
    """A change of the state that was not made; says why."""


def new_value(change: Change, facts: Facts, now: object) -> object:
    """What the field becomes, which is `now`. Raises ChangeFailed."""
    value = change.value.value(facts)
    if isinstance(value, Fault):
        raise ChangeFailed(value.why)
    if type(now) is float and type(value) is int:
        value = float(value)
    elif isinstance(value, list | tuple):
        value = list(value)
    if type(value) is not type(now):
        raise ChangeFailed("the value is of another type than the field")
    return value
