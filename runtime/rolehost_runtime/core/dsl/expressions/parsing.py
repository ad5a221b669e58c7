"""Tokens → a tree. A Pratt parser: each operator binds with a power; everything else is a prefix or a suffix."""

from typing import NoReturn

from rolehost_runtime.core.dsl.expressions import macros
from rolehost_runtime.core.dsl.expressions.lexing import MAX_INT, Faulty, Token, syntax, tokens
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
    count,
    height,
)

MAX_NODES = 256
MAX_DEPTH = macros.MAX_DEPTH
"""Of brackets in the text, and of the tree: below what Python takes of brackets in what is generated."""
_POWERS = {
    "||": 2,
    "&&": 3,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 4),
    **dict.fromkeys(("+", "-"), 5),
    **dict.fromkeys(("*", "/", "%"), 6),
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "in",
    ]
)
_INSTEAD = {
    "and": "Write &&",
    "or": "Write ||",
    "not": "Write ! before what is negated",
    "is": "Write ==",
    "if": "Write condition ? this : that",
    "else": "Write condition ? this : that",
}


def parse(text: str) -> Tree:
    """The tree of an expression. Raises Faulty.

    >>> parse("turn > 3").op
    '>'
    """
    parser = _Parser(tokens(text))
    tree = parser.expression()
    parser.end()
    if count(tree) > MAX_NODES:
        raise syntax(f"has more than {MAX_NODES} parts", 0, len(text), "Decide it in a hook", "expression_size")
    if height(tree) > MAX_DEPTH:
        raise _deep(Span(0, len(text)))
    return tree


def _deep(span: Span) -> Faulty:
    problem = Problem("expression_size", f"is nested more than {MAX_DEPTH} deep", span, "Decide it in a hook")
    return Faulty(problem)


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _has(self, text: str) -> bool:
        """Take the operator if it is what comes next."""
        there = self._next.kind == "op" and self._next.text == text
        if there:
            self._take()
        return there

    def _expect(self, text: str, opened: Span | None = None) -> Token:
        if self._next.kind == "op" and self._next.text == text:
            return self._take()
        if opened is not None and self._next.kind == "end":
            raise syntax("a bracket is not closed", *opened, hint=f"Close it with {text}")
        return self._unexpected(f"Here {text} is expected")

    def _unexpected(self, hint: str = "") -> NoReturn:
        token = self._next
        if token.kind == "end":
            raise syntax("the expression ends too early", *token.span, hint=hint or "A value is missing")
        hint = _INSTEAD.get(token.text, hint) if token.kind == "name" else hint
        raise syntax(f"`{token.text[:40]}` is not expected here", *token.span, hint=hint)

    def end(self) -> None:
        if self._next.kind != "end":
            self._unexpected("Join two conditions with && or ||")

    def expression(self) -> Tree:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _deep(self._next.span)
        condition = self._operators(2)
        if self._has("?"):
            then = self._operators(2)
            self._expect(":")
            otherwise = self.expression()
            condition = Choice(condition, then, otherwise, Span(condition.span.start, otherwise.span.end))
        self._depth -= 1
        return condition

    def _operators(self, least: int) -> Tree:
        left = self._prefix()
        while True:
            token = self._next
            power = _POWERS.get(token.text, 0) if token.kind == "op" or token.text == "in" else 0
            if power < least:
                return left
            self._take()
            right = self._operators(power + 1)
            span = Span(left.span.start, right.span.end)
            if token.text in ("&&", "||"):
                parts = tuple(part for one in (left, right) for part in _parts(one, token.text))
                left = Junction(token.text, parts, span)
            else:
                left = Binary(token.text, left, right, span, token.span)

    def _prefix(self) -> Tree:
        signs: list[Token] = []
        while self._next.kind == "op" and self._next.text in ("!", "-"):
            signs.append(self._take())
            if len(signs) > MAX_DEPTH:
                raise _deep(signs[0].span)
        tree = self._negative(signs.pop()) if signs and signs[-1].text == "-" and self._number() else self._suffixes()
        for sign in reversed(signs):
            tree = Unary(sign.text, tree, Span(sign.span.start, tree.span.end))
        return tree

    def _number(self) -> bool:
        return self._next.kind in ("int", "double")

    def _negative(self, sign: Token) -> Tree:
        """A number and its sign are one literal: only so the least of all whole numbers can be written."""
        token = self._take()
        assert isinstance(token.value, int | float)
        return self._suffixed(Literal(-token.value, Span(sign.span.start, token.span.end)))

    def _suffixes(self) -> Tree:
        return self._suffixed(self._primary())

    def _suffixed(self, tree: Tree) -> Tree:
        while True:
            if self._has("."):
                tree = self._member(tree)
            elif self._next.kind == "op" and self._next.text == "[":
                opened = self._take().span
                key = self.expression()
                end = self._expect("]", opened).span.end
                tree = Index(tree, key, Span(tree.span.start, end))
            else:
                return tree

    def _member(self, target: Tree) -> Tree:
        if self._next.kind != "name" or self._next.text in ("true", "false", "null", "in"):
            self._unexpected("After a point comes a name")
        name = self._take()
        if not (self._next.kind == "op" and self._next.text == "("):
            return Field(target, name.text, Span(target.span.start, name.span.end), name.span)
        arguments, end = self._arguments()
        call = Call(name.text, (target, *arguments), True, Span(target.span.start, end), name.span)
        return macros.expanded(call, MAX_NODES)

    def _arguments(self) -> tuple[tuple[Tree, ...], int]:
        opened = self._expect("(").span
        return self._items(")", opened)

    def _items(self, closing: str, opened: Span) -> tuple[tuple[Tree, ...], int]:
        found: list[Tree] = []
        while not (self._next.kind == "op" and self._next.text == closing):
            found.append(self.expression())
            if not self._has(","):
                break
        return tuple(found), self._expect(closing, opened).span.end

    def _primary(self) -> Tree:
        token = self._next
        if token.kind == "op":
            return self._bracket(token)
        if token.kind == "end" or (token.kind == "name" and (token.text in _RESERVED or token.text in _INSTEAD)):
            self._unexpected()
        self._take()
        if token.kind == "name":
            return self._named(token)
        if token.kind == "int" and isinstance(token.value, int) and token.value > MAX_INT:
            raise syntax("is a whole number beyond 2^63 - 1", *token.span, hint="Write it with a point for a double")
        return Literal(token.value, token.span)

    def _bracket(self, token: Token) -> Tree:
        if token.text == "(":
            self._take()
            tree = self.expression()
            self._expect(")", token.span)
            return tree
        if token.text == "[":
            self._take()
            items, end = self._items("]", token.span)
            return ListOf(items, Span(token.span.start, end))
        return self._unexpected()

    def _named(self, token: Token) -> Tree:
        if self._next.kind == "string" and token.span.end == self._next.span.start:
            raise syntax("bytes are not known here", *token.span, hint="Leave out the b", code="not_supported")
        if self._next.kind == "op" and self._next.text == "(":
            arguments, end = self._arguments()
            span = Span(token.span.start, end)
            if token.text != "has":
                return Call(token.text, arguments, False, span, token.span)
            if len(arguments) != 1 or not isinstance(arguments[0], Field):
                raise syntax("has() asks for one field", *span, hint="Write has(state.name)")
            return Has(arguments[0], span)
        if token.text in _CONSTANTS:
            return Literal(_CONSTANTS[token.text], token.span)
        return Name(token.text, token.span)


def _parts(tree: Tree, op: str) -> tuple[Tree, ...]:
    return tree.parts if isinstance(tree, Junction) and tree.op == op else (tree,)
