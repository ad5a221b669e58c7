"""What generated code calls. A failure is a value here, so that an expression is one straight line."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from rolehost_runtime.core.dsl.expressions import operations
from rolehost_runtime.core.dsl.expressions.operations import Failed
from rolehost_runtime.core.dsl.expressions.types import Kind

CALLED = (
    "BOOL", "INT", "DOUBLE", "STRING", "LIST", "MAP", "NULL",
    "equal", "unequal", "less", "most", "more", "least", "among", "both", "either", "opposite", "choose",
    "add", "subtract", "multiply", "divide", "remainder", "negative", "to_int", "to_double", "to_string",
    "field", "declared", "has", "item", "listed", "size", "contains", "starts_with", "ends_with", "lowered", "lower_ascii",
)  # fmt: skip
"""All that generated code may name, beside `facts` and `len`."""


class Fault(Struct, frozen=True):
    """Why there is no value. Never holds one."""

    why: str


class Verdict(Struct, frozen=True):
    """Whether a condition holds. One that failed does not, and says why."""

    holds: bool
    why: str = ""


def _lifted(operation: Callable[..., object]) -> Callable[..., object]:
    def apply(*values: object) -> object:
        for value in values:
            if type(value) is Fault:
                return value
        try:
            return operation(*values)
        except Failed as failed:
            return Fault(failed.why)

    return apply


BOOL, INT, DOUBLE, STRING, LIST, MAP, NULL = (
    Kind.BOOL, Kind.INT, Kind.DOUBLE, Kind.STRING, Kind.LIST, Kind.MAP, Kind.NULL,
)  # fmt: skip
_NOT_A_CONDITION = Fault("a condition is neither true nor false")

equal: Final = _lifted(operations.equal)
unequal: Final = _lifted(operations.unequal)
less: Final = _lifted(operations.less)
most: Final = _lifted(operations.most)
more: Final = _lifted(operations.more)
least: Final = _lifted(operations.least)
among: Final = _lifted(operations.among)
add: Final = _lifted(operations.add)
subtract: Final = _lifted(operations.subtract)
multiply: Final = _lifted(operations.multiply)
divide: Final = _lifted(operations.divide)
remainder: Final = _lifted(operations.remainder)
negative: Final = _lifted(operations.negative)
opposite: Final = _lifted(operations.opposite)
field: Final = _lifted(operations.field)
declared: Final = _lifted(operations.declared)
has: Final = _lifted(operations.has)
item: Final = _lifted(operations.item)
size: Final = _lifted(operations.size)
contains: Final = _lifted(operations.contains)
starts_with: Final = _lifted(operations.starts_with)
ends_with: Final = _lifted(operations.ends_with)
to_int: Final = _lifted(operations.to_int)
to_double: Final = _lifted(operations.to_double)
to_string: Final = _lifted(operations.to_string)
lowered: Final = _lifted(operations.lower_ascii)
lower_ascii: Final = operations.lower_ascii


def both(*parts: object) -> object:
    """&&: false where one part is, whatever failed beside it."""
    return _junction(False, parts)


def either(*parts: object) -> object:
    """||: true where one part is, whatever failed beside it."""
    return _junction(True, parts)


def _junction(decisive: bool, parts: tuple[object, ...]) -> object:
    failed: Fault | None = None
    for part in parts:
        if part is decisive:
            return decisive
        if type(part) is not bool:
            failed = failed or (part if isinstance(part, Fault) else _NOT_A_CONDITION)
    return not decisive if failed is None else failed


def choose(condition: object, then: object, otherwise: object) -> object:
    if condition is True:
        return then
    if condition is False:
        return otherwise
    return condition if isinstance(condition, Fault) else _NOT_A_CONDITION


def listed(*items: object) -> object:
    return next((item for item in items if type(item) is Fault), items)


def verdict(value: object) -> Verdict:
    """What a condition's value says.

    >>> verdict(True), verdict(Fault("division by zero"))
    (Verdict(holds=True, why=''), Verdict(holds=False, why='division by zero'))
    """
    if isinstance(value, Fault):
        return Verdict(False, value.why)
    return Verdict(value) if isinstance(value, bool) else Verdict(False, _NOT_A_CONDITION.why)
