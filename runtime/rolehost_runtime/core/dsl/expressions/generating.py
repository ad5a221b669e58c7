"""A checked tree → one Python expression over `facts`: a straight line of whitelisted operations.

Where the types say that an operation cannot fail it is Python's own; else it is a call into
`running`. No loop, no attribute but those of Facts, no name but ours: text and names that a
tenant wrote go through `text`, which either keeps them apart (`k0`, `k1`) or quotes them.
"""

from collections.abc import Callable
from typing import NamedTuple, assert_never

from rolehost_runtime.core.dsl.expressions.checking import Types
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
    Tree,
    Unary,
)
from rolehost_runtime.core.dsl.expressions.types import NUMBERS, SCALARS, Kind

_OR, _IF, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _ATOM = 1, 0, 2, 3, 4, 5, 6, 7, 9
_CALLS = {
    "==": "equal", "!=": "unequal", "<": "less", "<=": "most", ">": "more", ">=": "least", "in": "among",
    "+": "add", "-": "subtract", "*": "multiply", "/": "divide", "%": "remainder",
}  # fmt: skip
_FUNCTIONS = {
    "size": "size",
    "contains": "contains",
    "startsWith": "starts_with",
    "endsWith": "ends_with",
    "lowerAscii": "lowered",
    "int": "to_int",
    "double": "to_double",
    "string": "to_string",
}


class Code(NamedTuple):
    text: str
    power: int
    """How strongly it holds together: what is put into something stronger needs brackets."""
    safe: bool
    """It cannot fail, and is of the type that was found for it."""

    def within(self, power: int) -> str:
        return self.text if self.power >= power else f"({self.text})"


def generate(tree: Tree, types: Types, text: Callable[[str], str]) -> str:
    """The expression's source."""
    return _Generator(types, text).code(tree).text


def _call(name: str, *arguments: Code | str) -> Code:
    said = ", ".join(argument.within(_IF) if isinstance(argument, Code) else argument for argument in arguments)
    return Code(f"{name}({said})", _ATOM, False)


class _Generator:
    def __init__(self, types: Types, text: Callable[[str], str]) -> None:
        self._types = types
        self._text = text

    def _kind(self, tree: Tree) -> Kind:
        return self._types[id(tree)].kind

    def code(self, tree: Tree) -> Code:
        match tree:
            case Literal(value=value):
                return self._literal(value)
            case ListOf(items=items):
                return self._list([self.code(item) for item in items])
            case Name(name=name):
                return Code(f"facts.{_FACTS[name]}", _ATOM, True)
            case Field():
                return self._field(tree)
            case Index(target=target, key=key):
                return _call("item", self.code(target), self.code(key))
            case Has(field=field):
                return _call("has", self.code(field.target), self._text(field.name))
            case Unary():
                return self._unary(tree)
            case Binary():
                return self._binary(tree)
            case Junction():
                return self._junction(tree)
            case Choice():
                return self._choice(tree)
            case Call():
                return self._function(tree)
            case _:
                assert_never(tree)

    def _literal(self, value: object) -> Code:
        if isinstance(value, str):
            return Code(self._text(value), _ATOM, True)
        said = repr(value)
        return Code(said, _SIGN if said.startswith("-") else _ATOM, True)

    def _list(self, items: list[Code]) -> Code:
        if all(item.safe for item in items):
            inside = ", ".join(item.text for item in items)
            return Code(f"({inside},)" if len(items) == 1 else f"({inside})", _ATOM, True)
        return _call("listed", *items)

    def _field(self, tree: Field) -> Code:
        target, kind = self.code(tree.target), self._kind(tree)
        if self._types[id(tree.target)].fields is not None and kind is not Kind.DYN:
            return _call("declared", target, self._text(tree.name), kind.name)
        return _call("field", target, self._text(tree.name))

    def _unary(self, tree: Unary) -> Code:
        operand = self.code(tree.operand)
        if tree.op == "!":
            if operand.safe and self._kind(tree.operand) is Kind.BOOL:
                return Code(f"not {operand.within(_NOT)}", _NOT, True)
            return _call("opposite", operand)
        if operand.safe and self._kind(tree.operand) is Kind.DOUBLE:
            return Code(f"-{operand.within(_SIGN + 1)}", _SIGN, True)
        return _call("negative", operand)

    def _binary(self, tree: Binary) -> Code:
        left, right = self.code(tree.left), self.code(tree.right)
        if left.safe and right.safe and (power := self._native(tree)):
            # Python chains comparisons and CEL does not: what is compared holds together more strongly.
            inner = power + 1 if power == _COMPARE else power
            return Code(f"{left.within(inner)} {tree.op} {right.within(power + 1)}", power, True)
        return _call(_CALLS[tree.op], left, right)

    def _native(self, tree: Binary) -> int:
        """How strongly Python's own operator holds, where it says the same; else 0."""
        left, right = self._kind(tree.left), self._kind(tree.right)
        alike = left is right and left in SCALARS
        numbers = left in NUMBERS and right in NUMBERS
        match tree.op:
            case "==" | "!=":
                return _COMPARE if alike or numbers else 0
            case "<" | "<=" | ">" | ">=":
                return _COMPARE if numbers or (alike and left is Kind.STRING) else 0
            case "in":
                return _COMPARE if isinstance(tree.right, ListOf) and self._one_kind(left, tree.right) else 0
            case "+" | "-":
                return _SUM if alike and left is Kind.DOUBLE else 0
            case "*":
                return _PRODUCT if alike and left is Kind.DOUBLE else 0
            case _:
                return 0

    def _one_kind(self, kind: Kind, over: ListOf) -> bool:
        return kind is Kind.STRING and all(self._kind(item) is Kind.STRING for item in over.items)

    def _junction(self, tree: Junction) -> Code:
        parts = [self.code(part) for part in tree.parts]
        if all(part.safe and self._kind(one) is Kind.BOOL for part, one in zip(parts, tree.parts, strict=True)):
            if len(parts) == 1:
                return parts[0]
            power, word = (_OR, " or ") if tree.op == "||" else (_AND, " and ")
            return Code(word.join(part.within(power) for part in parts), power, True)
        return _call("either" if tree.op == "||" else "both", *parts)

    def _choice(self, tree: Choice) -> Code:
        condition, then, otherwise = map(self.code, (tree.condition, tree.then, tree.otherwise))
        if condition.safe and self._kind(tree.condition) is Kind.BOOL:
            said = f"{then.within(_OR)} if {condition.within(_OR)} else {otherwise.within(_IF)}"
            return Code(said, _IF, then.safe and otherwise.safe)
        return _call("choose", condition, then, otherwise)

    def _function(self, tree: Call) -> Code:
        found = [self.code(argument) for argument in tree.arguments]
        if all(
            one.safe and self._kind(argument) is Kind.STRING
            for one, argument in zip(found, tree.arguments, strict=True)
        ):
            first, *rest = found
            match tree.name:
                case "size":
                    return Code(f"len({first.text})", _ATOM, True)
                case "contains":
                    return Code(f"{rest[0].within(_COMPARE + 1)} in {first.within(_COMPARE + 1)}", _COMPARE, True)
                case "startsWith" | "endsWith":
                    return Code(f"{first.within(_ATOM)}.{tree.name.lower()}({rest[0].text})", _ATOM, True)
                case "lowerAscii":
                    return Code(f"lower_ascii({first.text})", _ATOM, True)
        return _call(_FUNCTIONS[tree.name], *found)


_FACTS = {name: name for name in ("message", "user", "turn", "node", "state", "user_state")}
