"""What operators and functions do with values, as CEL's specification says it. Total: an answer, or Failed.

Whole numbers have 64 bits and overflow is a failure; `/` and `%` of them cut towards zero; numbers of the two
kinds compare by value; text grows to 64 Ki characters at most. A failure's words never hold a value.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, cast

from rolehost_runtime.core.dsl.expressions.lexing import MAX_INT, MIN_INT
from rolehost_runtime.core.dsl.expressions.types import Kind

MAX_TEXT = 65_536
_WHOLE = re.compile(r"-?[0-9]{1,19}\Z")
_DOUBLE = re.compile(r"[-+]?(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:[eE][-+]?[0-9]{1,3})?\Z")
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Failed(Exception):
    """An operation has no answer."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def kind_of(value: object) -> Kind:
    """What a value is to an expression. Raises Failed for what none can hold."""
    if value is None:
        return Kind.NULL
    found = _KINDS.get(type(value))
    if found is None:
        raise Failed("a value is of a type that expressions do not know")
    if found is Kind.INT and not MIN_INT <= cast(int, value) <= MAX_INT:
        raise Failed("a whole number is beyond 64 bits")
    return found


_KINDS: dict[type, Kind] = {
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.DOUBLE,
    str: Kind.STRING,
    list: Kind.LIST,
    tuple: Kind.LIST,
    set: Kind.LIST,
    frozenset: Kind.LIST,
    dict: Kind.MAP,
}


def _kinds(left: object, right: object) -> tuple[Kind, Kind]:
    return kind_of(left), kind_of(right)


def _no(operation: str, *values: object) -> Failed:
    return Failed(f"{operation} of {' and '.join(_said(kind_of(value)) for value in values)}")


def _said(kind: Kind) -> str:
    return {Kind.INT: "an int", Kind.NULL: "null", Kind.MAP: "an object"}.get(kind, f"a {kind.value}")


def _numbers(left: object, right: object) -> bool:
    numbers = (Kind.INT, Kind.DOUBLE)
    return kind_of(left) in numbers and kind_of(right) in numbers


