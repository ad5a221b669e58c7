"""The scripted model: answers from the backend's `script`, streamed in small pieces like a real one."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping

from rolehost_api.crd.modelbackend import BackendSpec, ScriptLine
from rolehost_api.wire import Usage
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

PIECE = 4
"""Characters in a piece, about what a token is."""
NO_SCRIPT = ScriptLine(reply="You said: {message}")
"""What a backend without a line that matches answers."""
_WORD = re.compile(r"\{(message|previous|system)\}")


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
        }
        text = filled(line_for(backend.script, words["message"]).reply, words)
        for start in range(0, len(text), PIECE):
            await asyncio.sleep(self._pause)
            yield text[start : start + PIECE]
        shown = sum(estimate(message.content) for message in request.messages)
        yield ModelEnd("stop", Usage(input_tokens=shown, output_tokens=estimate(text), estimated=True))


def line_for(script: list[ScriptLine], message: str) -> ScriptLine:
    """The first line whose `match` is in the message, in any case.

    >>> line_for([ScriptLine(match="Dragon", reply="Roar"), ScriptLine(reply="Hm")], "a dragon?").reply
    'Roar'
    """
    return next((line for line in script if line.match.casefold() in message.casefold()), NO_SCRIPT)


def filled(reply: str, words: Mapping[str, str]) -> str:
    """The reply with its words put in, once: what a user wrote is never read as a word itself.

    >>> filled("{message}, after {previous}", {"message": "{system}", "previous": "x", "system": "s"})
    '{system}, after x'
    """
    return _WORD.sub(lambda found: words[found.group(1)], reply)
