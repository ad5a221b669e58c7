"""An expression's answer straight from its tree: what generated code is held to."""

from typing import assert_never

from rolehost_runtime.core.dsl.expressions import operations
from rolehost_runtime.core.dsl.expressions.checking import Types
from rolehost_runtime.core.dsl.expressions.operations import Failed
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
from rolehost_runtime.core.dsl.expressions.types import Facts, Kind


def evaluate(tree: Tree, types: Types, facts: Facts) -> object:
    """The value. Raises Failed. `types` are those of `check`, which found nothing wrong."""

    def go(one: Tree) -> object:
        match one:
            case Literal(value=value):
                return value
            case ListOf(items=items):
                return tuple(map(go, items))
            case Name(name=name):
                return _fact(name, facts)
            case Field(target=target, name=name):
                return _field(go(target), name, types[id(one)].kind, types[id(target)].fields is not None)
            case Index(target=target, key=key):
                return operations.item(go(target), go(key))
            case Has(field=field):
                return operations.has(go(field.target), field.name)
            case Unary(op=op, operand=operand):
                return operations.UNARY[op](go(operand))
            case Binary(op=op, left=left, right=right):
                return operations.BINARY[op](go(left), go(right))
            case Junction(op=op, parts=parts):
                return _junction(op == "||", parts)
            case Choice(condition=condition, then=then, otherwise=otherwise):
                return go(then if _condition(condition) else otherwise)
            case Call(name=name, arguments=arguments):
                return operations.FUNCTIONS[name](*map(go, arguments))
            case _:
                assert_never(one)

    def _condition(one: Tree) -> bool:
        value = go(one)
        if not isinstance(value, bool):
            raise Failed("a condition is neither true nor false")
        return value

    def _junction(decisive: bool, parts: tuple[Tree, ...]) -> bool:
        """One part that decides is enough, whatever failed beside it: CEL's rule."""
        failed: Failed | None = None
        for part in parts:
            try:
                if _condition(part) is decisive:
                    return decisive
            except Failed as failure:
                failed = failed or failure
        if failed is not None:
            raise failed
        return not decisive

    return go(tree)


def _fact(name: str, facts: Facts) -> object:
    match name:
        case "message":
            return facts.message
        case "user":
            return facts.user
        case "turn":
            return facts.turn
        case "node":
            return facts.node
        case "state":
            return facts.state
        case _:
            return facts.user_state


def _field(target: object, name: str, kind: Kind, is_declared: bool) -> object:
    if is_declared and kind is not Kind.DYN:
        return operations.declared(target, name, kind)
    return operations.field(target, name)
