"""Any server that speaks OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, LM Studio, Ollama …

No vendor's SDK: one POST, and lines of JSON decoded into three small structs. What the
server says in an error is never passed on; it may quote the prompt or the key.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec, Timeouts
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_api.wire import Usage
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.sse import DataLines, LineTooLong
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

MAX_TEXT_BYTES = 1_048_576
MAX_RETRY_AFTER_SECONDS = 3600
MAX_CONNECTIONS = 1000

T = TypeVar("T")


class _Delta(Struct):
    content: str | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIProvider:
    """Implements ports.ModelProvider. One pool of connections for all backends; no proxy, no redirect, no cookie."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._client: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _http(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._client

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if backend.api_key is not None:
            headers["Authorization"] = f"Bearer {self._keys.get(backend.api_key.key)}"
        clock = _Deadlines(backend.timeouts)
        connecting = aiohttp.ClientTimeout(total=None, sock_connect=backend.timeouts.connect_seconds)
        pending = self._http().post(
            backend.base_url.rstrip("/") + "/chat/completions",
            data=_encode(_body(backend, request)),
            headers=headers,
            timeout=connecting,
            allow_redirects=False,
        )
        try:
            response = await clock.first(pending.__aenter__())
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise _timeout("it did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise _unavailable("it cannot be reached") from None
        try:
            if response.status != 200:
                raise _refusal(response.status, response.headers.get("Retry-After", ""))
            clock.overdue = response.close
            async for item in _read(response, clock, request):
                yield item
        except (aiohttp.ClientError, OSError):
            raise _unavailable("the connection broke off in mid-answer") from None
        finally:
            clock.stop()
            response.close()


async def _read(
    response: aiohttp.ClientResponse, clock: "_Deadlines", request: ModelRequest
) -> AsyncIterator[str | ModelEnd]:
    """The answer's text, then its end. An answer that just stops is a failure, not an end."""
    parts = _Whole() if response.content_type == "application/json" else _Parts()
    finish_reason, usage, text_bytes, written = "", None, 0, 0
    while not parts.ended:
        for chunk in parts.feed(await clock.next(response.content)):
            if chunk.error is not None:
                raise _unavailable("it failed in mid-answer")
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said = choice.delta or choice.message
                if choice.index != 0:
                    continue
                finish_reason = choice.finish_reason or finish_reason
                if said is not None and said.content:
                    clock.token()
                    text_bytes += len(said.content.encode())
                    written += estimate(said.content)
                    if text_bytes > MAX_TEXT_BYTES:
                        raise _unavailable("its answer does not end")
                    yield said.content
    if not finish_reason:
        raise _unavailable("the connection broke off in mid-answer")
    shown = sum(estimate(message.content) for message in request.messages)
    yield ModelEnd(finish_reason, _counted(usage, shown, written))


class _Parts:
    """An answer as a server streams it."""

    def __init__(self) -> None:
        self._lines = DataLines()
        self.ended = False

    def feed(self, data: bytes) -> Iterator[_Chunk]:
        """What came; nothing came at its end."""
        self.ended = not data
        try:
            for line in self._lines.feed(data):
                if line == b"[DONE]":
                    self.ended = True
                    return
                if line:
                    yield _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, LineTooLong, RecursionError):
            raise _unavailable("its stream is not the OpenAI wire") from None


class _Whole:
    """The answer of a server that does not stream."""

    def __init__(self) -> None:
        self._body = b""
        self.ended = False

    def feed(self, data: bytes) -> Iterator[_Chunk]:
        self.ended = not data
        self._body += data
        if len(self._body) > 2 * MAX_TEXT_BYTES:
            raise _unavailable("its answer does not end")
        if not self.ended:
            return
        try:
            yield _decode(self._body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise _unavailable("its answer is not the OpenAI wire") from None


def _body(backend: BackendSpec, request: ModelRequest) -> dict[str, Any]:
    """The Role's parameters first, so that none of them replaces what is ours to say."""
    body: dict[str, Any] = {
        **request.params,
        "model": request.model or (backend.models[0].model if backend.models else ""),
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "n": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    return body


def _counted(usage: _Usage | None, shown: int, written: int) -> Usage:
    """What the server counted, else an estimate that says so."""
    if usage is None:
        return Usage(input_tokens=shown, output_tokens=written, estimated=True)
    details = usage.prompt_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )


class _Deadlines:
    """Bounds on one call: to the first token, between two, and in all. There is one timer, which looks whether the
    deadline has moved on when it rings: a timer for each token would cost more than reading it."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._timer: asyncio.TimerHandle | None = None
        self._rings = math.inf
        self._until: float | None = None
        """Of what is waited for just now."""
        self._late = False
        self.overdue: Callable[[], None]
        """Breaks the answer off, so that who waits for its next piece is told."""
        began = self._now()
        self._first = began + timeouts.first_token_seconds
        self._total = began + timeouts.total_seconds
        self._idle = timeouts.idle_seconds
        self._begun = False

    def token(self) -> None:
        self._begun = True

    async def first(self, pending: Any) -> Any:
        async with asyncio.timeout_at(min(self._first, self._total)):
            return await pending

    async def next(self, content: aiohttp.StreamReader) -> bytes:
        """What comes next; nothing at the end."""
        self._until = min(self._total, self._now() + self._idle if self._begun else self._first)
        if self._until < self._rings:
            self._arm(self._until)
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError):
            if not self._late:
                raise
            why = "it stopped in mid-answer" if self._begun else "its first token did not come in time"
            raise _timeout(why) from None
        finally:
            self._until = None

    def _arm(self, until: float) -> None:
        self.stop()
        self._timer, self._rings = self._loop.call_at(until, self._look), until

    def _look(self) -> None:
        """The timer rang."""
        now = self._now()
        until = now + self._idle if self._until is None else self._until
        if now < until:
            self._arm(until)
        else:
            self._late = True
            self.overdue()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _refusal(status: int, retry_after: str) -> RolehostError:
    """What a status means for the turn.

    >>> [(_refusal(s, "").code, _refusal(s, "").retryable) for s in (401, 404, 429, 503)]
    [('model_refused', False), ('model_not_found', False), ('model_overloaded', True), ('model_unavailable', True)]
    >>> _refusal(429, "7").retry_after_ms
    7000
    """
    if status in (401, 403):
        return BadRequest(
            "the model server refused our key", hint="Check the ModelBackend's apiKey", code="model_refused"
        )
    if status == 404:
        return BadRequest(
            "the model server has no such model or path", hint="Check baseURL and models", code="model_not_found"
        )
    if status in (408, 425, 429) or (status == 503 and retry_after):
        error = Unavailable("the model server has too much to do", code="model_overloaded")
        if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6:
            error.retry_after_ms = 1000 * min(int(retry_after), MAX_RETRY_AFTER_SECONDS)
        return error
    if status >= 500:
        return _unavailable(f"it answered {status}")
    return BadRequest(
        f"the model server refused the request ({status})", hint="Check model.params of the Role", code="model_refused"
    )


def _unavailable(why: str) -> Unavailable:
    return Unavailable(f"the model server is not available: {why}", code="model_unavailable")


def _timeout(why: str) -> Unavailable:
    return Unavailable(f"the model server is too slow: {why}", code="model_timeout")
