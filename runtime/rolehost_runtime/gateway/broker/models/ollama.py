"""Ollama's own wire: a line of JSON for each piece. Parameters that its API has no name for go into `options`."""

from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.gateway.broker.models.calls import OWN as NOT_SET
from rolehost_runtime.gateway.broker.models.calls import CallPieces, as_text, functions, plain_arguments
from rolehost_runtime.gateway.broker.models.failures import unavailable
from rolehost_runtime.gateway.broker.models.lines import JsonLines
from rolehost_runtime.gateway.broker.models.wire import Question
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

OWN = frozenset({"format", "keep_alive", "options", "think", "template"})
"""Parameters of the request itself; `temperature` and the like are options."""


class _Function(Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw()


class _ToolCall(Struct):
    function: _Function | None = None


class _Said(Struct):
    content: str = ""
    tool_calls: list[_ToolCall] | None = None


class _Line(Struct):
    message: _Said | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: msgspec.Raw | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class OllamaWire:
    """Implements wire.Wire."""

    name = "Ollama"

    def ask(self, backend: BackendSpec, request: ModelRequest, able: Able, key: str) -> Question:
        params = {name: value for name, value in request.params.items() if name not in (*NOT_SET, "tool_choice")}
        own = {name: value for name, value in params.items() if name in OWN - {"options"}}
        given = params.get("options")
        options: dict[str, Any] = {**given} if isinstance(given, dict) else {}
        options |= {name: value for name, value in params.items() if name not in OWN}
        if request.max_tokens is not None:
            options["num_predict"] = request.max_tokens
        body: dict[str, Any] = {
            **own,
            "model": request.model,
            "messages": [_message(message) for message in request.messages],
            "stream": able.stream,
        }
        if request.tools and request.may_call:  # there is no other way to say that it may not
            body["tools"] = functions(request.tools)
        if options:
            body["options"] = options
        return Question("/api/chat", _encode(body), {"Authorization": f"Bearer {key}"} if key else {})

    def reading(self, *, whole: bool) -> "OllamaReading":
        """An answer that comes as a whole is one line, which need not end."""
        return OllamaReading()


def _message(message: ModelMessage) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.said}
    if message.role == "tool":
        said["tool_name"] = message.name
    if message.calls:
        said["tool_calls"] = [
            {"function": {"name": call.name, "arguments": plain_arguments(call)}} for call in message.calls
        ]
    return said


class OllamaReading:
    """Implements wire.Reading."""

    def __init__(self) -> None:
        self.finish_reason, self.over = "", False
        self.usage: Usage | None = None
        self.calls = CallPieces()
        self._lines = JsonLines()

    def feed(self, data: bytes) -> list[str]:
        texts: list[str] = []
        for line in self._lines.feed(data):
            self._take(line, texts)
            if self.over:
                break
        return texts

    def close(self) -> list[str]:
        texts: list[str] = []
        if self._lines.rest.strip():
            self._take(self._lines.rest, texts)
        return texts

    def _take(self, line: bytes, texts: list[str]) -> None:
        said = _decode(line)
        if said.error is not None:
            raise unavailable("it failed in mid-answer")
        if said.message is not None and said.message.content:
            texts.append(said.message.content)
        if said.message is not None and said.message.tool_calls:
            for call in said.message.tool_calls:
                if call.function is not None:
                    self.calls.whole(call.function.name, as_text(call.function.arguments))
        if said.done:
            self.over = True
            self.finish_reason = said.done_reason or "stop"
            if said.eval_count is not None and said.prompt_eval_count is not None:
                self.usage = Usage(input_tokens=said.prompt_eval_count, output_tokens=said.eval_count)
