"""Tools on every wire, over a real HTTP server that says what the vendors' were recorded to say."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.model_servers import ANTHROPIC, OLLAMA, OPENAI, SPEECHES, ModelServer, _line, _named, _sse, serving

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ScriptCall, ScriptLine
from rolehost_api.errors import RolehostError
from rolehost_api.link.tools import ToolCall, ToolSpec
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import Called, ModelEnd, ModelMessage, ModelRequest

SCHEMA = b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
STARS = ToolSpec(name="stars", description="Stars over a city.", parameters=SCHEMA)
CALLS = (
    ToolCall(id="c00000000", name="stars", arguments='{"city": "Oslo"}'),
    ToolCall(id="c00000001", name="stars", arguments='{"city": '),
)
ASKED = (ModelMessage("system", "You look up."), ModelMessage("user", "What is up?"))
ROUND = (
    ModelMessage("assistant", "I look.", calls=CALLS),
    ModelMessage("tool", "Vega", call_id="c00000000", name="stars"),
    ModelMessage("tool", "The arguments are not JSON.", call_id="c00000001", name="stars", error="invalid_arguments"),
)
REQUEST = ModelRequest(
    model="m-1", messages=ASKED, params={"tools": ["a Role's own"]}, max_tokens=None, tenant_uid="uid", tools=(STARS,)
)
Say = Callable[..., bytes]


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[HttpProvider]:
    made = HttpProvider(KeyRing(tmp_path))
    yield made
    await made.close()


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.type.value)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[ModelServer]:
    async with serving(request.param) as served:
        yield served


# ── as recorded ─────────────────────────────────────────────────────────────────────


def _openai(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _sse(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def _openai_piece(index: int, said: str, name: str | None = None) -> bytes:
    head = {} if name is None else {"id": f"call_{index}", "type": "function"}
    function = {"arguments": said} if name is None else {"name": name, "arguments": said}
    return _openai({"tool_calls": [{"index": index, **head, "function": function}]})


def parts(said: str) -> list[str]:
    size = max(3, len(said) // 10)
    return [said[at : at + size] for at in range(0, len(said), size)]


def openai(*calls: tuple[str, str], text: str = "") -> bytes:
    body = _openai({"role": "assistant", "content": text or None})
    for index, (name, said) in enumerate(calls):
        body += _openai_piece(index, "", name)
        body += b"".join(_openai_piece(index, part) for part in parts(said))
    return body + _openai({}, "tool_calls") + b"data: [DONE]\n\n"


def anthropic(*calls: tuple[str, str], text: str = "") -> bytes:
    body = ANTHROPIC.begin + (ANTHROPIC.piece(text) if text else b"")
    for index, (name, said) in enumerate(calls, 1):
        block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        body += _named({"type": "content_block_start", "index": index, "content_block": block})
        for part in parts(said):
            delta = {"type": "input_json_delta", "partial_json": part}
            body += _named({"type": "content_block_delta", "index": index, "delta": delta})
        body += _named({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}}
    return body + _named(end) + _named({"type": "message_stop"})


def ollama(*calls: tuple[str, str], text: str = "") -> bytes:
    body = _line(message={"role": "assistant", "content": text}, done=False)
    for name, said in calls:
        call = {"function": {"name": name, "arguments": json.loads(said)}}
        body += _line(message={"role": "assistant", "content": "", "tool_calls": [call]}, done=False)
    return body + OLLAMA.end


RECORDED: dict[BackendType, Say] = {OPENAI.type: openai, ANTHROPIC.type: anthropic, OLLAMA.type: ollama}


async def hear(
    provider: HttpProvider, server: ModelServer, *body: bytes, request: ModelRequest = REQUEST
) -> tuple[str, ModelEnd]:
    server.behaviour = server.saying(*body)
    *pieces, end = [item async for item in provider.stream(server.backend(), request)]
    assert isinstance(end, ModelEnd)
    return "".join(str(piece) for piece in pieces), end


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


# ── what comes ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [7, 100_000])
async def test_calls_are_read_from_pieces(server: ModelServer, provider: HttpProvider, size: int) -> None:
    wanted = (("stars", '{"city": "奥斯陆"}'), ("moon", "{}"))
    body = RECORDED[server.speech.type](*wanted, text="I look.")
    text, end = await hear(provider, server, *cut(body, size))
    assert text == "I look."
    assert [(one.name, json.loads(one.arguments or "{}")) for one in end.calls] == [
        ("stars", {"city": "奥斯陆"}),
        ("moon", {}),
    ]
    assert end.dropped == 0


async def test_a_thousand_calls_are_as_many_as_may_be(server: ModelServer, provider: HttpProvider) -> None:
    body = RECORDED[server.speech.type](*[("stars", "{}")] * 1000)
    _, end = await hear(provider, server, body)
    assert (len(end.calls), end.dropped) == (16, 984)


async def test_huge_arguments_are_not_kept(server: ModelServer, provider: HttpProvider) -> None:
    body = RECORDED[server.speech.type](("stars", json.dumps({"city": "x" * 20_000})), ("stars", '{"city": "O"}'))
    _, end = await hear(provider, server, body)
    first, second = end.calls
    assert (first.arguments, first.too_large) == ("", True)
    assert (json.loads(second.arguments), second.too_large) == ({"city": "O"}, False)


async def test_arguments_without_end_are_given_up(server: ModelServer, provider: HttpProvider) -> None:
    body = RECORDED[server.speech.type](*[("stars", json.dumps({"city": "x" * 40_000}))] * 60)
    with pytest.raises(RolehostError):
        await hear(provider, server, body)


@pytest.mark.parametrize("speech", [OPENAI, ANTHROPIC], ids=lambda speech: speech.type.value)
async def test_garbage_in_arguments_comes_as_it_is(provider: HttpProvider, speech: Any) -> None:
    async with serving(speech) as server:
        _, end = await hear(provider, server, RECORDED[speech.type](("stars", '{"city": "O')))
    assert end.calls == (Called("stars", '{"city": "O'),)


@pytest.mark.parametrize(
    ("speech", "body"),
    [
        (OPENAI, _openai({"tool_calls": "stars"})),
        (OPENAI, _openai({"tool_calls": [{"index": 0, "function": {"name": 7}}]})),
        (
            ANTHROPIC,
            _named({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": []}}),
        ),
        (
            OLLAMA,
            _line(message={"tool_calls": [{"function": {"name": "stars", "arguments": '{"a": 1'}}]}).replace(
                b'"{', b"{"
            ),
        ),
    ],
)
async def test_calls_that_are_not_the_wire_fail_the_answer(provider: HttpProvider, speech: Any, body: bytes) -> None:
    async with serving(speech) as server:
        with pytest.raises(RolehostError) as raised:
            await hear(provider, server, body)
    assert "stars" not in str(raised.value)


async def test_servers_that_number_no_calls(provider: HttpProvider) -> None:
    """Some number all of them 0, some none, and some send an object where the wire has text."""

    def call(**more: Any) -> dict[str, Any]:
        return {"type": "function", "function": {"name": "stars", "arguments": '{"city": "O"}'}, **more}

    one = call(id="b", function={"name": "stars", "arguments": {"city": "O"}})
    body = _openai({"tool_calls": [call(id="a", index=0)]}) + _openai({"tool_calls": [{**one, "index": 0}]})
    async with serving(OPENAI) as server:
        _, end = await hear(provider, server, body + _openai({}, "stop") + b"data: [DONE]\n\n")
    assert [json.loads(one.arguments) for one in end.calls] == [{"city": "O"}] * 2


@pytest.mark.parametrize(
    ("speech", "whole"),
    [
        (
            OPENAI,
            {"choices": [{"message": {"content": None, "tool_calls": [
                {"id": "a", "function": {"name": "stars", "arguments": "{}"}},
                {"id": "b", "function": {"name": "moon", "arguments": "{}"}},
            ]}, "finish_reason": "tool_calls"}]},
        ),
        (
            ANTHROPIC,
            {"type": "message", "stop_reason": "tool_use", "content": [
                {"type": "tool_use", "id": "a", "name": "stars", "input": {}},
                {"type": "tool_use", "id": "b", "name": "moon", "input": {}},
            ]},
        ),
    ],
)  # fmt: skip
async def test_calls_of_an_answer_that_comes_as_a_whole(provider: HttpProvider, speech: Any, whole: Any) -> None:
    async with serving(speech) as server:

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.json_response(whole)

        server.behaviour = answer
        (end,) = [item async for item in provider.stream(server.backend(), REQUEST)]
    assert isinstance(end, ModelEnd)
    assert [one.name for one in end.calls] == ["stars", "moon"]


# ── what is sent ────────────────────────────────────────────────────────────────────


async def sent(provider: HttpProvider, server: ModelServer, request: ModelRequest) -> dict[str, Any]:
    await hear(provider, server, server.speech.answer(), request=request)
    return server.asked[-1]


async def test_without_tools_nothing_is_sent_of_them(server: ModelServer, provider: HttpProvider) -> None:
    body = await sent(provider, server, replace(REQUEST, tools=()))
    assert not {"tools", "tool_choice"} & (body.keys() | body.get("options", {}).keys())


async def test_tools_are_sent_in_each_servers_words(server: ModelServer, provider: HttpProvider) -> None:
    (tool,) = (await sent(provider, server, REQUEST))["tools"]
    schema = json.loads(SCHEMA)
    if server.speech is ANTHROPIC:
        assert tool == {"name": "stars", "description": "Stars over a city.", "input_schema": schema}
    else:
        function = {"name": "stars", "description": "Stars over a city.", "parameters": schema}
        assert tool == {"type": "function", "function": function}


async def test_a_model_that_may_not_call_is_told_so(server: ModelServer, provider: HttpProvider) -> None:
    body = await sent(provider, server, replace(REQUEST, may_call=False, messages=(*ASKED, *ROUND)))
    choice = {OPENAI.type: "none", ANTHROPIC.type: {"type": "none"}, OLLAMA.type: None}[server.speech.type]
    assert body.get("tool_choice") == choice
    assert ("tools" in body) is (server.speech is not OLLAMA)


async def test_results_go_back_in_each_servers_words(server: ModelServer, provider: HttpProvider) -> None:
    """What was no JSON is an empty object: a server that reads it would refuse the whole question."""
    params = {"thinking": {"type": "enabled"}} if server.speech is ANTHROPIC else {}
    body = await sent(provider, server, replace(REQUEST, messages=(*ASKED, *ROUND), params=params))
    back = body["messages"][body["messages"].index(_user(body)) + 1 :]
    if server.speech is OPENAI:
        assert back == [
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"id": "c00000000", "type": "function", "function": {"name": "stars", "arguments": '{"city": "Oslo"}'}},
                {"id": "c00000001", "type": "function", "function": {"name": "stars", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c00000000", "content": "Vega"},
            {"role": "tool", "tool_call_id": "c00000001", "content": "The arguments are not JSON."},
        ]  # fmt: skip
    elif server.speech is ANTHROPIC:
        assert back == [
            {"role": "assistant", "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "c00000000", "name": "stars", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "c00000001", "name": "stars", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c00000000", "content": "Vega"},
                {"type": "tool_result", "tool_use_id": "c00000001", "content": "The arguments are not JSON.", "is_error": True},
            ]},
        ]  # fmt: skip
        assert "thinking" not in body
    else:
        assert back == [
            {"role": "assistant", "content": "I look.", "tool_calls": [
                {"function": {"name": "stars", "arguments": {"city": "Oslo"}}},
                {"function": {"name": "stars", "arguments": {}}},
            ]},
            {"role": "tool", "content": "Vega", "tool_name": "stars"},
            {"role": "tool", "content": "The arguments are not JSON.", "tool_name": "stars"},
        ]  # fmt: skip


def _user(body: dict[str, Any]) -> Any:
    return next(one for one in body["messages"] if one["role"] == "user")


# ── the scripted one ────────────────────────────────────────────────────────────────

SCRIPT = BackendSpec(
    type=BackendType.SCRIPTED,
    script=[
        ScriptLine(
            match="up", reply="Up is {results}.", calls=[ScriptCall(tool="stars", arguments={"city": "{message}"})]
        )
    ],
)


async def scripted(request: ModelRequest) -> tuple[str, ModelEnd]:
    *pieces, end = [item async for item in ScriptedProvider().stream(SCRIPT, request)]
    assert isinstance(end, ModelEnd)
    return "".join(str(piece) for piece in pieces), end


async def test_the_scripted_model_calls_and_then_answers() -> None:
    text, end = await scripted(REQUEST)
    assert (text, end.calls) == ("", (Called("stars", '{"city":"What is up?"}'),))
    text, end = await scripted(replace(REQUEST, messages=(*ASKED, *ROUND[:2])))
    assert (text, end.calls) == ("Up is Vega.", ())


@pytest.mark.parametrize("request_", [replace(REQUEST, tools=()), replace(REQUEST, may_call=False)])
async def test_the_scripted_model_calls_nothing_where_it_may_not(request_: ModelRequest) -> None:
    text, end = await scripted(request_)
    assert (text, end.calls) == ("Up is .", ())
