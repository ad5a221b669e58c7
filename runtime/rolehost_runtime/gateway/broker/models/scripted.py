"""The scripted model: answers from the backend's `script`, streamed in small pieces like a real one."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from rolehost_api.crd.modelbackend import BackendSpec, ScriptLine
from rolehost_api.wire import Usage
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.ports import Called, ModelEnd, ModelMessage, ModelRequest

PIECE = 4
"""Characters in a piece, about what a token is."""
NO_SCRIPT = ScriptLine(reply="You said: {message}")
"""What a backend without a line that matches answers."""
_WORD = re.compile(r"\{(message|previous|system|results)\}")


class ScriptedProvider:
    """Implements ports.ModelProvider. `pause_seconds` lies between pieces: 0 in tests, a little for people."""

    def __init__(self, pause_seconds: float = 0.0) -> None:
        self._pause = pause_seconds

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        said = [message.content for message in request.messages if message.role == "user"]
        system = next((message.content for message in request.messages if message.role == "system"), "")
        words = {
            "message": said[-1] if said else "",
            "previous": said[-2] if len(said) > 1 else "",
            "system": system.split("\n", 1)[0],
            "results": "; ".join(results(request.messages)),
        }
        line = line_for(backend.script, words["message"])
        shown = sum(estimate(message.content) for message in request.messages)
        if line.calls and request.tools and request.may_call and not words["results"]:
            calls = tuple(
                Called(call.tool, msgspec.json.encode(in_arguments(call.arguments, words)).decode())
                for call in line.calls
            )
            written = sum(estimate(call.arguments) for call in calls)
            await asyncio.sleep(self._pause)
            yield ModelEnd("tool_calls", Usage(input_tokens=shown, output_tokens=written, estimated=True), calls=calls)
            return
        text = filled(line.reply, words)
        for start in range(0, len(text), PIECE):
            await asyncio.sleep(self._pause)
            yield text[start : start + PIECE]
        yield ModelEnd("stop", Usage(input_tokens=shown, output_tokens=estimate(text), estimated=True))


def line_for(script: list[ScriptLine], message: str) -> ScriptLine:
    """The first line whose `match` is in the message, in any case.

    >>> line_for([ScriptLine(match="Dragon", reply="Roar"), ScriptLine(reply="Hm")], "a dragon?").reply
    'Roar'
    """
    return next((line for line in script if line.match.casefold() in message.casefold()), NO_SCRIPT)


def results(messages: Sequence[ModelMessage]) -> list[str]:
    """What came of the tools that were called for the user's last message."""
    since = [place for place, message in enumerate(messages) if message.role == "user"]
    return [one.content for one in messages[since[-1] if since else 0 :] if one.role == "tool"]


def in_arguments(value: Any, words: Mapping[str, str]) -> Any:
    """Arguments with their words put in, as `filled` does it with a reply.

    >>> in_arguments({"city": "{message}", "days": [3, "{previous}"]}, {"message": "Oslo", "previous": "Bergen"})
    {'city': 'Oslo', 'days': [3, 'Bergen']}
    """
    if isinstance(value, str):
        return filled(value, words)
    if isinstance(value, dict):
        return {name: in_arguments(one, words) for name, one in value.items()}
    return [in_arguments(one, words) for one in value] if isinstance(value, list) else value


def filled(reply: str, words: Mapping[str, str]) -> str:
    """The reply with its words put in, once: what a user wrote is never read as a word itself.

    >>> filled("{message}, after {previous}", {"message": "{system}", "previous": "x", "system": "s"})
    '{system}, after x'
    """
    return _WORD.sub(lambda found: words[found.group(1)], reply)
