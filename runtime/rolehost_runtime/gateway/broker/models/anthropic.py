"""The wire of Anthropic's Messages API. The system prompt stands apart there, and what is stable of it is marked so."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.link.tools import ToolSpec
from rolehost_api.wire import Usage
from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.gateway.broker.models.calls import OWN, CallPieces, as_text, plain_arguments
from rolehost_runtime.gateway.broker.models.failures import overloaded, unavailable
from rolehost_runtime.gateway.broker.models.lines import DataLines
from rolehost_runtime.gateway.broker.models.wire import Question
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

VERSION = "2023-06-01"
OPENING = "(The conversation begins.)"
"""In the user's place where the persona speaks first: this API wants the user to."""
REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class _Usage(Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Block(Struct):
    type: str = ""
    text: str = ""
    name: str = ""
    """Of a tool_use."""
    input: msgspec.Raw = msgspec.Raw()


class _Delta(Struct):
    text: str | None = None
    """Of a text_delta; a thinking_delta has none."""
    partial_json: str | None = None
    """Of an input_json_delta."""
    stop_reason: str | None = None


class _Message(Struct):
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Error(Struct):
    type: str = ""


class _Event(Struct):
    type: str
    index: int = 0
    content_block: _Block | None = None
    message: _Message | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class _Whole(_Message):
    type: str = ""
    error: _Error | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Event).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode


class AnthropicWire:
    """Implements wire.Wire."""

    name = "Anthropic"

    def ask(self, backend: BackendSpec, request: ModelRequest, able: Able, key: str) -> Question:
        headers = {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}
        system = "\n\n".join(message.content for message in request.messages if message.role == "system")
        body: dict[str, Any] = {
            **{name: value for name, value in request.params.items() if name not in OWN},
            "model": request.model,
            "max_tokens": request.max_tokens or able.max_output_tokens,
            "messages": _spoken(request.messages, request.steady),
            "stream": able.stream,
        }
        body.pop("system", None)
        choice = body.pop("tool_choice", None)
        if request.tools:
            body["tools"] = [_tool(one) for one in request.tools]
            if choice is not None or not request.may_call:
                body["tool_choice"] = choice if request.may_call else {"type": "none"}
        if any(message.role == "tool" for message in request.messages):
            body.pop("thinking", None)  # the API wants the thoughts back that came before a call, and nobody keeps them
        if system:
            body["system"] = system_blocks(system, request.stable_chars)
        return Question("/messages", _encode(body), headers)

    def reading(self, *, whole: bool) -> "AnthropicReading":
        return AnthropicReading(whole)


def system_blocks(system: str, stable: int) -> list[dict[str, Any]]:
    """The system prompt, cut behind what never changes within a revision: up to there the server may cache it.

    >>> system_blocks("You are a cat.\\n\\nIt rains.", 14)
    [{'type': 'text', 'text': 'You are a cat.', 'cache_control': {'type': 'ephemeral'}}, \
{'type': 'text', 'text': '\\n\\nIt rains.'}]
    >>> system_blocks("It rains.", 0)
    [{'type': 'text', 'text': 'It rains.'}]
    """
    blocks: list[dict[str, Any]] = []
    if stable and system[:stable].strip():
        blocks.append({"type": "text", "text": system[:stable], "cache_control": {"type": "ephemeral"}})
    else:
        stable = 0
    if system[stable:].strip():
        blocks.append({"type": "text", "text": system[stable:]})
    return blocks


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": msgspec.Raw(tool.parameters)}


