"""What role logic printed: a ring of bounded bytes, for the tenant's eyes. Sans-IO.

This is conversation, so it goes nowhere but to a link that asks for it.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from rolehost_api.link.messages import LogLine

MAX_BYTES = 262_144
MAX_LINE = 8192
OVERHEAD = 64
"""Counted per line, so that a ring of empty lines is bounded too."""

Stream = Literal["stdout", "stderr", "log"]


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    at_ms: int
    stream: Stream
    text: str
    session: str
    """The client's word for it; empty where the line belongs to no turn."""


class LogRing:
    """
    >>> ring = LogRing()
    >>> ring.add("stdout", "a", 1); ring.add("stdout", "b", 2)
    >>> [line.text for line in ring.read(after=1)[0]]
    ['b']
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        self.last = 0
        """Number of the newest line; lines count from 1."""

    def add(self, stream: Stream, text: str, at_ms: int, session: str = "") -> None:
        self.last += 1
        line = _Line(self.last, at_ms, stream, text[:MAX_LINE], session)
        self._lines.append(line)
        self._bytes += _size(line)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._lines.popleft())

    def read(self, *, after: int, limit: int = 512) -> tuple[list[LogLine], int]:
        """Lines after number `after`, at most `limit` and 256 KiB, and how many before them are lost."""
        found: list[LogLine] = []
        first = self._lines[0].number if self._lines else self.last + 1
        for line in self._lines:
            if line.number <= after:
                continue
            found.append(
                LogLine(number=line.number, at_ms=line.at_ms, stream=line.stream, text=line.text, session=line.session)
            )
            if len(found) == limit:
                break
        return found, max(0, first - 1 - after)


def _size(line: _Line) -> int:
    return len(line.text.encode()) + OVERHEAD


class LineSplitter:
    """Bytes of a stream to lines: what is no UTF-8 is marked, what is too long is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            whole.append(self._rest)
            self._rest = b""
        return [_text(line) for line in whole]

    def end(self) -> list[str]:
        """The last line, where it had no end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _text(line: bytes) -> str:
    return line[:MAX_LINE].decode(errors="replace").rstrip("\r")
