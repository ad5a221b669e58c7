"""What an expression says, as a tree whose nodes know where they stand in the text."""

from typing import NamedTuple

from msgspec import Struct


class Span(NamedTuple):
    """From code point `start` of the expression's text up to `end`, which is not of it."""

    start: int
    end: int


class Problem(Struct, frozen=True):
    """One thing wrong with an expression: what, where, and what to write instead."""

    code: str
    message: str
    span: Span
    hint: str = ""


class Literal(Struct, frozen=True):
    value: bool | int | float | str | None
    span: Span


class ListOf(Struct, frozen=True):
    items: "tuple[Tree, ...]"
    span: Span


class Name(Struct, frozen=True):
    name: str
    span: Span


class Field(Struct, frozen=True):
    """`target.name`"""

    target: "Tree"
    name: str
    span: Span
    at: Span
    """Of the name alone."""


class Index(Struct, frozen=True):
    """`target[key]`"""

    target: "Tree"
    key: "Tree"
    span: Span


class Has(Struct, frozen=True):
    """`has(target.name)`"""

    field: Field
    span: Span


class Unary(Struct, frozen=True):
    """`!operand` or `-operand`"""

    op: str
    operand: "Tree"
    span: Span


class Binary(Struct, frozen=True):
    """A comparison, `in` or arithmetic."""

    op: str
    left: "Tree"
    right: "Tree"
    span: Span
    at: Span
    """Of the operator alone."""


class Junction(Struct, frozen=True):
    """`a && b && c`, or the same with `||`; at least one part."""

    op: str
    parts: "tuple[Tree, ...]"
    span: Span


class Choice(Struct, frozen=True):
    """`condition ? then : otherwise`"""

    condition: "Tree"
    then: "Tree"
    otherwise: "Tree"
    span: Span


class Call(Struct, frozen=True):
    """`name(a, b)`, and `a.name(b)` alike."""

    name: str
    arguments: "tuple[Tree, ...]"
    method: bool
    span: Span
    at: Span
    """Of the name alone."""


Tree = Literal | ListOf | Name | Field | Index | Has | Unary | Binary | Junction | Choice | Call


def children(tree: Tree) -> tuple[Tree, ...]:
    match tree:
        case ListOf(items=items):
            return items
        case Field(target=target):
            return (target,)
        case Index(target=target, key=key):
            return (target, key)
        case Has(field=field):
            return (field.target,)
        case Unary(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Junction(parts=parts):
            return parts
        case Choice(condition=condition, then=then, otherwise=otherwise):
            return (condition, then, otherwise)
        case Call(arguments=arguments):
            return arguments
        case _:
            return ()


def count(tree: Tree) -> int:
    """How many nodes a tree has, itself included."""
    todo, found = [tree], 0
    while todo:
        todo.extend(children(todo.pop()))
        found += 1
    return found


def height(tree: Tree) -> int:
    """How many nodes lie on the longest way down."""
    level: list[Tree] = [tree]
    found = 0
    while level:
        level = [child for one in level for child in children(one)]
        found += 1
    return found


def path(tree: Tree) -> str:
    """`state.a.b` for a way of names, else empty."""
    match tree:
        case Name(name=name):
            return name
        case Field(target=target, name=name):
            before = path(target)
            return f"{before}.{name}" if before else ""
        case _:
            return ""
