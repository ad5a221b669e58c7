"""Any model server over HTTP, by its wire: one POST, and pieces of text as they come. No vendor's SDK."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import aiohttp
import msgspec

from rolehost_api.crd.modelbackend import BackendSpec, BackendType
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import able
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.broker.models import failures
from rolehost_runtime.gateway.broker.models.anthropic import AnthropicWire
from rolehost_runtime.gateway.broker.models.arranging import arranged
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.lines import LineTooLong
from rolehost_runtime.gateway.broker.models.ollama import OllamaWire
from rolehost_runtime.gateway.broker.models.openai import OpenAIWire
from rolehost_runtime.gateway.broker.models.openings import Openings
from rolehost_runtime.gateway.broker.models.patience import Patience
from rolehost_runtime.gateway.broker.models.wire import Question, Reading, Wire
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

MAX_TEXT_CHARS = 1_048_576
MAX_WHOLE_BYTES = 2 * MAX_TEXT_CHARS
"""Of an answer that does not stream."""
DRAIN_SECONDS = 1.0
"""For the last bytes behind an answer's end, so that its connection can be used again."""
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
WIRES: Mapping[BackendType, Wire] = {
    BackendType.OPENAI: OpenAIWire(),
    BackendType.ANTHROPIC: AnthropicWire(),
    BackendType.OLLAMA: OllamaWire(),
}
NOT_THE_WIRE = (msgspec.MsgspecError, UnicodeDecodeError, LineTooLong, RecursionError)


class HttpProvider:
    """Implements ports.ModelProvider. One pool of connections for all backends; no proxy, no redirect, no cookie."""

    def __init__(self, keys: KeyRing, wires: Mapping[BackendType, Wire] = WIRES) -> None:
        self._keys, self._wires = keys, wires
        self._client: aiohttp.ClientSession | None = None
        self._openings = Openings()
        self._drains: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for drain in self._drains:
            drain.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def key(self, backend: BackendSpec) -> str:
        """Empty where none is declared. Raises Unavailable `model_key_missing`."""
        return self._keys.get(backend.api_key.key) if backend.api_key is not None else ""

    async def post(self, backend: BackendSpec, question: Question, until: float) -> aiohttp.ClientResponse:
        """The answer's head, which says that it is one. The caller closes it.

        Raises what the server's refusal means, Unavailable `model_timeout` or `model_unavailable`.
        """
        pending = self._http().post(
            backend.base_url.rstrip("/") + question.path,
            data=question.body,
            headers={**HEADERS, **question.headers},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=backend.timeouts.connect_seconds),
            allow_redirects=False,
        )
        try:
            async with asyncio.timeout_at(until):
                response = await pending
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise failures.too_slow("it did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise failures.unavailable("it cannot be reached") from None
        if response.status != 200:
            response.close()
            raise failures.refusal(response.status, response.headers.get("Retry-After", ""))
        return response

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        wire = self._wires[backend.type]
        can = able(backend, request.model)
        patience = Patience(backend.timeouts, request.deadline)
        question = wire.ask(backend, arranged(request, can, self._openings), can, self.key(backend))
        response = await self.post(backend, question, patience.first)
        content = response.content
        reading = wire.reading(whole=not can.stream or response.content_type == "application/json")
        patience.watch(content)
        chars = written = size = 0
        try:
            while not reading.over:
                data = await patience.read(content)
                size += len(data)
                called = reading.calls.pieces
                texts = reading.feed(data) if data else reading.close()
                for text in texts:
                    chars += len(text)
                    written += (len(text) + 3) // 4 if text.isascii() else estimate(text)
                    yield text
                if texts or reading.calls.pieces != called:
                    patience.token()
                if not data:
                    break
                if chars > MAX_TEXT_CHARS or (not chars and size > MAX_WHOLE_BYTES):
                    raise failures.endless()
            if not reading.finish_reason:
                raise failures.broken_off()
            calls, dropped = reading.calls.found, reading.calls.dropped
            usage = _counted(reading, request, written)
            yield ModelEnd(reading.finish_reason, usage, calls=calls, dropped=dropped)
        except NOT_THE_WIRE:
            raise failures.garbage(wire.name) from None
        except (aiohttp.ClientError, OSError):
            raise failures.broken_off() from None
        finally:
            patience.done()
            self._let_go(response, over=reading.over)

    def _let_go(self, response: aiohttp.ClientResponse, *, over: bool) -> None:
        """Of a call that was given up the connection is closed at once; of one that is over it is used again."""
        if not over or response.content.at_eof():
            response.close()
            return
        drain = asyncio.get_running_loop().create_task(_drained(response))
        self._drains.add(drain)
        drain.add_done_callback(self._drains.discard)

    def _http(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # each backend has a bound of its own
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._client


async def _drained(response: aiohttp.ClientResponse) -> None:
    try:
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(DRAIN_SECONDS):
                size = 0
                while (data := await response.content.readany()) and size < MAX_WHOLE_BYTES:
                    size += len(data)
    finally:
        response.close()


def _counted(reading: Reading, request: ModelRequest, written: int) -> Usage:
    """What the server counted, else an estimate that says so."""
    if reading.usage is not None:
        return reading.usage
    shown = sum(estimate(message.content) for message in request.messages)
    written += estimate(reading.calls.text)
    return Usage(input_tokens=shown, output_tokens=written, estimated=True)
