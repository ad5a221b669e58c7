"""`['a', 'b'].exists(word, …)` and `.all(word, …)`: written out for each item, so that what runs has no loop.

Only for lists that stand in the expression itself. Over a list of the state the work would be what somebody stored.
"""

from rolehost_runtime.core.dsl.expressions.lexing import Faulty, syntax
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
    Tree,
    Unary,
    count,
    height,
)

MAX_DEPTH = 48
_KINDS = {"exists": "||", "all": "&&"}
_OTHERS = ("exists_one", "filter", "map")


def expanded(call: Call, most: int) -> Tree:
    """The call, or what it stands for. Raises Faulty."""
    if call.name in _OTHERS:
        raise Faulty(
            Problem(
                "not_supported", f"{call.name}() is not known here", call.at, "exists() and all() are, on [ ] lists"
            )
        )
    if call.name not in _KINDS:
        return call
    over, *rest = call.arguments
    if len(rest) != 2 or not isinstance(rest[0], Name):
        raise syntax(
            f"{call.name}() takes a name and a condition",
            *call.at,
            hint="Write ['a', 'b'].exists(word, message.contains(word))",
        )
    if not isinstance(over, ListOf):
        hint = "Write the list's items here in [ ], or decide it in a hook"
        raise Faulty(Problem("not_supported", f"{call.name}() takes a list that is written out", over.span, hint))
    name, body = rest[0].name, rest[1]
    if height(body) > MAX_DEPTH or len(over.items) * max(map(count, (body, *over.items))) > most * 4:
        raise Faulty(
            Problem(
                "expression_size", f"has more than {most} parts or {MAX_DEPTH} levels", call.span, "Decide it in a hook"
            )
        )
    parts = tuple(_with(body, name, item) for item in over.items)
    if not parts:
        return Literal(call.name == "all", call.span)
    return Junction(_KINDS[call.name], parts, call.span)


def _with(tree: Tree, name: str, item: Tree) -> Tree:
    """The tree with `item` in the place of `name`."""

    def go(one: Tree) -> Tree:
        match one:
            case Name(name=said) if said == name:
                return item
            case ListOf(items=items, span=span):
                return ListOf(tuple(map(go, items)), span)
            case Field():
                return _field(one)
            case Index(target=target, key=key, span=span):
                return Index(go(target), go(key), span)
            case Has(field=field, span=span):
                return Has(_field(field), span)
            case Unary(op=op, operand=operand, span=span):
                return Unary(op, go(operand), span)
            case Binary(op=op, left=left, right=right, span=span, at=at):
                return Binary(op, go(left), go(right), span, at)
            case Junction(op=op, parts=parts, span=span):
                return Junction(op, tuple(map(go, parts)), span)
            case Choice(condition=condition, then=then, otherwise=otherwise, span=span):
                return Choice(go(condition), go(then), go(otherwise), span)
            case Call(name=called, arguments=arguments, method=method, span=span, at=at):
                return Call(called, tuple(map(go, arguments)), method, span, at)
            case _:
                return one

    def _field(one: Field) -> Field:
        return Field(go(one.target), one.name, one.span, one.at)

    return go(tree)
