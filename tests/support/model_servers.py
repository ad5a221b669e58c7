"""Model servers on a real port that speak a vendor's wire as it was recorded, or break it as a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel

REPLY = "从前，有一条龙 called Smaug.\n\n🐉"
Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _sse(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _sse(event)


@dataclass(frozen=True)
class Speech:
    """How one vendor says it."""

    type: BackendType
    base: str
    """Behind the server's address."""
    path: str
    content_type: str
    begin: bytes
    """What comes before any text."""
    piece: Callable[[str], bytes]
    end: bytes
    """Why it stopped (by itself), and what it took: 9 tokens shown, 4 of them cached where that is told, 7 written."""
    cut: bytes
    """An end at the bound of tokens, without a count."""
    trouble: bytes
    """It failed in mid-answer."""
    whole: Callable[[str], dict[str, Any]]
    """The answer of one that does not stream; it ends at the bound of tokens."""
    cached: int = 4

    def answer(self, text: str = REPLY) -> bytes:
        return self.begin + b"".join(self.piece(letter) for letter in text) + self.end


def _openai(content: str | None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return _sse({**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


OPENAI = Speech(
    type=BackendType.OPENAI,
    base="/v1",
    path="/v1/chat/completions",
    content_type="text/event-stream; charset=utf-8",
    begin=_sse({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}]})
    + b": ping\n\n",
    piece=_openai,
    end=_openai(None, "stop")
    + _sse(
        {
            "choices": [],
            "usage": {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4}},
        }
    )
    + b"data: [DONE]\n\n",
    cut=_openai(None, "length") + b"data: [DONE]\n\n",
    trouble=b'data: {"error":{"message":"out of memory","code":500}}\n\n',
    whole=lambda text: {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}]
    },
)


def _delta(text: str) -> bytes:
    return _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def _stop(reason: str, **usage: int) -> bytes:
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    return _named({"type": "content_block_stop", "index": 0}) + _named(end) + _named({"type": "message_stop"})


ANTHROPIC = Speech(
    type=BackendType.ANTHROPIC,
    base="/v1",
    path="/v1/messages",
    content_type="text/event-stream; charset=utf-8",
    begin=_named(
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m-1",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 2,
                    "cache_creation_input_tokens": 3,
                    "cache_read_input_tokens": 4,
                    "output_tokens": 1,
                },
            },
        }
    )
    + _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    + _named({"type": "ping"}),
    piece=_delta,
    end=_stop("end_turn", output_tokens=7),
    cut=_stop("max_tokens"),
    trouble=_named({"type": "error", "error": {"type": "api_error", "message": "out of memory"}}),
    whole=lambda text: {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "max_tokens",
    },
)


def _line(**fields: Any) -> bytes:
    return json.dumps({"model": "m-1", "created_at": "2026-01-01T00:00:00Z", **fields}).encode() + b"\n"


def _ollama(text: str) -> bytes:
    return _line(message={"role": "assistant", "content": text}, done=False)


OLLAMA = Speech(
    type=BackendType.OLLAMA,
    base="",
    path="/api/chat",
    content_type="application/x-ndjson",
    begin=b"",
    piece=_ollama,
    end=_line(
        message={"role": "assistant", "content": ""},
        done=True,
        done_reason="stop",
        total_duration=5,
        prompt_eval_count=9,
        eval_count=7,
    ),
    cut=_line(message={"role": "assistant", "content": ""}, done=True, done_reason="length"),
    trouble=b'{"error":"out of memory"}\n',
    whole=lambda text: {"message": {"role": "assistant", "content": text}, "done": True, "done_reason": "length"},
    cached=0,
)
SPEECHES = (OPENAI, ANTHROPIC, OLLAMA)


@dataclass
class ModelServer:
    speech: Speech
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    """Connections that came."""
    behaviour: Behaviour | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        return await (self.behaviour or self.speak)(request)

    def backend(self, **changes: Any) -> BackendSpec:
        fields: dict[str, Any] = {"models": [ServedModel(name="small", model="m-1")], **changes}
        return BackendSpec(type=self.speech.type, base_url=self.url + self.speech.base, **fields)

    async def stream(self, request: web.Request, *pieces: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": self.speech.content_type})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    async def speak(self, request: web.Request) -> web.StreamResponse:
        """The whole answer, letter by letter, cut anywhere on its way."""
        body = self.speech.answer()
        return await self.stream(request, *(body[start : start + 7] for start in range(0, len(body), 7)))

    async def whole(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.speech.whole(REPLY))

    def saying(self, *pieces: bytes) -> Behaviour:
        return lambda request: self.stream(request, *pieces)

    def refusing(self, status: int, headers: dict[str, str] | None = None, text: str = "") -> Behaviour:
        async def refuse(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, headers=headers or {})

        return refuse

    def hanging(self, pieces: Sequence[bytes], then: Sequence[bytes] = ()) -> Behaviour:
        """Says so much and goes silent, or says `then` every tenth of a second; `gone` is set when nobody listens."""

        async def hang(request: web.Request) -> web.StreamResponse:
            try:
                response = await self.stream(request, *pieces)
                while then:
                    await asyncio.sleep(0.1)
                    for piece in then:
                        await response.write(piece)
                await asyncio.Event().wait()
            finally:
                self.gone.set()
            return response

        return hang


@asynccontextmanager
async def serving(speech: Speech) -> AsyncIterator[ModelServer]:
    served = ModelServer(speech)
    app = web.Application()
    app.router.add_post(speech.path, served.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield served
    finally:
        await runner.cleanup()
