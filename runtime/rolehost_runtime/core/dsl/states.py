"""The state that a manifest declares for a Role without Python: `behavior.state`."""

import keyword
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from rolehost_runtime.core.dsl.compiled import Field, Value
from rolehost_runtime.core.dsl.expressions import Names, Type
from rolehost_runtime.core.dsl.expressions.checking import meant
from rolehost_runtime.core.dsl.expressions.lexing import MAX_INT, MIN_INT
from rolehost_runtime.core.dsl.expressions.types import BOOL, DOUBLE, DYN, INT, STRING, Kind, list_of, record
from rolehost_runtime.core.dsl.forms import FIELD, MAX_NAME
from rolehost_runtime.core.dsl.reading import Reader

TYPES: Mapping[str, tuple[Type, Value]] = {
    "bool": (BOOL, False),
    "int": (INT, 0),
    "float": (DOUBLE, 0.0),
    "str": (STRING, ""),
    "list": (list_of(STRING), ()),
}
"""The manifest's words: the type, and what a field begins with."""
_TAKEN = frozenset({*keyword.kwlist, "true", "false", "null", "bool", "int", "float", "str", "list"})
"""What a field cannot be called in Python, or in an expression."""


def fields(reader: Reader, declared: Mapping[str, Any], *, has_logic: bool) -> dict[str, Field]:
    """The fields by name. What is declared both here and in Python would be declared twice."""
    if has_logic and declared:
        reader.say(
            "declared_twice",
            "state",
            "is declared here, and the logic is Python's",
            "Declare it in Python: class Tale(State): …",
            name=True,
        )
    found: dict[str, Field] = {}
    for name, said in declared.items():
        path = f"state.{name}"
        if not re.match(FIELD, name, re.ASCII) or len(name) > MAX_NAME or name in _TAKEN:
            reader.say("invalid_name", path, "is no name of a field", "Letters, digits and _, e.g. score", name=True)
            continue
        kind, empty = TYPES[said["type"]]
        default = said.get("default", empty)
        if not _fits(kind, default):
            message = f"must be {kind}, as its type says"
            reader.say("type_mismatch", f"{path}.default", message, f"e.g. default: {_example(kind)}")
            default = empty
        if kind is DOUBLE:
            default = float(default)
        scope: Literal["session", "user"] = "user" if said.get("scope") == "user" else "session"
        found[name] = Field(name, kind, tuple(default) if isinstance(default, list) else default, scope)
    return found


def names(declared: Iterable[Field], lost: Iterable[str] = ()) -> Names:
    """What expressions may name of it. `lost` are fields of which no type is known."""
    scopes: dict[str, dict[str, Type]] = {scope: dict.fromkeys(lost, DYN) for scope in ("session", "user")}
    for field in declared:
        scopes[field.scope][field.name] = field.type
    return Names(record(scopes["session"]), record(scopes["user"]))


def unknown(name: str, known: Mapping[str, Field], *, has_logic: bool) -> tuple[str, str, str]:
    """Code, message and hint for a field that is set and not declared."""
    if has_logic:
        return "not_supported", "is set here, and the state is Python's", "Set it in a hook: @role.enter(…)"
    hint = meant(name, known) if known else "Declare it: behavior.state: {score: {type: int}}"
    return "unknown_field", "is no field of the state", hint


def said(value: Any) -> str | None:
    """A value of `set` as an expression; None where it is none.

    >>> said("state.score + 1"), said(True), said(3), said(["a"]), said({})
    ('state.score + 1', 'true', '3', '["a"]', None)
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return value
        case list() if all(isinstance(item, str) for item in value):
            return "[" + ", ".join('"' + _escaped(item) + '"' for item in value) + "]"
        case _:
            return None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")


def takes(wanted: Type, given: Type) -> bool:
    """Whether a field may be given a value of this type. What is known only when it is there is checked there."""
    if given.kind in (wanted.kind, Kind.DYN):
        return wanted.item is None or given.item in (None, wanted.item) or (given.item.kind is Kind.DYN)
    return wanted.kind is Kind.DOUBLE and given.kind is Kind.INT


def instead(wanted: Type, given: Type, text: str) -> str:
    if wanted.kind is Kind.STRING and given.kind in (Kind.INT, Kind.BOOL):
        return f"Write string({text[:40]})"
    if wanted.kind is Kind.INT and given.kind is Kind.DOUBLE:
        return f"Write int({text[:40]})"
    return ""


def _fits(kind: Type, value: object) -> bool:
    match kind.kind:
        case Kind.BOOL:
            return isinstance(value, bool)
        case Kind.INT:
            return isinstance(value, int) and not isinstance(value, bool) and MIN_INT <= value <= MAX_INT
        case Kind.DOUBLE:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Kind.STRING:
            return isinstance(value, str)
        case _:
            return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _example(kind: Type) -> str:
    return {Kind.BOOL: "false", Kind.INT: "0", Kind.DOUBLE: "0.5", Kind.STRING: "calm"}.get(kind.kind, "[]")
