"""The wire of OpenAI's chat completions: OpenAI itself, vLLM, llama.cpp, LM Studio, TGI …"""

from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec, CacheSalt
from rolehost_api.link.tools import MAX_CALLS
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import Able, is_vendors
from rolehost_runtime.gateway.broker.models.calls import OWN, CallPieces, as_text, functions, json_arguments
from rolehost_runtime.gateway.broker.models.failures import unavailable
from rolehost_runtime.gateway.broker.models.lines import DataLines
from rolehost_runtime.gateway.broker.models.wire import Question
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest


class _Function(Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolCall(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's word for cached_tokens."""


class _Timings(Struct):
    cache_n: int | None = None
    """llama.cpp's word for cached_tokens, where it has not got the other."""


class _Chunk(Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: msgspec.Raw | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIWire:
    """Implements wire.Wire."""

    name = "OpenAI"

    def ask(self, backend: BackendSpec, request: ModelRequest, able: Able, key: str) -> Question:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return Question("/chat/completions", _encode(_body(backend, request, able)), headers)

    def reading(self, *, whole: bool) -> "OpenAIReading":
        return OpenAIReading(whole)


class OpenAIReading:
    """Implements wire.Reading."""

    def __init__(self, whole: bool) -> None:
        self.finish_reason, self.over = "", False
        self.usage: Usage | None = None
        self.calls = CallPieces()
        self._places: dict[int, tuple[int, str]] = {}
        """By a call's index in the answer: its place among all, and its id."""
        self._called = 0
        self._lines = DataLines()
        self._body: list[bytes] | None = [] if whole else None

    def feed(self, data: bytes) -> list[str]:
        if self._body is not None:
            self._body.append(data)
            return []
        texts: list[str] = []
        for line in self._lines.feed(data):
            if line == b"[DONE]":
                self.over = True
                break
            if line:
                self._take(_decode(line), texts)
        return texts

    def close(self) -> list[str]:
        texts: list[str] = []
        if self._body is not None:
            self._take(_decode(b"".join(self._body)), texts)
        return texts

    def _take(self, chunk: _Chunk, texts: list[str]) -> None:
        if chunk.error is not None:
            raise unavailable("it failed in mid-answer")
        if chunk.usage is not None:
            self.usage = _counted(chunk.usage, chunk.timings)
        for choice in chunk.choices:
            if choice.index != 0:
                continue
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
            said = choice.delta or choice.message
            if said is not None and said.content:
                texts.append(said.content)
            if said is not None and said.tool_calls:
                for number, piece in enumerate(said.tool_calls):
                    self._take_call(piece, number if choice.message is not None else 0)

    def _take_call(self, piece: _ToolCall, number: int) -> None:
        """Some servers number no calls, or all of them 0: a new id begins a new one."""
        index = number if piece.index is None else piece.index
        place, id_ = self._places.get(index, (-1, ""))
        name = piece.function.name if piece.function is not None else None
        if place < 0 or (name and piece.id and piece.id != id_):
            place, self._called = self._called, self._called + 1
            if len(self._places) > MAX_CALLS:
                self._places.clear()
            self._places[index] = (place, piece.id or "")
            self.calls.begin(place, name or "")
        if piece.function is not None:
            self.calls.add(place, as_text(piece.function.arguments))


def _body(backend: BackendSpec, request: ModelRequest, able: Able) -> dict[str, Any]:
    """The Role's parameters first, so that none of them replaces what is ours to say."""
    params = {name: value for name, value in request.params.items() if name not in OWN}
    choice = params.pop("tool_choice", None)
    body: dict[str, Any] = {
        **params,
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "n": 1,
        "stream": able.stream,
    }
    body.pop("stream_options", None)
    if request.tools:
        body["tools"] = functions(request.tools)
        if choice is not None or not request.may_call:
            body["tool_choice"] = choice if request.may_call else "none"
    if request.cache_key and able.cache_key:
        body["prompt_cache_key"] = request.cache_key
    if request.cache_key and able.cache_salt is CacheSalt.FIELD:
        body["cache_salt"] = request.cache_key
    if able.stream and able.token_counting:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        # OpenAI's newer models know it by another name only.
        body["max_completion_tokens" if is_vendors(backend) else "max_tokens"] = request.max_tokens
    return body


def _message(message: ModelMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if not message.calls:
        return {"role": message.role, "content": message.said}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json_arguments(call)}}
        for call in message.calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def _counted(usage: _Usage, timings: _Timings | None) -> Usage:
    """
    >>> _counted(_Usage(9, 7, _Details(4)), None).cached_tokens, _counted(_Usage(9, 7), _Timings(5)).cached_tokens
    (4, 5)
    >>> _counted(_Usage(9, 7, prompt_cache_hit_tokens=3), None).cached_tokens, _counted(_Usage(9, 7), None).cached_tokens
    (3, 0)
    """
    details = usage.prompt_tokens_details
    told = (details and details.cached_tokens, usage.prompt_cache_hit_tokens, timings and timings.cache_n)
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens or 0,
        cached_tokens=next((count for count in told if count), 0),
    )
