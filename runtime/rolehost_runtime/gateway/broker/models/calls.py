"""Calls of tools in a model's answer, put together from pieces; and what servers are sent of tools. Sans-IO."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from rolehost_api.link.tools import MAX_ARGUMENT_BYTES, MAX_CALLS, ToolCall, ToolSpec
from rolehost_runtime.core.tooling import arguments_of
from rolehost_runtime.gateway.ports import Called, ModelMessage

OWN = frozenset({"tools", "functions", "function_call"})
"""Parameters that a Role's manifest does not set: what is offered is the platform's to say."""


@dataclass(slots=True)
class _Call:
    name: str
    parts: list[str] = field(default_factory=list)
    size: int = 0
    too_large: bool = False

    def add(self, part: str) -> None:
        self.size += len(part.encode(errors="replace"))
        if self.size > MAX_ARGUMENT_BYTES:
            self.too_large = True
            self.parts.clear()
        elif part:
            self.parts.append(part)


class CallPieces:
    """The calls of one answer. As many as may be are kept, and of each as much as may be.

    >>> calls = CallPieces()
    >>> calls.begin(0, "weather"); calls.add(0, '{"city":'); calls.add(0, '"Oslo"}')
    >>> calls.found, calls.dropped
    ((Called(name='weather', arguments='{"city":"Oslo"}', too_large=False),), 0)
    """

    def __init__(self) -> None:
        self.pieces = 0
        """So many came: the model goes on."""
        self.dropped = 0
        """Calls that were not kept."""
        self._calls: dict[int, _Call] = {}

    def begin(self, place: int, name: str) -> None:
        """A call, at this place in the answer; nothing where it has begun already."""
        self.pieces += 1
        if place in self._calls:
            return
        if len(self._calls) >= MAX_CALLS:
            self.dropped += 1
        else:
            self._calls[place] = _Call(name[:256])

    def add(self, place: int, part: str) -> None:
        """More of its arguments."""
        self.pieces += 1
        if (call := self._calls.get(place)) is not None and not call.too_large:
            call.add(part)

    def whole(self, name: str, arguments: str) -> None:
        """A call that came at once."""
        place = len(self._calls) + self.dropped
        self.begin(place, name)
        self.add(place, arguments)

    @property
    def found(self) -> tuple[Called, ...]:
        return tuple(Called(call.name, "".join(call.parts), call.too_large) for call in self._calls.values())

    @property
    def text(self) -> str:
        """All of it, for who counts tokens."""
        return " ".join(f"{call.name} {''.join(call.parts)}" for call in self._calls.values())


def as_text(arguments: msgspec.Raw) -> str:
    """Arguments as a server sends them: in quotes, or not.

    >>> as_text(msgspec.Raw(b'"{\\\\"a\\\\": 1}"')), as_text(msgspec.Raw(b'{"a": 1}')), as_text(msgspec.Raw())
    ('{"a": 1}', '{"a": 1}', '')
    """
    data = bytes(arguments)
    if data in (b"", b"null"):
        return ""
    return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()


def plain_arguments(call: ToolCall) -> dict[str, Any]:
    """For servers that take an object: of what was none, an empty one."""
    return arguments_of(call.arguments) or {}


def json_arguments(call: ToolCall) -> str:
    """For servers that take text, and read it as JSON of an object all the same."""
    return call.arguments if call.arguments.strip() and arguments_of(call.arguments) is not None else "{}"


def functions(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """As OpenAI's wire has them, and Ollama's."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": msgspec.Raw(tool.parameters),
            },
        }
        for tool in tools
    ]


def in_words(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """The same conversation for a model that knows no tools: what came of calls is said by the system.

    >>> call = ToolCall(id="c1", name="stars")
    >>> asked = ModelMessage("assistant", "", calls=(call,))
    >>> [(one.role, one.content) for one in in_words([asked, ModelMessage("tool", "Vega", call_id="c1", name="stars")])]
    [('system', '(stars: Vega)')]
    """
    words = [
        ModelMessage("system", f"({one.name}: {one.content})") if one.role == "tool" else replace(one, calls=())
        for one in messages
    ]
    return [one for one in words if one.content]
