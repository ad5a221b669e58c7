"""A model that speaks when a test lets it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from rolehost_api.errors import Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

WORDS = ["从前，", "there ", "was ", "a ", "龙. ", "\n\n", "The ", "end."]
STORY = "".join(WORDS)


class Paced:
    """ports.ModelProvider that says a word when it is allowed one."""

    def __init__(self) -> None:
        self.allowed = asyncio.Semaphore(0)
        self.words = WORDS
        self.fails = False

    def allow(self, words: int = len(WORDS)) -> None:
        for _ in range(words):
            self.allowed.release()

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        for word in self.words:
            await self.allowed.acquire()
            if self.fails:
                raise Unavailable("away", code="model_unavailable")
            yield word
        yield ModelEnd("stop", Usage(input_tokens=1, output_tokens=8))
