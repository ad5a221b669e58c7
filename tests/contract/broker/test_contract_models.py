"""ports.ModelProvider: one suite for the scripted model and for every wire, over a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.model_servers import ANTHROPIC, OLLAMA, OPENAI, REPLY, SPEECHES, ModelServer, serving

from rolehost_api.crd.modelbackend import (
    Abilities,
    ApiKey,
    BackendSpec,
    BackendType,
    CacheSalt,
    LateText,
    ScriptLine,
    ServedModel,
    Timeouts,
)
from rolehost_api.errors import BadRequest, RolehostError, Unavailable
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelProvider, ModelRequest

SECRET = "sk-very-secret"
MESSAGES = (
    ModelMessage("system", "You are a cat.\n\nIt rains."),
    ModelMessage("user", "Hello"),
    ModelMessage("assistant", "Meow"),
    ModelMessage("user", "讲一个故事"),
)
REQUEST = ModelRequest(model="m-1", messages=MESSAGES, params={}, max_tokens=None, tenant_uid="uid")
KEY = ApiKey(key="vendor")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[HttpProvider]:
    (tmp_path / "vendor").write_text(SECRET + "\n")
    made = HttpProvider(KeyRing(tmp_path))
    yield made
    await made.close()


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.type.value)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ModelServer]:
    async with serving(request.param) as served:
        yield served


@pytest.fixture(params=["Scripted", *(speech.type.value for speech in SPEECHES)])
async def any_model(
    request: pytest.FixtureRequest, provider: HttpProvider
) -> AsyncIterator[tuple[ModelProvider, BackendSpec]]:
    router = Models({BackendType.SCRIPTED: ScriptedProvider(), **{speech.type: provider for speech in SPEECHES}})
    if request.param == "Scripted":
        yield router, BackendSpec(type=BackendType.SCRIPTED, script=[ScriptLine(match="故事", reply=REPLY)])
        return
    async with serving(next(speech for speech in SPEECHES if speech.type.value == request.param)) as served:
        yield router, served.backend()


async def hear(provider: ModelProvider, backend: BackendSpec, request: ModelRequest = REQUEST) -> list[str | ModelEnd]:
    return [item async for item in provider.stream(backend, request)]


async def failure(provider: ModelProvider, backend: BackendSpec, request: ModelRequest = REQUEST) -> RolehostError:
    with pytest.raises(RolehostError) as raised:
        await hear(provider, backend, request)
    assert SECRET not in str(raised.value)
    assert "故事" not in str(raised.value)
    return raised.value


async def ending(provider: ModelProvider, backend: BackendSpec) -> tuple[str, ModelEnd]:
    *pieces, end = await hear(provider, backend)
    assert isinstance(end, ModelEnd)
    return "".join(str(piece) for piece in pieces), end


# ── all of them ─────────────────────────────────────────────────────────────────────


async def test_text_comes_in_pieces_and_then_one_end(any_model: tuple[ModelProvider, BackendSpec]) -> None:
    *pieces, end = await hear(*any_model)
    assert "".join(str(piece) for piece in pieces) == REPLY
    assert len(pieces) > 3
    assert isinstance(end, ModelEnd)
    assert end.finish_reason == "stop"
    assert end.usage.output_tokens > 0


# ── every wire ──────────────────────────────────────────────────────────────────────


async def test_what_the_server_counted_is_told(server: ModelServer, provider: HttpProvider) -> None:
    _, end = await ending(provider, server.backend())
    usage = end.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (9, server.speech.cached, 7)
    assert not usage.estimated


async def test_what_the_server_did_not_count_is_estimated_and_called_so(
    server: ModelServer, provider: HttpProvider
) -> None:
    server.behaviour = server.saying(server.speech.piece("Once upon a time"), server.speech.cut)
    text, end = await ending(provider, server.backend())
    assert (text, end.finish_reason) == ("Once upon a time", "length")
    assert (end.usage.output_tokens, end.usage.estimated) == (4, True)


async def test_a_model_that_does_not_stream_is_asked_for_the_whole(server: ModelServer, provider: HttpProvider) -> None:
    server.behaviour = server.whole
    model = ServedModel(name="small", model="m-1", abilities=Abilities(stream=False))
    text, end = await ending(provider, server.backend(models=[model]))
    assert (text, end.finish_reason, end.usage.estimated) == (REPLY, "length", True)
    assert server.asked[0]["stream"] is False


async def test_a_server_that_does_not_stream_though_it_was_asked_to_is_understood(
    server: ModelServer, provider: HttpProvider
) -> None:
    server.behaviour = server.whole
    assert (await ending(provider, server.backend()))[0] == REPLY
    assert server.asked[0]["stream"] is True


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "model_refused", False),
        (401, "model_key_refused", False),
        (403, "model_key_refused", False),
        (404, "model_not_found", False),
        (302, "model_refused", False),
        (429, "model_overloaded", True),
        (500, "model_unavailable", True),
        (503, "model_unavailable", True),
        (529, "model_overloaded", True),
    ],
)
async def test_a_status_has_its_code(
    server: ModelServer, provider: HttpProvider, status: int, code: str, retryable: bool
) -> None:
    headers = {"Retry-After": "7"} if status == 429 else {"Location": "http://127.0.0.1:1/"}
    server.behaviour = server.refusing(status, headers, f"{SECRET} 讲一个故事")
    error = await failure(provider, server.backend(api_key=KEY))
    assert (error.code, error.retryable) == (code, retryable)
    assert error.retry_after_ms == (7000 if status == 429 else None)
    assert isinstance(error, Unavailable if retryable else BadRequest)


BROKEN: list[Any] = [
    pytest.param(lambda speech: [speech.piece("half")], id="it-just-stops"),
    pytest.param(lambda speech: [speech.piece("half"), speech.piece("cut")[:-9]], id="half-a-frame"),
    pytest.param(lambda speech: [speech.piece("half"), b"data: {nonsense\n\n", b"{nonsense\n"], id="nonsense"),
    pytest.param(lambda speech: [speech.piece("half"), speech.trouble], id="an-error-in-the-stream"),
    pytest.param(lambda speech: [speech.trouble], id="an-error-before-the-first-token"),
    pytest.param(lambda speech: [b"data: " + b"x" * 600_000], id="a-line-without-end"),
    pytest.param(lambda speech: [b'data: {"type": 3, "choices": 3}\n\n', b'{"message": 3}\n'], id="another-shape"),
    pytest.param(lambda speech: [b"data: " + b"[" * 100_000 + b"\n", b"[" * 100_000 + b"\n"], id="very-deep"),
    pytest.param(lambda speech: [b"\xff\xfe\x00" * 99 + b"\n"], id="bytes"),
    pytest.param(lambda speech: [b"<html>504 Gateway Time-out</html>"], id="a-page"),
    pytest.param(lambda speech: [b""], id="nothing-at-all"),
]


@pytest.mark.parametrize("pieces", BROKEN)
async def test_an_answer_that_breaks_off_is_no_answer(server: ModelServer, provider: HttpProvider, pieces: Any) -> None:
    server.behaviour = server.saying(*pieces(server.speech))
    assert (await failure(provider, server.backend())).code == "model_unavailable"


async def test_an_answer_that_does_not_end_is_given_up(server: ModelServer, provider: HttpProvider) -> None:
    server.behaviour = server.saying(*[server.speech.piece("x" * 60_000)] * 20)
    error = await failure(provider, server.backend())
    assert (error.code, "does not end" in str(error)) == ("model_unavailable", True)


async def test_a_connection_cut_in_mid_answer_is_said(server: ModelServer, provider: HttpProvider) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = await server.stream(request, server.speech.piece("half"))
        assert request.transport is not None
        request.transport.abort()
        return response

    server.behaviour = cut
    assert (await failure(provider, server.backend())).code == "model_unavailable"


@pytest.mark.parametrize(
    ("pieces", "then", "timeouts"),
    [
        pytest.param(0, 0, Timeouts(first_token_seconds=1), id="no-first-token"),
        pytest.param(0, 0, Timeouts(first_token_milliseconds=200), id="no-first-token-in-milliseconds"),
        pytest.param(0, 1, Timeouts(first_token_seconds=1, idle_seconds=60), id="signs-of-life-and-no-token"),
        pytest.param(1, 0, Timeouts(idle_seconds=1), id="silence-between-tokens"),
        pytest.param(1, 1, Timeouts(idle_seconds=1), id="signs-of-life-between-tokens"),
        pytest.param(1, 2, Timeouts(total_seconds=1), id="too-long-in-all"),
    ],
)
async def test_a_slow_server_is_given_up(
    server: ModelServer, provider: HttpProvider, pieces: int, then: int, timeouts: Timeouts
) -> None:
    alive = (b"", server.speech.begin or server.speech.piece(""), server.speech.piece("and "))[then]
    server.behaviour = server.hanging([server.speech.piece("half")] * pieces, [alive] if then else [])
    assert (await failure(provider, server.backend(timeouts=timeouts))).code == "model_timeout"
    await server.gone.wait()  # the call was aborted, not left behind


async def test_a_token_that_would_come_after_the_deadline_is_not_waited_for(
    server: ModelServer, provider: HttpProvider
) -> None:
    server.behaviour = server.hanging([])
    soon = asyncio.get_running_loop().time() + 0.05
    assert (await failure(provider, server.backend(), replace(REQUEST, deadline=soon))).code == "model_timeout"
    await server.gone.wait()


async def test_whoever_gives_a_call_up_closes_its_connection(server: ModelServer, provider: HttpProvider) -> None:
    server.behaviour = server.hanging([server.speech.piece("half")], [server.speech.piece("more")])
    async with aclosing(provider.stream(server.backend(), REQUEST)) as answer:  # type: ignore[type-var]
        assert await anext(answer) == "half"
    await server.gone.wait()


async def test_a_connection_is_used_again(server: ModelServer, provider: HttpProvider) -> None:
    for _ in range(3):
        await ending(provider, server.backend())
        while provider._drains:
            await asyncio.sleep(0)
    assert len(server.peers) == 1


async def test_a_server_that_is_not_there_is_unavailable(server: ModelServer, provider: HttpProvider) -> None:
    server.url = "http://127.0.0.1:1"
    assert (await failure(provider, server.backend())).code == "model_unavailable"


async def test_a_key_is_read_again_when_it_changed_and_missed_when_it_went(
    server: ModelServer, provider: HttpProvider, tmp_path: Path
) -> None:
    backend = server.backend(api_key=KEY)
    await hear(provider, backend)
    fresh = tmp_path / "fresh"
    fresh.write_text("sk-other")
    fresh.replace(tmp_path / "vendor")
    await hear(provider, backend)
    bearer = server.speech is not ANTHROPIC
    shown = [headers["Authorization" if bearer else "x-api-key"] for headers in server.headers]
    assert shown == ([f"Bearer {SECRET}", "Bearer sk-other"] if bearer else [SECRET, "sk-other"])
    (tmp_path / "vendor").unlink()
    assert (await failure(provider, backend)).code == "model_key_missing"


# ── what each wire asks ─────────────────────────────────────────────────────────────


ASKED = ModelRequest(
    "m-1", MESSAGES, {"temperature": 0.5, "stream": False, "model": "other", "system": "x"}, 64, "uid", stable_chars=14
)


async def test_openai_is_asked_by_its_wire(provider: HttpProvider) -> None:
    async with serving(OPENAI) as server:
        await hear(provider, server.backend(), ASKED)
    (asked,) = server.asked
    assert (asked["model"], asked["stream"], asked["temperature"], asked["max_tokens"]) == ("m-1", True, 0.5, 64)
    assert asked["messages"][0] == {"role": "system", "content": "You are a cat.\n\nIt rains."}
    assert asked["stream_options"] == {"include_usage": True}


async def test_anthropic_is_asked_by_its_wire_and_told_what_may_be_cached(provider: HttpProvider) -> None:
    async with serving(ANTHROPIC) as server:
        await hear(provider, server.backend(), ASKED)
        await hear(provider, server.backend(), replace(REQUEST, messages=(ModelMessage("assistant", "Meow"),)))
    asked, bare = server.asked
    assert server.headers[0]["anthropic-version"] == "2023-06-01"
    assert (asked["model"], asked["stream"], asked["temperature"], asked["max_tokens"]) == ("m-1", True, 0.5, 64)
    assert asked["system"] == [
        {"type": "text", "text": "You are a cat.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "\n\nIt rains."},
    ]
    assert [one["role"] for one in asked["messages"]] == ["user", "assistant", "user"]
    assert "system" not in bare
    assert (bare["max_tokens"], [one["role"] for one in bare["messages"]]) == (4096, ["user", "assistant"])


async def test_ollama_is_asked_by_its_wire(provider: HttpProvider) -> None:
    async with serving(OLLAMA) as server:
        await hear(
            provider, server.backend(), replace(ASKED, params={**ASKED.params, "keep_alive": "5m", "think": False})
        )
    (asked,) = server.asked
    assert (asked["model"], asked["stream"], asked["keep_alive"], asked["think"]) == ("m-1", True, "5m", False)
    assert (asked["options"]["temperature"], asked["options"]["num_predict"]) == (0.5, 64)
    assert asked["messages"][0]["role"] == "system"


async def test_anthropic_that_is_overloaded_in_its_stream_is_called_so(provider: HttpProvider) -> None:
    async with serving(ANTHROPIC) as server:
        trouble = b'data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
        server.behaviour = server.saying(ANTHROPIC.begin, trouble)
        assert (await failure(provider, server.backend())).code == "model_overloaded"


# ── what servers keep of prompts ────────────────────────────────────────────────────


IN_SESSION = ModelRequest(
    "m-1",
    (
        *MESSAGES[1:3],
        ModelMessage("system", "You play.", late=True),
        MESSAGES[3],
    ),
    {"prompt_cache_key": "another's", "cache_salt": "another's"},
    64,
    "uid",
    steady=2,
    cache_key="0f0f",
)


async def asked_of(provider: HttpProvider, server: ModelServer, request: ModelRequest, **can: Any) -> dict[str, Any]:
    abilities = Abilities(**can)
    await hear(provider, server.backend(models=[ServedModel(name="m", model="m-1", abilities=abilities)]), request)
    return server.asked[-1]


async def test_tenants_prompts_begin_apart_unless_the_server_has_a_field_for_that(
    server: ModelServer, provider: HttpProvider
) -> None:
    other = replace(IN_SESSION, cache_key="1e1e")
    plain, others = [await asked_of(provider, server, one) for one in (IN_SESSION, other)]
    for body, key in ((plain, "0f0f"), (others, "1e1e")):
        first = body["system"][0]["text"] if server.speech is ANTHROPIC else body["messages"][0]["content"]
        assert first == f"[{key}]"
        assert "another's" not in (body.get("prompt_cache_key"), body.get("cache_salt"))
    said = await asked_of(provider, server, IN_SESSION, cache_salt=CacheSalt.FIELD, cache_key=True)
    assert "[0f0f]" not in str(said)
    if server.speech is OPENAI:
        assert (said["cache_salt"], said["prompt_cache_key"]) == ("0f0f", "0f0f")
    alone = await asked_of(provider, server, IN_SESSION, cache_salt=CacheSalt.NONE)
    assert "0f0f" not in str(alone)


async def test_what_goes_for_one_turn_stands_where_the_model_takes_it(
    server: ModelServer, provider: HttpProvider
) -> None:
    said = await asked_of(provider, server, IN_SESSION, late_text=LateText.MESSAGE)
    assert said["messages"][-1]["content"].startswith("[For this answer. The user did not say it:]\nYou play.\n")
    assert said["messages"][-1]["content"].endswith("讲一个故事")
    opening = await asked_of(provider, server, IN_SESSION, late_text=LateText.OPENING)
    assert "You play." in str(opening.get("system") or opening["messages"][0])
    assert opening["messages"][-1]["content"] == "讲一个故事"


async def test_anthropic_is_told_how_far_the_next_prompt_will_be_the_same(provider: HttpProvider) -> None:
    async with serving(ANTHROPIC) as server:
        body = await asked_of(provider, server, IN_SESSION)
    marks = ["cache_control" in str(one["content"]) for one in body["messages"]]
    assert marks == [False, True, False]


# ── beside the wires ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("entry", ["..", ".", "..data", "a/b"])
async def test_a_key_is_an_entry_and_no_path(tmp_path: Path, entry: str) -> None:
    (tmp_path / "..data").write_text("x")
    with pytest.raises(Unavailable):
        KeyRing(tmp_path).get(entry)


async def test_a_backend_of_an_unknown_type_is_not_served() -> None:
    error = await failure(Models({}), BackendSpec(type=BackendType.SCRIPTED))
    assert error.code == "backend_not_served"
