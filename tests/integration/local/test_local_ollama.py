"""An Ollama on this machine is found and spoken to by its own wire."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from rolehost_api.crd.modelbackend import BackendType
from rolehost_runtime.local.model import choose

TAGS = {"models": [{"name": "qwen3:4b", "size": 1}, {"name": "other"}]}


@pytest.fixture
async def ollama(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    body = request.param

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("ollama", [json.dumps(TAGS).encode()], indirect=True)
async def test_its_first_model_answers_where_there_is_no_key(ollama: str) -> None:
    chosen = await choose("", {}, ollama)
    assert (chosen.backend.type, chosen.backend.base_url) == (BackendType.OLLAMA, ollama)
    assert chosen.backend.models[0].model == "qwen3:4b"
    assert (await choose("", {"ANTHROPIC_API_KEY": "k"}, ollama)).backend.type is BackendType.ANTHROPIC


@pytest.mark.parametrize("ollama", [b'{"models": []}', b"<html>", b'{"models": [3]}'], indirect=True)
async def test_one_without_models_or_sense_is_none(ollama: str) -> None:
    assert (await choose("", {}, ollama)).backend.type is BackendType.SCRIPTED
