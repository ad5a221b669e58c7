"""A model that is asked a question at a time, by the words of `--model`: for judging, beside any Role."""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from rolehost_api.crd.modelbackend import BackendType
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelProvider, ModelRequest
from rolehost_runtime.local.model import choose

MAX_TOKENS = 256


@asynccontextmanager
async def judging(wish: str, environment: Mapping[str, str]) -> AsyncIterator[Callable[[str, str], Awaitable[str]]]:
    """Ask the model of that wish: what it is told, what it is shown → what it says. Raises as a ModelProvider does.

    The environment's key lies in a folder of ours for as long as the block runs, as the key ring reads files.
    """
    choice = await choose(wish, environment)
    with tempfile.TemporaryDirectory(prefix="rolehost-judge-") as folder:
        for name, key in (choice.keys or {}).items():
            file = os.open(Path(folder) / name, os.O_CREAT | os.O_WRONLY, 0o600)
            with os.fdopen(file, "w") as opened:
                opened.write(key)
        http = HttpProvider(KeyRing(Path(folder)))
        models: ModelProvider = ScriptedProvider() if choice.backend.type is BackendType.SCRIPTED else http

        async def ask(system: str, shown: str) -> str:
            request = ModelRequest(
                model=choice.backend.models[0].model if choice.backend.models else "",
                messages=[ModelMessage("system", system), ModelMessage("user", shown)],
                params={},
                max_tokens=MAX_TOKENS,
                tenant_uid="",
            )
            said: list[str] = []
            async with aclosing(models.stream(choice.backend, request)) as stream:  # type: ignore[type-var]
                async for item in stream:
                    if not isinstance(item, ModelEnd):
                        said.append(item)
            return "".join(said)

        try:
            yield ask
        finally:
            await http.close()
