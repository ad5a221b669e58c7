"""Which type each part of an expression is of, and everything that is wrong with it, before it ever runs."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from rolehost_runtime.core.dsl.expressions.operations import FUNCTIONS
from rolehost_runtime.core.dsl.expressions.tree import (
    Binary,
    Call,
    Choice,
    Field,
    Has,
    Index,
    Junction,
    ListOf,
    Literal,
    Name,
    Problem,
    Span,
    Tree,
    Unary,
    path,
)
from rolehost_runtime.core.dsl.expressions.types import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    NULL,
    NUMBERS,
    STRING,
    Kind,
    Names,
    Type,
    list_of,
)

Types = dict[int, Type]
"""The type of each node, by its `id`."""
_DYN = Kind.DYN
_ARITHMETIC = {"+": "added", "-": "subtracted", "*": "multiplied", "/": "divided"}
_ELSEWHERE = {
    "len": "Write size(x)",
    "length": "Write x.size()",
    "lower": "Write lowerAscii()",
    "toLowerCase": "Write lowerAscii()",
    "upperAscii": "Compare with lowerAscii()",
    "matches": "There are no patterns; write contains, startsWith or endsWith",
    "includes": "Write contains()",
    "float": "Write double(x)",
    "str": "Write string(x)",
    "True": "Write true",
    "False": "Write false",
    "None": "Write null",
    "t": "Write message, state.name, …: there is no t here",
    "text": "Write message",
}
_TAKES: Mapping[str, tuple[tuple[tuple[Kind, ...], ...], Type]] = {
    "size": (((Kind.STRING, Kind.LIST, Kind.MAP),), INT),
    "contains": (((Kind.STRING,), (Kind.STRING,)), BOOL),
    "startsWith": (((Kind.STRING,), (Kind.STRING,)), BOOL),
    "endsWith": (((Kind.STRING,), (Kind.STRING,)), BOOL),
    "lowerAscii": (((Kind.STRING,),), STRING),
    "int": (((Kind.INT, Kind.DOUBLE, Kind.STRING),), INT),
    "double": (((Kind.INT, Kind.DOUBLE, Kind.STRING),), DOUBLE),
    "string": (((Kind.STRING, Kind.INT, Kind.BOOL),), STRING),
}
MAX_PROBLEMS = 16
"""Of one expression."""
MOST_COMPARED = 32
_METHODS = ("size", "contains", "startsWith", "endsWith", "lowerAscii")
_FREE = ("size", "int", "double", "string")


def check(tree: Tree, names: Names) -> tuple[Types, list[Problem]]:
    """The types of all nodes, and what is wrong; what a fault stands in has any type, so it is told once."""
    walk = _Walk(names)
    walk.type_of(tree)
    return walk.types, walk.problems


def meant(name: str, known: Iterable[str]) -> str:
    """A did-you-mean, else what there is.

    >>> meant("mesage", ["message", "turn"])
    'Did you mean message?'
    """
    words, wanted = list(known), name.lower()[:64]
    folded = {word.lower(): word for word in words}
    # Comparing is slow, and there may be many of long names that are nearly alike: the likely ones only.
    likely = sorted(folded, key=lambda word: (word[:1] != wanted[:1], abs(len(word) - len(wanted))))[:MOST_COMPARED]
    close = get_close_matches(wanted, likely, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {folded[close[0]]}?"
    return f"Known here: {', '.join(words[:20])}" if words else ""


def _instead(name: str, known: Iterable[str]) -> str:
    return _ELSEWHERE.get(name) or meant(name, known)


class _Walk:
    def __init__(self, names: Names) -> None:
        self.types: Types = {}
        self.problems: list[Problem] = []
        self._names = names.known()

    def _say(self, code: str, message: str, span: Span, hint: str = "") -> Type:
        problem = Problem(code, message, span, hint)
        if (
            problem not in self.problems and len(self.problems) < MAX_PROBLEMS
        ):  # a macro writes the same words out several times
            self.problems.append(problem)
        return DYN

    def type_of(self, tree: Tree) -> Type:
        found = self._type(tree)
        self.types[id(tree)] = found
        return found

    def _type(self, tree: Tree) -> Type:
        match tree:
            case Literal(value=value):
                return _literal(value)
            case ListOf(items=items):
                return _list([self.type_of(item) for item in items])
            case Name():
                return self._name(tree)
            case Field():
                return self._field(tree)
            case Index():
                return self._index(tree)
            case Has(field=field):
                self.types[id(field)] = self._field(field)
                return BOOL
            case Unary():
                return self._unary(tree)
            case Binary():
                return self._binary(tree)
            case Junction(op=op, parts=parts):
                for part in parts:
                    self._condition(part, op)
                return BOOL
            case Choice():
                return self._choice(tree)
            case Call():
                return self._call(tree)

    def _name(self, tree: Name) -> Type:
        if tree.name in self._names:
            return self._names[tree.name]
        return self._say("unknown_name", f"there is no {tree.name[:64]}", tree.span, _instead(tree.name, self._names))

    def _field(self, tree: Field) -> Type:
        target = self.type_of(tree.target)
        if target.kind is _DYN:
            return DYN
        if target.kind is not Kind.MAP:
            called = f"{tree.name}()" if tree.name in _METHODS else ""
            hint = f"Write {called}" if called else "Only state, user_state and what they hold have fields"
            return self._say("type_mismatch", f"{target} has no field {tree.name[:64]}", tree.at, hint)
        if target.fields is None:
            return DYN
        if tree.name in target.fields:
            return target.fields[tree.name]
        where = path(tree.target) or "this object"
        other = {"state": "user_state", "user_state": "state"}.get(where, "")
        there = other and self._names[other].fields
        hint = f"Write {other}.{tree.name}" if there and tree.name in there else meant(tree.name, target.fields)
        if where in ("state", "user_state") and not hint:
            hint = "Nothing is kept there: declare it in behavior.state, or in Python"
        return self._say("unknown_field", f"{where} has no field {tree.name[:64]}", tree.at, hint)

    def _index(self, tree: Index) -> Type:
        target, key = self.type_of(tree.target), self.type_of(tree.key)
        if target.kind not in (Kind.LIST, Kind.MAP, _DYN):
            return self._say("type_mismatch", f"{target} has no items", tree.span, "Lists have: state.names[0]")
        wanted = {Kind.LIST: Kind.INT, Kind.MAP: Kind.STRING}.get(target.kind, _DYN)
        if key.kind not in (wanted, _DYN) and wanted is not _DYN:
            return self._say("type_mismatch", f"{target} has no item at {key}", tree.key.span, f"Write {wanted.value}")
        if target.kind is Kind.MAP and target.fields is not None and isinstance(tree.key, Literal):
            name = str(tree.key.value)
            if name not in target.fields:
                return self._say("unknown_field", f"there is no {name[:64]}", tree.key.span, meant(name, target.fields))
            return target.fields[name]
        return target.item or DYN

    def _condition(self, tree: Tree, op: str) -> None:
        found = self.type_of(tree)
        if found.kind not in (Kind.BOOL, _DYN):
            self._say("type_mismatch", f"{op} joins conditions, and this is {found}", tree.span, _as_condition(found))

    def _unary(self, tree: Unary) -> Type:
        found = self.type_of(tree.operand)
        if tree.op == "!":
            if found.kind not in (Kind.BOOL, _DYN):
                self._say(
                    "type_mismatch", f"! negates a condition, and this is {found}", tree.span, _as_condition(found)
                )
            return BOOL
        if found.kind in (*NUMBERS, _DYN):
            return found
        return self._say("type_mismatch", f"{found} has no negative", tree.span)

    def _binary(self, tree: Binary) -> Type:
        left, right = self.type_of(tree.left), self.type_of(tree.right)
        if tree.op in ("==", "!="):
            return self._equality(tree, left, right)
        if tree.op == "in":
            return self._membership(tree, left, right)
        if tree.op in ("<", "<=", ">", ">="):
            return self._order(tree, left, right)
        return self._arithmetic(tree, left, right)

    def _equality(self, tree: Binary, left: Type, right: Type) -> Type:
        kinds = {left.kind, right.kind}
        if len(kinds) > 1 and _DYN not in kinds and not kinds <= set(NUMBERS):
            hint = "Write the text without quotes" if kinds == {Kind.STRING, Kind.INT} and _digits(tree) else ""
            self._say("type_mismatch", f"{left} never equals {right}", tree.span, hint)
        return BOOL

    def _order(self, tree: Binary, left: Type, right: Type) -> Type:
        if isinstance(tree.left, Binary) and tree.left.op in ("<", "<=", ">", ">="):
            self._say("type_mismatch", "comparisons do not chain", tree.span, "Write a < b && b < c")
            return BOOL
        numbers = all(one.kind in (*NUMBERS, _DYN) for one in (left, right))
        texts = all(one.kind in (Kind.STRING, _DYN) for one in (left, right))
        if not numbers and not texts:
            text = any(
                one.kind is Kind.STRING and not isinstance(at, Literal)
                for one, at in ((left, tree.left), (right, tree.right))
            )
            hint = "Write its size()" if text and Kind.INT in (left.kind, right.kind) else ""
            self._say("type_mismatch", f"{left} and {right} have no order", tree.span, hint)
        return BOOL

    def _membership(self, tree: Binary, left: Type, right: Type) -> Type:
        if right.kind is Kind.STRING:
            self._say(
                "type_mismatch", "in looks into lists, and this is a string", tree.span, "Write message.contains('…')"
            )
        elif right.kind not in (Kind.LIST, Kind.MAP, _DYN):
            self._say("type_mismatch", f"in looks into lists, and this is {right}", tree.right.span)
        elif right.kind is Kind.LIST and right.item is not None:
            kinds = {left.kind, right.item.kind}
            if len(kinds) > 1 and _DYN not in kinds and not kinds <= set(NUMBERS):
                self._say("type_mismatch", f"{left} is never in {right}", tree.span)
        return BOOL

    def _arithmetic(self, tree: Binary, left: Type, right: Type) -> Type:
        kinds = [one.kind for one in (left, right) if one.kind is not _DYN]
        allowed: tuple[Kind, ...] = (*NUMBERS, Kind.STRING) if tree.op == "+" else NUMBERS
        if tree.op == "%":
            allowed = (Kind.INT,)
        if any(kind not in allowed for kind in kinds) or len(set(kinds)) > 1:
            mixed = set(kinds) == set(NUMBERS)
            hint = "Write the whole number with a point (2.0), or double(x)" if mixed else ""
            if tree.op == "+" and set(kinds) == {Kind.STRING, Kind.INT}:
                hint = "Write string(x) for the number"
            done = _ARITHMETIC.get(tree.op, "divided for the remainder")
            return self._say("type_mismatch", f"{left} and {right} cannot be {done}", tree.span, hint)
        return left if left.kind is right.kind else DYN

    def _choice(self, tree: Choice) -> Type:
        self._condition(tree.condition, "?")
        then, otherwise = self.type_of(tree.then), self.type_of(tree.otherwise)
        return then if then == otherwise else DYN

    def _call(self, tree: Call) -> Type:
        found = [self.type_of(argument) for argument in tree.arguments]
        known = _METHODS if tree.method else _FREE
        if tree.name not in FUNCTIONS or tree.name not in known:
            hint = _instead(tree.name, known)
            if tree.name in FUNCTIONS:
                hint = f"Write text.{tree.name}(…)" if not tree.method else f"Write {tree.name}(x)"
            return self._say("unknown_function", f"there is no function {tree.name[:64]}", tree.at, hint)
        takes, gives = _TAKES[tree.name]
        if len(found) != len(takes):
            wanted, given = (len(takes) - tree.method, len(found) - tree.method)
            self._say("type_mismatch", f"{tree.name}() takes {wanted} values, not {given}", tree.at)
            return gives
        for argument, one, allowed in zip(tree.arguments, found, takes, strict=True):
            if one.kind not in (*allowed, _DYN):
                words = " or ".join(str(Type(kind)) for kind in allowed)
                self._say("type_mismatch", f"{tree.name}() takes {words}, and this is {one}", argument.span)
        return gives


def _literal(value: object) -> Type:
    if value is None:
        return NULL
    return {bool: BOOL, int: INT, float: DOUBLE, str: STRING}[type(value)]


def _list(items: list[Type]) -> Type:
    return list_of(items[0]) if items and all(item == items[0] for item in items) else list_of(DYN)


def _as_condition(found: Type) -> str:
    return {Kind.STRING: "Write text.contains('…')", Kind.INT: "Write x > 0"}.get(
        found.kind, "Compare it with something"
    )


def _digits(tree: Binary) -> bool:
    return any(isinstance(one, Literal) and str(one.value).lstrip("-").isdigit() for one in (tree.left, tree.right))
