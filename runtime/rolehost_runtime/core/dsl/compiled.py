"""What comes out of the compiler: tables, and everything in them that is an expression, ready to run."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from rolehost_runtime.core.behavior.tables import Behavior
from rolehost_runtime.core.dsl.expressions import Expression, Predicate, Type

Value = bool | int | float | str | tuple[str, ...]


class Field(Struct, frozen=True):
    """A field of the state, as a manifest declares it."""

    name: str
    type: Type
    default: Value
    scope: Literal["session", "user"] = "session"


class Change(Struct, frozen=True):
    """`state.field` becomes what the expression comes to. One that fails changes nothing, and says why."""

    subgraph: str
    node: str
    moment: Literal["enter", "exit"]
    field: str
    scope: Literal["session", "user"]
    value: Expression
    """Of the field's type, or of one that is known only when it is there."""


class Compiled(Struct, frozen=True):
    behavior: Behavior | None = None
    """None: the Role has no graph."""
    predicates: Mapping[str, Predicate] = {}
    """By the text of `Edge.when`; edges that always hold have none."""
    state: tuple[Field, ...] = ()
    changes: tuple[Change, ...] = ()
    """In the order in which they are made."""
    policy: str = ""
    """Name of the BehaviorPolicy that chooses among edges; empty: their weights do."""