def whole(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise Failed("a whole number leaves 64 bits")
    return value


# ── comparing ───────────────────────────────────────────────────────────────────────


def equal(left: object, right: object) -> bool:
    """Values of two kinds are not equal, but that numbers are by value.

    >>> equal(1, 1.0), equal(1, True), equal(["a"], ["a"])
    (True, False, True)
    """
    kinds = _kinds(left, right)
    if _numbers(left, right):
        return bool(left == right)
    if kinds[0] is not kinds[1]:
        return False
    if kinds[0] is Kind.MAP or isinstance(left, set | frozenset) or isinstance(right, set | frozenset):
        raise Failed("objects and sets cannot be compared")
    if kinds[0] is Kind.LIST:
        return _equal_lists(cast(list[object], left), cast(list[object], right))
    return bool(left == right)


def _equal_lists(left: list[object], right: list[object]) -> bool:
    if len(left) != len(right):
        return False
    for one, other in zip(left, right, strict=True):
        if Kind.LIST in _kinds(one, other):
            raise Failed("lists of lists cannot be compared")
        if not equal(one, other):
            return False
    return True


def unequal(left: object, right: object) -> bool:
    return not equal(left, right)


def _ordered(left: object, right: object) -> tuple[float, float] | tuple[str, str]:
    if _numbers(left, right):
        return cast(float, left), cast(float, right)
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    raise _no("the order", left, right)


def less(left: object, right: object) -> bool:
    one, other = _ordered(left, right)
    return one < other  # type: ignore[operator]


def most(left: object, right: object) -> bool:
    """left <= right"""
    one, other = _ordered(left, right)
    return one <= other  # type: ignore[operator]


def more(left: object, right: object) -> bool:
    return less(right, left)


def least(left: object, right: object) -> bool:
    """left >= right"""
    return most(right, left)


def among(item: object, over: object) -> bool:
    """`item in over`: an item of a list, a name of an object."""
    kind = kind_of(over)
    if kind is Kind.MAP:
        return item in cast(Mapping[object, object], over) if kind_of(item) is Kind.STRING else False
    if kind is not Kind.LIST:
        raise _no("in", over)
    if isinstance(over, set | frozenset):
        return isinstance(item, str) and item in over
    for one in cast(list[object], over):
        if kind_of(one) in (Kind.LIST, Kind.MAP):
            raise Failed("lists of lists and of objects cannot be searched")
        if equal(item, one):
            return True
    return False


# ── arithmetic ──────────────────────────────────────────────────────────────────────


def _same(operation: str, left: object, right: object) -> bool:
    """Whether two numbers of one kind are whole. CEL has no arithmetic between the kinds."""
    kinds = _kinds(left, right)
    if kinds == (Kind.INT, Kind.INT):
        return True
    if kinds == (Kind.DOUBLE, Kind.DOUBLE):
        return False
    raise _no(operation, left, right)


def add(left: object, right: object) -> object:
    if isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT:
            raise Failed(f"text grows beyond {MAX_TEXT} characters")
        return left + right
    if _same("the sum", left, right):
        return whole(cast(int, left) + cast(int, right))
    return cast(float, left) + cast(float, right)


def subtract(left: object, right: object) -> object:
    if _same("the difference", left, right):
        return whole(cast(int, left) - cast(int, right))
    return cast(float, left) - cast(float, right)


def multiply(left: object, right: object) -> object:
    if _same("the product", left, right):
        return whole(cast(int, left) * cast(int, right))
    return cast(float, left) * cast(float, right)


def divide(left: object, right: object) -> object:
    """
    >>> divide(-7, 2), divide(7.0, 2.0), divide(1.0, 0.0)
    (-3, 3.5, inf)
    """
    if not _same("the quotient", left, right):
        return _quotient(cast(float, left), cast(float, right))
    one, other = cast(int, left), cast(int, right)
    if other == 0:
        raise Failed("division by zero")
    found = abs(one) // abs(other)
    return whole(found if (one < 0) == (other < 0) else -found)


def _quotient(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left) or math.isnan(right):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def remainder(left: object, right: object) -> object:
    """
    >>> remainder(-7, 2), remainder(7, -2)
    (-1, 1)
    """
    if _kinds(left, right) != (Kind.INT, Kind.INT):
        raise _no("the remainder", left, right)
    one, other = cast(int, left), cast(int, right)
    if other == 0:
        raise Failed("division by zero")
    found = abs(one) % abs(other)
    whole(one)
    return -found if one < 0 else found


def negative(value: object) -> object:
    kind = kind_of(value)
    if kind is Kind.INT:
        return whole(-cast(int, value))
    if kind is Kind.DOUBLE:
        return -cast(float, value)
    raise _no("the negative", value)


def opposite(value: object) -> bool:
    if not isinstance(value, bool):
        raise _no("!", value)
    return not value


# ── parts of things ─────────────────────────────────────────────────────────────────


def field(target: object, name: str) -> object:
    """A field of an object."""
    if kind_of(target) is not Kind.MAP:
        raise _no(f".{name}", target)
    found = cast(Mapping[str, object], target)
    if name not in found:
        raise Failed(f"there is no {name}")
    value = found[name]
    kind_of(value)
    return value


def declared(target: object, name: str, kind: Kind) -> object:
    """A field whose type was declared; what is stored may be older than the declaration."""
    value = field(target, name)
    found = kind_of(value)
    if found is kind:
        return value
    if (found, kind) == (Kind.INT, Kind.DOUBLE):  # 1.0 is stored as 1
        return float(cast(int, value))
    raise Failed(f"{name} is {_said(found)}, not {_said(kind)}")


def has(target: object, name: str) -> bool:
    if kind_of(target) is not Kind.MAP:
        raise _no("has()", target)
    return name in cast(Mapping[str, object], target)


def item(target: object, key: object) -> object:
    """`target[key]`"""
    kinds = _kinds(target, key)
    if kinds == (Kind.MAP, Kind.STRING):
        return field(target, cast(str, key))
    if kinds != (Kind.LIST, Kind.INT) or isinstance(target, set | frozenset):
        raise _no("an item", target, key)
    found, at = cast(list[object], target), cast(int, key)
    if not 0 <= at < len(found):
        raise Failed("a list has no such item")
    kind_of(found[at])
    return found[at]


def size(value: object) -> int:
    if kind_of(value) not in (Kind.STRING, Kind.LIST, Kind.MAP):
        raise _no("size()", value)
    return len(cast(str, value))


# ── text ────────────────────────────────────────────────────────────────────────────


def _texts(name: str, *values: object) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise _no(f"{name}()", *values)
    return cast(tuple[str, ...], values)


def contains(text: object, part: object) -> bool:
    one, other = _texts("contains", text, part)
    return other in one


def starts_with(text: object, part: object) -> bool:
    one, other = _texts("startsWith", text, part)
    return one.startswith(other)


def ends_with(text: object, part: object) -> bool:
    one, other = _texts("endsWith", text, part)
    return one.endswith(other)


def lower_ascii(text: object) -> str:
    """
    >>> lower_ascii("DRACHE Ü")
    'drache Ü'
    """
    (one,) = _texts("lowerAscii", text)
    return one.lower() if one.isascii() else one.translate(_LOWER)


# ── from one kind to another ────────────────────────────────────────────────────────


def to_int(value: object) -> int:
    """
    >>> to_int(-3.9), to_int("42")
    (-3, 42)
    """
    kind = kind_of(value)
    if kind is Kind.INT:
        return cast(int, value)
    if kind is Kind.DOUBLE:
        if not math.isfinite(cast(float, value)):
            raise Failed("int() of what is no finite number")
        return whole(int(cast(float, value)))
    if kind is Kind.STRING:
        if not _WHOLE.match(cast(str, value)):
            raise Failed("int() of a string that is no whole number")
        return whole(int(cast(str, value)))
    raise _no("int()", value)


def to_double(value: object) -> float:
    kind = kind_of(value)
    if kind in (Kind.INT, Kind.DOUBLE):
        return float(cast(float, value))
    if kind is Kind.STRING:
        if not _DOUBLE.match(cast(str, value)):
            raise Failed("double() of a string that is no number")
        return float(cast(str, value))
    raise _no("double()", value)


def to_string(value: object) -> str:
    kind = kind_of(value)
    if kind is Kind.STRING:
        return cast(str, value)
    if kind is Kind.BOOL:
        return "true" if value else "false"
    if kind is Kind.INT:
        return str(value)
    raise _no("string()", value)


BINARY: Final[Mapping[str, Callable[[object, object], object]]] = {
    "==": equal,
    "!=": unequal,
    "<": less,
    "<=": most,
    ">": more,
    ">=": least,
    "in": among,
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}
UNARY: Final[Mapping[str, Callable[[object], object]]] = {"!": opposite, "-": negative}
FUNCTIONS: Final[Mapping[str, Callable[..., object]]] = {
    "size": size,
    "contains": contains,
    "startsWith": starts_with,
    "endsWith": ends_with,
    "lowerAscii": lower_ascii,
    "int": to_int,
    "double": to_double,
    "string": to_string,
}
