"""ports.ModelProvider: one suite for the scripted model and for the OpenAI wire over a real HTTP server."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rolehost_api.crd.modelbackend import ApiKey, BackendSpec, BackendType, ScriptLine, ServedModel, Timeouts
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.openai import OpenAIProvider
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelProvider, ModelRequest

REPLY = "从前，有一条龙 called Smaug.\n\n🐉"
SECRET = "sk-very-secret"
MESSAGES = (
    ModelMessage("system", "You are a cat."),
    ModelMessage("user", "Hello"),
    ModelMessage("assistant", "Meow"),
    ModelMessage("user", "讲一个故事"),
)
REQUEST = ModelRequest(model="m-1", messages=MESSAGES, params={}, max_tokens=None, tenant_uid="uid")
Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A model server on a real port that speaks the wire, or breaks it as a test wants."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    behaviour: Behaviour | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        return await (self.behaviour or speak)(request)

    def backend(self, **changes: Any) -> BackendSpec:
        fields: dict[str, Any] = {"models": [ServedModel(name="small", model="m-1")], **changes}
        return BackendSpec(type=BackendType.OPENAI, base_url=self.url, **fields)


def chunk(content: str | None, finish: str | None = None) -> bytes:
    delta = {} if content is None else {"content": content}
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    )


async def stream(request: web.Request, *pieces: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response


async def speak(request: web.Request) -> web.StreamResponse:
    """The whole wire: a role first, text by the character cut anywhere, usage last."""
    body = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n: ping\n\n'
    body += b"".join(chunk(letter) for letter in REPLY) + chunk(None, "stop")
    body += b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
    body += b"data: [DONE]\n\n"
    return await stream(request, *(body[start : start + 7] for start in range(0, len(body), 7)))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", served.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield served
    await runner.cleanup()


@pytest.fixture
async def openai(tmp_path: Path) -> AsyncIterator[OpenAIProvider]:
    (tmp_path / "openai").write_text(SECRET + "\n")
    provider = OpenAIProvider(KeyRing(tmp_path))
    yield provider
    await provider.close()


@pytest.fixture(params=["scripted", "openai"])
def either(request: pytest.FixtureRequest, server: Server, openai: OpenAIProvider) -> tuple[ModelProvider, BackendSpec]:
    router = Models({BackendType.SCRIPTED: ScriptedProvider(), BackendType.OPENAI: openai})
    if request.param == "openai":
        return router, server.backend()
    return router, BackendSpec(type=BackendType.SCRIPTED, script=[ScriptLine(match="故事", reply=REPLY)])


async def hear(provider: ModelProvider, backend: BackendSpec, request: ModelRequest = REQUEST) -> list[str | ModelEnd]:
    return [item async for item in provider.stream(backend, request)]


async def failure(provider: ModelProvider, backend: BackendSpec, request: ModelRequest = REQUEST) -> RolehostError:
    with pytest.raises(RolehostError) as raised:
        await hear(provider, backend, request)
    assert SECRET not in str(raised.value)
    assert "故事" not in str(raised.value)
    return raised.value


async def test_text_comes_in_pieces_and_then_one_end(either: tuple[ModelProvider, BackendSpec]) -> None:
    *pieces, end = await hear(*either)
    assert "".join(str(piece) for piece in pieces) == REPLY
    assert len(pieces) > 3
    assert isinstance(end, ModelEnd)
    assert end.finish_reason == "stop"
    assert end.usage.output_tokens > 0


async def test_a_call_may_be_given_up_at_any_time(either: tuple[ModelProvider, BackendSpec]) -> None:
    provider, backend = either
    async with aclosing(provider.stream(backend, REQUEST)) as answer:  # type: ignore[type-var]
        assert await anext(answer)
    assert (await hear(provider, backend))[-1]


async def test_the_request_is_the_wires(server: Server, openai: OpenAIProvider) -> None:
    request = ModelRequest("m-1", MESSAGES, {"temperature": 0.5, "stream": False, "model": "other"}, 64, "uid")
    *_, end = await hear(openai, server.backend(api_key=ApiKey(key="openai")), request)
    (asked,) = server.asked
    assert (asked["model"], asked["stream"], asked["temperature"], asked["max_tokens"]) == ("m-1", True, 0.5, 64)
    assert asked["messages"][0] == {"role": "system", "content": "You are a cat."}
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert isinstance(end, ModelEnd)
    assert (end.usage.input_tokens, end.usage.cached_tokens, end.usage.estimated) == (9, 4, False)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "model_refused", False),
        (401, "model_refused", False),
        (403, "model_refused", False),
        (404, "model_not_found", False),
        (302, "model_refused", False),
        (429, "model_overloaded", True),
        (500, "model_unavailable", True),
        (503, "model_unavailable", True),
    ],
)
async def test_a_status_has_its_code(
    server: Server, openai: OpenAIProvider, status: int, code: str, retryable: bool
) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        headers = {"Retry-After": "7"} if status == 429 else {"Location": "http://127.0.0.1:1/"}
        return web.Response(status=status, text=f"{SECRET} 讲一个故事", headers=headers)

    server.behaviour = refuse
    error = await failure(openai, server.backend(api_key=ApiKey(key="openai")))
    assert (error.code, error.retryable) == (code, retryable)
    assert error.retry_after_ms == (7000 if status == 429 else None)
    assert isinstance(error, Unavailable if retryable else BadRequest)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([chunk("half")], id="it-just-stops"),
        pytest.param([chunk("half"), b"data: {nonsense\n\n"], id="nonsense"),
        pytest.param([chunk("half"), b'data: {"error":{"message":"out of memory"}}\n\n'], id="an-error-in-the-stream"),
        pytest.param([chunk("half"), b"data: " + b"x" * 600_000], id="a-line-without-end"),
        pytest.param([b'data: {"choices": 3}\n\n'], id="another-shape"),
        pytest.param([b""], id="nothing-at-all"),
    ],
)
async def test_an_answer_that_breaks_off_is_no_answer(
    server: Server, openai: OpenAIProvider, pieces: list[bytes]
) -> None:
    server.behaviour = lambda request: stream(request, *pieces)
    assert (await failure(openai, server.backend())).code == "model_unavailable"


async def test_a_connection_cut_in_mid_answer_is_said(server: Server, openai: OpenAIProvider) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = await stream(request, chunk("half"))
        assert request.transport is not None
        request.transport.abort()
        return response

    server.behaviour = cut
    assert (await failure(openai, server.backend())).code == "model_unavailable"


@pytest.mark.parametrize(
    ("pieces", "timeouts"),
    [
        pytest.param([], Timeouts(first_token_seconds=1), id="no-first-token"),
        pytest.param([chunk("half")], Timeouts(idle_seconds=1), id="silence-between-tokens"),
        pytest.param([chunk("half")], Timeouts(total_seconds=1), id="too-long-in-all"),
    ],
)
async def test_a_slow_server_is_given_up(
    server: Server, openai: OpenAIProvider, pieces: list[bytes], timeouts: Timeouts
) -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        try:
            response = await stream(request, *pieces)
            await asyncio.Event().wait()
        finally:
            server.gone.set()
        return response

    server.behaviour = hang
    assert (await failure(openai, server.backend(timeouts=timeouts))).code == "model_timeout"
    await server.gone.wait()  # the call was aborted, not left behind


async def test_a_server_that_is_not_there_is_unavailable(openai: OpenAIProvider) -> None:
    backend = BackendSpec(type=BackendType.OPENAI, base_url="http://127.0.0.1:1/v1")
    assert (await failure(openai, backend)).code == "model_unavailable"


async def test_a_server_that_does_not_stream_is_understood(server: Server, openai: OpenAIProvider) -> None:
    async def whole(request: web.Request) -> web.StreamResponse:
        choice = {"index": 0, "message": {"role": "assistant", "content": REPLY}, "finish_reason": "length"}
        return web.json_response({"choices": [choice]})

    server.behaviour = whole
    text, end = await hear(openai, server.backend())
    assert text == REPLY
    assert isinstance(end, ModelEnd)
    assert (end.finish_reason, end.usage.estimated) == ("length", True)


async def test_a_key_is_read_again_when_it_changed_and_missed_when_it_went(
    server: Server, openai: OpenAIProvider, tmp_path: Path
) -> None:
    backend = server.backend(api_key=ApiKey(key="openai"))
    await hear(openai, backend)
    fresh = tmp_path / "fresh"
    fresh.write_text("sk-other")
    fresh.replace(tmp_path / "openai")
    await hear(openai, backend)
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {SECRET}", "Bearer sk-other"]
    (tmp_path / "openai").unlink()
    assert (await failure(openai, backend)).code == "model_key_missing"


@pytest.mark.parametrize("entry", ["..", ".", "..data", "a/b"])
async def test_a_key_is_an_entry_and_no_path(tmp_path: Path, entry: str) -> None:
    (tmp_path / "..data").write_text("x")
    with pytest.raises(Unavailable):
        KeyRing(tmp_path).get(entry)


async def test_a_backend_of_an_unknown_type_is_not_served() -> None:
    error = await failure(Models({}), BackendSpec(type=BackendType.SCRIPTED))
    assert error.code == "backend_not_served"
