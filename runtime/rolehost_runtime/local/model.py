"""What answers on this machine: --model, else a key in the environment, else an Ollama, else a script."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from rolehost_api.crd.modelbackend import ApiKey, BackendSpec, BackendType, ScriptLine, ServedModel

OPENAI = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
OLLAMA = "http://127.0.0.1:11434"
KEY = "openai"
"""The entry of the key ring by which the environment's key is known."""
MAX_TAGS = 1_048_576

SCRIPT = (
    ScriptLine(
        match="龙",
        reply="从前，山谷里住着一条小龙，它不会喷火，只会打喷嚏。一个冬夜，村里的炉火全灭了，小龙打了一个大大的喷嚏，"
        "星星点点的火花落进每一个炉膛。从那以后，大家都叫它“暖暖”。",
    ),
    ScriptLine(
        match="dragon",
        reply="Once there was a small dragon who could not breathe fire; it could only sneeze. One winter night every "
        "hearth in the village went out. The dragon sneezed, and a spark landed in each of them.",
    ),
    ScriptLine(reply='You said: "{message}"\nYou said before: "{previous}"'),
)


@dataclass(frozen=True, slots=True)
class Choice:
    backend: BackendSpec
    label: str
    advice: str = ""
    """The line that would change it, where nothing was chosen."""
    keys: Mapping[str, str] | None = None
    """Entries of the key ring. Never shown."""

    def __repr__(self) -> str:
        return f"Choice({self.label})"


async def choose(wish: str, environment: Mapping[str, str], ollama: str = OLLAMA) -> Choice:
    """The model by the order above. `wish` is `scripted`, `ollama/NAME`, `openai/NAME` or `NAME@URL`."""
    key = environment.get("OPENAI_API_KEY", "")
    base = environment.get("OPENAI_BASE_URL", "").rstrip("/") or OPENAI
    kind, _, name = wish.partition("/")
    if wish == "scripted":
        return scripted()
    if "@" in wish:
        name, _, address = wish.rpartition("@")
        return _openai(_checked(address), name, key)
    if kind == "openai" and name:
        return _openai(base, name, key)
    if kind == "ollama" and name:
        return _openai(f"{ollama}/v1", name, "", label=f"{name} by Ollama")
    if wish:
        raise click.BadParameter("is scripted, ollama/NAME, openai/NAME or NAME@URL", param_hint="--model")
    if key:
        return _openai(base, environment.get("OPENAI_MODEL") or OPENAI_MODEL, key)
    found = await _first_of(ollama)
    if found:
        return _openai(f"{ollama}/v1", found, "", label=f"{found} by Ollama")
    return scripted("export OPENAI_API_KEY=…   or start Ollama, or give --model NAME@URL")


def scripted(advice: str = "") -> Choice:
    return Choice(BackendSpec(type=BackendType.SCRIPTED, script=list(SCRIPT)), "scripted (no model)", advice)


def _openai(base: str, name: str, key: str, *, label: str = "") -> Choice:
    host = urlsplit(base).hostname
    backend = BackendSpec(
        type=BackendType.OPENAI,
        base_url=base,
        api_key=ApiKey(key=KEY) if key else None,
        models=[ServedModel(name=name, model=name)],
    )
    return Choice(backend, label or f"{name} at {host}", keys={KEY: key} if key else None)


def _checked(address: str) -> str:
    if urlsplit(address).scheme not in ("http", "https"):
        raise click.BadParameter(
            "the part after @ is an address such as http://localhost:8000/v1", param_hint="--model"
        )
    return address.rstrip("/")


async def _first_of(ollama: str) -> str:
    """The first model of an Ollama that answers; empty where there is none."""
    where = urlsplit(ollama)
    try:
        async with asyncio.timeout(0.5):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(f"GET /api/tags HTTP/1.0\r\nHost: {where.netloc}\r\n\r\n".encode())
                answer = await reader.read(MAX_TAGS)
                while more := await reader.read(MAX_TAGS - len(answer)):
                    answer += more
            finally:
                writer.close()
        models = json.loads(answer.partition(b"\r\n\r\n")[2])["models"]
        return str(models[0]["name"]) if models else ""
    except (OSError, TimeoutError, ValueError, KeyError, TypeError, IndexError):
        return ""