def _spoken(messages: Sequence[ModelMessage], steady: int = 0) -> list[dict[str, Any]]:
    """What was said, with a mark behind what the session's next prompt begins with too.

    >>> said = [ModelMessage("system", "Cat."), ModelMessage("user", "Hi"), ModelMessage("assistant", "Meow")]
    >>> [one["content"] for one in _spoken([*said, ModelMessage("user", "So?")], 3)]
    ['Hi', [{'type': 'text', 'text': 'Meow', 'cache_control': {'type': 'ephemeral'}}], 'So?']
    """
    spoken: list[dict[str, Any]] = []
    for place, one in enumerate(messages, 1):
        mark = {"cache_control": {"type": "ephemeral"}} if place == steady else {}
        if one.role == "tool":
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": one.call_id, "content": one.content}
            if one.error:
                result["is_error"] = True
            if spoken and spoken[-1]["role"] == "user" and isinstance(spoken[-1]["content"], list):
                spoken[-1]["content"].append(result)
            else:
                spoken.append({"role": "user", "content": [result]})
        elif one.calls:
            said = [{"type": "text", "text": one.content}] if one.content else []
            calls = [
                {"type": "tool_use", "id": call.id, "name": call.name, "input": plain_arguments(call)}
                for call in one.calls
            ]
            spoken.append({"role": one.role, "content": [*said, *calls]})
        elif one.role != "system":
            marked = mark and one.content.strip()
            content = [{"type": "text", "text": one.content, **mark}] if marked else one.content
            spoken.append({"role": one.role, "content": content})
    if not spoken or spoken[0]["role"] != "user":
        spoken.insert(0, {"role": "user", "content": OPENING})
    return spoken


class AnthropicReading:
    """Implements wire.Reading."""

    def __init__(self, whole: bool) -> None:
        self.finish_reason, self.over = "", False
        self.usage: Usage | None = None
        self.calls = CallPieces()
        self._lines = DataLines()
        self._body: list[bytes] | None = [] if whole else None

    def feed(self, data: bytes) -> list[str]:
        if self._body is not None:
            self._body.append(data)
            return []
        texts: list[str] = []
        for line in self._lines.feed(data):
            event = _decode(line)
            if event.type == "content_block_delta":
                if event.delta is not None and event.delta.text:
                    texts.append(event.delta.text)
                elif event.delta is not None and event.delta.partial_json is not None:
                    self.calls.add(event.index, event.delta.partial_json)
            else:
                self._take(event)
                if self.over:
                    break
        return texts

    def _take(self, event: _Event) -> None:
        match event.type:
            case "message_start" if event.message is not None:
                self._count(event.message.usage)
            case "content_block_start" if event.content_block is not None and event.content_block.type == "tool_use":
                self.calls.begin(event.index, event.content_block.name)
            case "message_delta":
                self._count(event.usage)
                if event.delta is not None:
                    self._stopped(event.delta.stop_reason)
            case "message_stop":
                self.over = True
            case "error":
                raise _failed(event.error)

    def close(self) -> list[str]:
        if self._body is None:
            return []
        whole = _decode_whole(b"".join(self._body))
        if whole.error is not None:
            raise _failed(whole.error)
        self._count(whole.usage)
        self._stopped(whole.stop_reason)
        for block in whole.content:
            if block.type == "tool_use":
                self.calls.whole(block.name, as_text(block.input))
        return [block.text for block in whole.content if block.type == "text" and block.text]

    def _stopped(self, reason: str | None) -> None:
        if reason:
            self.finish_reason = REASONS.get(reason, reason)

    def _count(self, usage: _Usage | None) -> None:
        """What is said later stands for what was said before; what is not said again stays."""
        if usage is None or usage == _Usage():
            return
        before = self.usage or Usage()
        shown, cached = before.input_tokens, before.cached_tokens
        if usage.input_tokens is not None:
            cached = usage.cache_read_input_tokens or 0
            shown = usage.input_tokens + (usage.cache_creation_input_tokens or 0) + cached
        written = before.output_tokens if usage.output_tokens is None else usage.output_tokens
        self.usage = Usage(input_tokens=shown, cached_tokens=cached, output_tokens=written)


def _failed(error: _Error | None) -> Exception:
    if error is not None and error.type in ("overloaded_error", "rate_limit_error"):
        return overloaded()
    return unavailable("it failed in mid-answer")
