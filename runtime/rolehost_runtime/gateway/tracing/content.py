"""What was said, cut, for a platform that was told to keep it: as JSON in the shape of OpenTelemetry's GenAI conventions."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

MAX_CHARS = 8_192
"""Of all texts of one attribute."""
LEFT_OUT = "…"


class Message(Protocol):
    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


def shown(messages: Sequence[Message]) -> str:
    """The newest messages of a prompt, as far as they have room.

    >>> from types import SimpleNamespace as M
    >>> shown([M(role="system", content="x" * 9000), M(role="user", content="hi")])[-64:]
    'x…"}]},{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
    """
    room, found = MAX_CHARS, list[tuple[str, str]]()
    for one in reversed(messages):
        if room <= 0:
            break
        found.append((one.role, cut(one.content, room)))
        room -= len(one.content)
    return _json(reversed(found))


def said(heard: Iterable[str], finish_reason: str) -> str:
    """An answer."""
    return _json([("assistant", cut("".join(heard), MAX_CHARS))], finish_reason)


def cut(text: str, room: int) -> str:
    """
    >>> cut("hello", 5), cut("hello", 3)
    ('hello', 'hel…')
    """
    return text if len(text) <= room else text[:room] + LEFT_OUT


def _json(messages: Iterable[tuple[str, str]], finish_reason: str = "") -> str:
    more = {"finish_reason": finish_reason} if finish_reason else {}
    told = [{"role": role, "parts": [{"type": "text", "content": text}], **more} for role, text in messages]
    return msgspec.json.encode(told).decode("utf-8", "replace")
