"""Where something stands in a manifest's text, down to the character, and how that is shown."""

import re
import unicodedata
from typing import NamedTuple

import yaml

from rolehost_runtime.core.dsl.expressions import Span

MAX_SHOWN = 100
"""Characters of a line that are shown."""
_LINES = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_ESCAPED = {"x": 4, "u": 6, "U": 10}


class Where(NamedTuple):
    """Both from 0."""

    line: int
    column: int
    length: int


class Source:
    """A manifest's text, for places in it; empty where what is compiled never was text."""

    def __init__(self, text: str = "") -> None:
        self._lines = _LINES.split(text)

    def of(self, node: yaml.Node | None) -> Where | None:
        """The first line of a node."""
        if node is None or node.start_mark is None:
            return None
        start, end = node.start_mark, node.end_mark
        line = self._line(start.line)
        length = end.column - start.column if start.line == end.line else len(line.rstrip()) - start.column
        return Where(start.line, start.column, max(length, 1))

    def within(self, node: yaml.ScalarNode, span: Span) -> Where | None:
        """A part of a scalar's value; the whole scalar where it cannot be told, as in text that YAML folded."""
        places = self._characters(node)
        if not places or span.start > len(places):
            return self.of(node)
        last = min(span.end, len(places)) - 1
        if span.start == len(places) or last < span.start:  # behind the end
            line, column = places[-1]
            return Where(line, column + 1, 1)
        line, column = places[span.start]
        ends = [at for at in places[span.start : last + 1] if at[0] == line]
        return Where(line, column, max(ends[-1][1] - column + 1, 1))

    def excerpt(self, where: Where) -> str:
        """The line, and under it carets.

        >>> print(Source("when: turn = 3").excerpt(Where(0, 11, 1)))
        when: turn = 3
                   ^
        """
        line = self._line(where.line).rstrip()
        cut = max(0, where.column - MAX_SHOWN // 2) if len(line) > MAX_SHOWN else 0
        shown = line[cut : cut + MAX_SHOWN]
        before, marked = line[cut : where.column], line[where.column : where.column + where.length]
        pad = "".join("\t" if char == "\t" else " " * _width(char) for char in before)
        carets = min(sum(map(_width, marked)) or 1, MAX_SHOWN)
        return f"{shown}\n{pad}{'^' * carets}"

    def _line(self, number: int) -> str:
        return self._lines[number] if number < len(self._lines) else ""

    def _characters(self, node: yaml.ScalarNode) -> list[tuple[int, int]]:
        """Line and column of each character of a scalar's value; empty where they do not lie one after the other."""
        if node.start_mark is None:
            return []
        raw = self._raw(node)
        style, at = node.style or "", 0
        if style in ("|", ">"):
            at = next((place for place, (char, _) in enumerate(raw) if char == "\n"), len(raw))
        elif style in ("'", '"'):
            at = 1
        found: list[tuple[int, int]] = []
        for char in str(node.value):
            while at < len(raw) and raw[at][0] != char and _is_passed_over(style, raw, at, char):
                at += 1
            if at >= len(raw):
                return found
            written = raw[at][0]
            found.append(raw[at][1])
            if style == '"' and written == "\\":
                at += _ESCAPED.get(raw[at + 1][0] if at + 1 < len(raw) else "", 2)
            elif style == "'" and written == char == "'":
                at += 2
            elif written == char or (char.isspace() and written.isspace()):
                at += 1
            else:
                return []
        return found

    def _raw(self, node: yaml.ScalarNode) -> list[tuple[str, tuple[int, int]]]:
        start, end = node.start_mark, node.end_mark
        found: list[tuple[str, tuple[int, int]]] = []
        for number in range(start.line, end.line + 1):
            line = self._line(number)
            first = start.column if number == start.line else 0
            last = end.column if number == end.line else len(line)
            found += ((line[column], (number, column)) for column in range(first, min(last, len(line))))
            if number < end.line:
                found.append(("\n", (number, len(line))))
        return found


def _is_passed_over(style: str, raw: list[tuple[str, tuple[int, int]]], at: int, wanted: str) -> bool:
    """Breaks, what indents, and the backslash that joins two lines are written and not of the value."""
    if raw[at][0].isspace():
        return not wanted.isspace()
    return style == '"' and raw[at][0] == "\\" and at + 1 < len(raw) and raw[at + 1][0] == "\n"


def _width(char: str) -> int:
    """Columns of a terminal."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
