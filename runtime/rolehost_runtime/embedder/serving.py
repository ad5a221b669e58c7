"""`POST /v1/embeddings` of the OpenAI wire, in bounds: how much is asked at once, how much waits, and for how long.

One text after the other, in one thread beside the loop; a request whose client is gone is given up between two texts.
"""

import asyncio
import sys
from array import array
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal, Protocol

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

MAX_BODY_BYTES = 4 << 20
MAX_TEXTS = 256
MAX_CHARS = 32_768
"""Of one text, though the model does not read so far."""
MAX_WAITING = 32
"""Requests that wait; who comes then is told to come later."""
RETRY_SECONDS = 1

Text = Annotated[str, Meta(max_length=MAX_CHARS)]


class Model(Protocol):
    def tokens(self, text: str) -> list[int]: ...

    def vector(self, tokens: list[int]) -> "array[float]":
        """Of length 1."""


class Asked(Struct):
    """What is not named here is not looked at."""

    input: Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_TEXTS)]
    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"


_decode = msgspec.json.Decoder(Asked).decode
_encode = msgspec.json.Encoder().encode


class Embeddings:
    def __init__(self, model: Model, name: str) -> None:
        self._model, self._name = model, name
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._waiting = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/healthz", self._health)
        app.on_cleanup.append(self._stop)
        return app

    async def _stop(self, app: web.Application) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _models(self, request: web.Request) -> web.Response:
        return _json({"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "rolehost"}]})

    async def _embed(self, request: web.Request) -> web.Response:
        try:
            asked = _decode(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return _refused(413, "the request is too large")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _refused(400, f"not a request for embeddings, or over {MAX_TEXTS} texts or {MAX_CHARS} characters")
        if asked.model not in ("", self._name):
            return _refused(404, f"the model here is {self._name}")
        if self._waiting >= MAX_WAITING:
            return _refused(429, "too many requests wait", {"Retry-After": str(RETRY_SECONDS)})
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        self._waiting += 1
        try:
            total = 0
            vectors: list[array[float]] = []
            for text in texts:
                tokens, vector = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, text)
                total += tokens
                vectors.append(vector)
        finally:
            self._waiting -= 1
        shown: Callable[[array[float]], object] = _base64 if asked.encoding_format == "base64" else list
        return _json(
            {
                "object": "list",
                "model": self._name,
                "data": [
                    {"object": "embedding", "index": place, "embedding": shown(vector)}
                    for place, vector in enumerate(vectors)
                ],
                "usage": {"prompt_tokens": total, "total_tokens": total},
            }
        )

    def _read(self, text: str) -> "tuple[int, array[float]]":
        tokens = self._model.tokens(text)
        return len(tokens), self._model.vector(tokens)


def _base64(vector: "array[float]") -> str:
    """32-bit floats, little end first.

    >>> _base64(array("f", [0.5, 1.0]))
    'AAAAPwAAgD8='
    """
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=_encode(value), status=status, content_type="application/json", headers=headers)


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Never what was asked."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return _json({"error": {"message": message, "type": kind, "code": None}}, status, headers)
