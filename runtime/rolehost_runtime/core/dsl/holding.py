"""Conditions that can never hold: constants that are false, and parts that exclude each other."""

import math
from collections.abc import Mapping

from msgspec import Struct, field

from rolehost_runtime.core.dsl.expressions import Facts, Problem, Span
from rolehost_runtime.core.dsl.expressions.checking import Types
from rolehost_runtime.core.dsl.expressions.evaluating import evaluate
from rolehost_runtime.core.dsl.expressions.operations import Failed
from rolehost_runtime.core.dsl.expressions.tree import (
    Binary,
    Call,
    Field,
    Index,
    Junction,
    ListOf,
    Literal,
    Name,
    Tree,
    Unary,
    children,
)
from rolehost_runtime.core.dsl.expressions.types import Kind

_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
Given = Mapping[str, frozenset[object]]
"""What a name can be at all, e.g. `node` on an edge: the node that it leaves."""


def never(tree: Tree, types: Types, given: Given | None = None) -> Problem | None:
    """Why a condition can never hold, or None where it may: not every contradiction is found, and none is invented."""
    if _is_constant(tree):
        return _constant(tree, types)
    match tree:
        case Junction(op="||", parts=parts):
            if any(never(part, types, given) is None for part in parts):
                return None
            return Problem("never_holds", "can never hold: no part of it can", tree.span, _HINT)
        case Junction(parts=parts):
            alone = next((found for part in parts if (found := never(part, types, given)) is not None), None)
            return alone or _excluded(parts, types, given or {})
        case _:
            return _excluded((tree,), types, given or {})


_HINT = "Change the condition, or leave the edge out"


def _is_constant(tree: Tree) -> bool:
    todo = [tree]
    while todo:
        one = todo.pop()
        if isinstance(one, Name):
            return False
        todo.extend(children(one))
    return True


def _constant(tree: Tree, types: Types) -> Problem | None:
    try:
        value = evaluate(tree, types, Facts())
    except Failed as failed:
        return Problem("never_holds", f"can never hold: {failed.why}", tree.span, _HINT)
    return None if value is True else Problem("never_holds", "can never hold: it is always false", tree.span, _HINT)


Tagged = tuple[str, object]
"""A constant and its kind."""


class _Range(Struct):
    """What a thing may still be."""

    whole: bool
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    among: frozenset[Tagged] | None = None
    not_among: set[Tagged] = field(default_factory=set)
    last: Span = Span(0, 1)
    numeric: bool = False

    def narrow(self, op: str, value: object) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if op == "in":
            assert isinstance(value, frozenset)
            self.among = value if self.among is None else self.among & value
        elif op == "==":
            self.among = frozenset({_tagged(value)}) if self.among is None else self.among & {_tagged(value)}
        elif op == "!=":
            self.not_among.add(_tagged(value))
        elif number:
            self._bound(op, value)  # type: ignore[arg-type]

    def _bound(self, op: str, value: float) -> None:
        self.numeric = True
        if op in (">", ">=") and (value, op == ">") > (self.low, self.low_open):
            self.low, self.low_open = value, op == ">"
        elif op in ("<", "<=") and (-value, op == "<") > (-self.high, self.high_open):
            self.high, self.high_open = value, op == "<"

    @property
    def empty(self) -> bool:
        if self.among is not None:
            left = [one for one in self.among if one not in self.not_among and self._holds(one)]
            return not left
        if self.whole and self.numeric:
            return self._least() > self._most()
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def _least(self) -> float:
        if math.isinf(self.low):
            return self.low
        return math.floor(self.low) + 1 if self.low_open else math.ceil(self.low)

    def _most(self) -> float:
        if math.isinf(self.high):
            return self.high
        return math.ceil(self.high) - 1 if self.high_open else math.floor(self.high)

    def _holds(self, tagged: Tagged) -> bool:
        kind, value = tagged
        if not self.numeric:
            return True
        if kind != "number" or not isinstance(value, int | float):
            return False
        above = value > self.low or (value == self.low and not self.low_open)
        below = value < self.high or (value == self.high and not self.high_open)
        return above and below


def _tagged(value: object) -> Tagged:
    """So that true is not 1."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", value
    return type(value).__name__, value


def _excluded(parts: tuple[Tree, ...], types: Types, given: Given) -> Problem | None:
    ranges: dict[str, _Range] = {}
    for part in parts:
        said = _constraint(part)
        if said is None:
            continue
        thing, op, value = said
        key = _said(thing)
        if key not in ranges:
            ranges[key] = _fresh(key, thing, types, given)
        before, found = ranges[key].last, ranges[key]
        found.narrow(op, value)
        if found.empty:
            return _exclusion(before, part, key, given)
        found.last = part.span
    return None


def _fresh(key: str, thing: Tree, types: Types, given: Given) -> _Range:
    kind = types[id(thing)].kind
    found = _Range(whole=kind is Kind.INT, last=Span(-1, -1))
    if key == "turn":
        found.narrow(">=", 1)
    elif isinstance(thing, Call) and thing.name == "size":
        found.narrow(">=", 0)
    if key in given:
        found.among = frozenset(map(_tagged, given[key]))
    return found


def _exclusion(before: Span, part: Tree, key: str, given: Given) -> Problem:
    if before.start >= 0:
        span = Span(min(before.start, part.span.start), max(before.end, part.span.end))
        return Problem("never_holds", f"can never hold: what is asked of {key} excludes itself", span, _HINT)
    if key in given:
        is_ = " or ".join(str(value) for value in sorted(map(str, given[key])))
        return Problem("never_holds", f"can never hold: here {key} is {is_}", part.span, _HINT)
    return Problem("never_holds", f"can never hold: {key} is never so", part.span, _HINT)


def _constraint(tree: Tree) -> tuple[Tree, str, object] | None:
    """`thing op constant`, if that is what it is."""
    match tree:
        case Binary(op="in", left=left, right=ListOf(items=items)) if not _is_constant(left):
            values = [item.value for item in items if isinstance(item, Literal)]
            return (left, "in", frozenset(map(_tagged, values))) if len(values) == len(items) else None
        case Binary(op=op, left=left, right=Literal(value=value)) if op in _TURNED and not _is_constant(left):
            return left, op, value
        case Binary(op=op, left=Literal(value=value), right=right) if op in _TURNED and not _is_constant(right):
            return right, _TURNED[op], value
        case Unary(op="!", operand=operand) if not _is_constant(operand):
            return (operand, "==", False)
        case Name() | Field() | Call() | Index():
            return tree, "==", True
        case _:
            return None


def _said(tree: Tree) -> str:
    """The same words for the same thing."""
    match tree:
        case Name(name=name):
            return name
        case Field(target=target, name=name):
            return f"{_said(target)}.{name}"
        case Literal(value=value):
            return repr(value)
        case Call(name=name, arguments=(first, *rest), method=True):
            return f"{_said(first)}.{name}({', '.join(map(_said, rest))})"
        case Call(name="size", arguments=(first,)):
            return f"{_said(first)}.size()"
        case Unary(op=op, operand=operand):
            return f"{op}{_said(operand)}"
        case Binary(op=op, left=left, right=right):
            return f"({_said(left)} {op} {_said(right)})"
        case _:
            return f"{type(tree).__name__}({', '.join(map(_said, children(tree)))}{_own(tree)})"


def _own(tree: Tree) -> str:
    return str(
        getattr(tree, "op", "") or getattr(tree, "name", "") or getattr(getattr(tree, "field", None), "name", "")
    )
