"""Text → tokens with their places. CEL's literals; of its escapes all."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from rolehost_runtime.core.dsl.expressions.tree import Problem, Span

MAX_CHARS = 2_000
MIN_INT, MAX_INT = -(2**63), 2**63 - 1

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
      | (?P<string>[rR]?(?:\"{3}|'{3}|\"|'))
      | (?P<double>\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
      | (?P<int>0[xX][0-9a-fA-F]+|\d+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]])
    """,
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\?"'`])|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"""
    r"""|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<bad>.|\Z))""",
    re.DOTALL,
)
_PLAIN = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
_INSTEAD = {
    "=": "Write == to compare",
    "&": "Write && for and",
    "|": "Write || for or",
    "“": "Write plain quotes: 'text'",
    "”": "Write plain quotes: 'text'",
    "‘": "Write plain quotes: 'text'",
    "’": "Write plain quotes: 'text'",
    "{": "Objects cannot be written here; lists can: ['a', 'b']",
    ";": "One expression stands alone; join two with &&",
    "~": "There are no patterns; write message.contains('…')",
}


class Token(NamedTuple):
    kind: str
    """name, int, double, string, op or end"""
    text: str
    span: Span
    value: int | float | str | None = None


class Faulty(Exception):
    """The text is no expression, for one reason."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def syntax(message: str, start: int, end: int, hint: str = "", code: str = "expression_syntax") -> Faulty:
    return Faulty(Problem(code, message, Span(start, max(end, start + 1)), hint))


def tokens(text: str) -> list[Token]:
    """The tokens of `text`, an `end` last. Raises Faulty.

    >>> [(token.kind, token.value or token.text) for token in tokens("turn > 3 // later")]
    [('name', 'turn'), ('op', '>'), ('int', 3), ('end', '')]
    """
    if len(text) > MAX_CHARS:
        raise syntax(
            f"has {len(text)} characters; at most {MAX_CHARS} are allowed",
            0,
            1,
            "Decide it in a hook",
            "expression_size",
        )
    return list(_scan(text))


def _scan(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise syntax(f"{text[at]!r} means nothing here", at, at + 1, _INSTEAD.get(text[at], ""))
        kind, end = str(found.lastgroup), found.end()
        if kind == "string":
            value, end = _string(text, at, found.group())
            yield Token(kind, text[at:end], Span(at, end), value)
        elif kind in ("int", "double"):
            yield _number(text, kind, at, end)
        elif kind != "space":
            yield Token(kind, found.group(), Span(at, end))
        at = end
    yield Token("end", "", Span(len(text), len(text) + 1))


def _number(text: str, kind: str, start: int, end: int) -> Token:
    word = text[start:end]
    if text[end : end + 1] in ("u", "U") and not text[end + 1 : end + 2].isalnum():
        raise syntax("unsigned numbers are not known here", start, end + 1, f"Write {word}", "not_supported")
    if end < len(text) and (text[end].isalnum() or text[end] == "_"):
        raise syntax(f"a number ends in {text[end]!r}", start, end + 1, "Names begin with a letter")
    if kind == "double":
        value = float(word)
        if math.isinf(value):
            raise syntax("is a number too large", start, end)
        return Token(kind, word, Span(start, end), value)
    digits = int(word, 16) if word[:2] in ("0x", "0X") else int(word) if len(word) < 30 else MAX_INT + 2
    if digits > MAX_INT + 1:
        raise syntax("is a whole number beyond 2^63 - 1", start, end, "Write it with a point for a double")
    return Token(kind, word, Span(start, end), digits)


def _string(text: str, start: int, opening: str) -> tuple[str, int]:
    """A string's value, and where it ends."""
    raw, quote = opening[0] in "rR", opening.lstrip("rR")
    at = begin = start + len(opening)
    while not text.startswith(quote, at):
        if at >= len(text) or (len(quote) == 1 and text[at] in "\r\n"):
            raise syntax("a string is not closed", start, at, f"End it with {quote}")
        at += 2 if text[at] == "\\" and not raw else 1
    inside = text[begin:at]
    return inside if raw else _unescaped(inside, begin), at + len(quote)


def _unescaped(inside: str, begin: int) -> str:
    def one(found: re.Match[str]) -> str:
        start, end = begin + found.start(), begin + found.end()
        if (bad := found["bad"]) is not None:
            raise syntax(f"\\{bad} is no escape", start, end, f"Write \\\\{bad} for a backslash before it")
        if found["plain"]:
            return _PLAIN.get(found["plain"], found["plain"])
        point = int(found["octal"], 8) if found["octal"] else int(found["x"] or found["u"] or found["U"], 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise syntax("is no character of Unicode", start, end)
        return chr(point)

    return _ESCAPE.sub(one, inside)
