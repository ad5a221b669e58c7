"""Backends of type Plugin: each answered by the ModelProvider that it names, within the bounds of any other backend.

A plugin's own failure is the server's to whoever asked: it never ends a session, and what it says is in no log.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from rolehost_api.crd.modelbackend import BackendSpec, Timeouts
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.broker.models import failures
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import MAX_TEXT_CHARS
from rolehost_runtime.gateway.ports import ModelEnd, ModelProvider, ModelRequest
from rolehost_runtime.plugins.finding import Plugins, missing
from rolehost_runtime.plugins.kinds import MODEL_PROVIDER

CLOSE_SECONDS = 2.0

log = logging.getLogger(__name__)


class PluginProvider:
    """Implements ports.ModelProvider over those of the plugins, by `BackendSpec.plugin`."""

    def __init__(self, providers: Mapping[str, ModelProvider]) -> None:
        self._providers = providers

    @classmethod
    def of(cls, plugins: Plugins, keys: KeyRing) -> "PluginProvider":
        """Each is made with the key ring's `get`: the name of an entry to its key. Raises PluginRefused."""
        return cls({name: found.make(keys.get) for name, found in plugins.of(MODEL_PROVIDER).items()})

    async def close(self) -> None:
        for name, provider in self._providers.items():
            closing = getattr(provider, "close", None)
            if closing is None:
                continue
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await closing()
            except Exception as error:
                faults.internal(log, f"closing the ModelProvider {name}", error)

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        provider = self._providers.get(backend.plugin)
        if provider is None:
            raise missing(MODEL_PROVIDER, backend.plugin)
        waits = _Waits(backend.timeouts, request.deadline)
        answer: Any = None
        chars, ended = 0, False
        try:
            answer = provider.stream(backend, request)
            while not ended:
                item = await waits.next(answer)
                if isinstance(item, ModelEnd):
                    ended = True
                elif not isinstance(item, str):
                    raise failures.garbage(f"{backend.plugin} plugin's")
                else:
                    chars += len(item)
                    if chars > MAX_TEXT_CHARS:
                        raise failures.endless()
                    if not item:
                        continue
                    waits.token()
                yield item
        except (RolehostError, GeneratorExit, asyncio.CancelledError):
            raise
        except StopAsyncIteration:
            raise failures.broken_off() from None
        except Exception as error:
            faults.internal(log, f"asking the ModelProvider {backend.plugin}", error)
            raise failures.unavailable("the plugin that speaks to it failed") from None
        finally:
            await _closed(answer, backend.plugin)


class _Waits:
    """The bounds of one call: the first token, between two, and all of it. `deadline` as in ModelRequest."""

    def __init__(self, timeouts: Timeouts, deadline: float | None) -> None:
        now = asyncio.get_running_loop().time()
        self._timeouts, self._total, self._begun = timeouts, now + timeouts.total_seconds, False
        self._until = min(now + timeouts.first_token, self._total, deadline or self._total)

    async def next(self, answer: Any) -> object:
        """Raises StopAsyncIteration at an end without a ModelEnd, Unavailable `model_timeout`."""
        try:
            async with asyncio.timeout_at(self._until) as bound:
                return await anext(answer)
        except TimeoutError:
            if not bound.expired():
                raise  # the plugin's own
            raise failures.too_slow("it stopped in mid-answer" if self._begun else "no first token came") from None

    def token(self) -> None:
        self._begun = True
        self._until = min(asyncio.get_running_loop().time() + self._timeouts.idle_seconds, self._total)


async def _closed(answer: Any, name: str) -> None:
    """Whatever the plugin does when it is told to stop, the turn goes on."""
    closing = getattr(answer, "aclose", None)
    if closing is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing()
    except Exception as error:
        faults.internal(log, f"ending a call of the ModelProvider {name}", error)
