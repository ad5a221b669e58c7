"""`/embeddings` of the OpenAI wire: OpenAI, vLLM, TEI, llama.cpp, Ollama … One request for many texts."""

import asyncio
import sys
from array import array
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.prompt import estimate
from rolehost_runtime.gateway.broker.models import failures
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.wire import Question
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest, Vector

WIRE = "embeddings"
MAX_BODY_BYTES = 64 << 20
MAX_DIMENSIONS = 65_536


class _Row(Struct):
    embedding: list[float] | str
    index: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0


class _Answer(Struct):
    data: list[_Row]
    usage: _Usage | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Embedded(ModelEnd):
    """The end of a call that says nothing but vectors, one for each message that was shown."""

    vectors: "list[Vector[float]]" = field(default_factory=list)


class EmbeddingsProvider:
    """Implements ports.ModelProvider: the messages are the texts, and the one item that comes is an Embedded."""

    def __init__(self, http: HttpProvider) -> None:
        self._http = http

    async def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        texts = [message.content for message in request.messages]
        key = self._http.key(backend)
        body = _encode({"model": request.model, "input": texts, "encoding_format": "base64"})
        question = Question("/embeddings", body, {"Authorization": f"Bearer {key}"} if key else {})
        until = asyncio.get_running_loop().time() + backend.timeouts.total_seconds
        response = await self._http.post(backend, question, until)
        try:
            async with asyncio.timeout_at(until):
                answer = _decode(await _body(response))
            vectors = _vectors(answer, len(texts))
        except TimeoutError:
            raise failures.too_slow("its answer did not come in time") from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotBase64, ValueError, OverflowError):
            raise failures.garbage(WIRE) from None
        except (aiohttp.ClientError, OSError):
            raise failures.broken_off() from None
        finally:
            response.close()
        if answer.usage is not None:
            usage = Usage(input_tokens=answer.usage.prompt_tokens)
        else:
            usage = Usage(input_tokens=sum(map(estimate, texts)), estimated=True)
        yield Embedded("stop", usage, vectors=vectors)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while data := await response.content.readany():
        body += data
        if len(body) > MAX_BODY_BYTES:
            raise failures.endless()
    return bytes(body)


def _vectors(answer: _Answer, wanted: int) -> "list[Vector[float]]":
    """In the order of the texts. Raises ValueError where they are not all there, or not all of one length."""
    found: dict[int, Vector[float]] = {}
    for place, row in enumerate(answer.data):
        found[place if row.index is None else row.index] = vector_of(row.embedding)
    lengths = {len(one) for one in found.values()}
    if found.keys() != set(range(wanted)) or len(lengths) != 1 or not 0 < lengths.pop() <= MAX_DIMENSIONS:
        raise ValueError("not a vector for each text")
    return [found[place] for place in range(wanted)]


def vector_of(said: list[float] | str) -> "Vector[float]":
    """Numbers, or 32-bit floats in base64, little end first.

    >>> vector_of([0.5, 1.0]) == vector_of("AAAAPwAAgD8=") == array("f", [0.5, 1.0])
    True
    """
    if isinstance(said, list):
        return array("f", said)
    vector = array("f")
    vector.frombytes(b64decode(said, validate=True))
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
