"""What answers on this machine: --model, else a key in the environment (OpenAI's, then Anthropic's), else an Ollama, else a
script."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from rolehost_api.crd.modelbackend import ApiKey, BackendSpec, BackendType, ScriptLine, ServedModel
from rolehost_runtime.core.models.abilities import able

OPENAI = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-4o-mini"
ANTHROPIC = "https://api.anthropic.com/v1"
ANTHROPIC_MODEL = "claude-haiku-4-5"
OLLAMA = "http://127.0.0.1:11434"
KEY = "model"
"""The entry of the key ring by which the environment's key is known."""
FORMS = "is scripted, ollama/NAME, openai/NAME, anthropic/NAME or NAME@URL"
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
    """The model by the order above. `wish` is `scripted`, `ollama/NAME`, `openai/NAME`, `anthropic/NAME` or `NAME@URL`."""
    anthropic_key = environment.get("ANTHROPIC_API_KEY", "")
    anthropic = environment.get("ANTHROPIC_BASE_URL", "").rstrip("/") or ANTHROPIC
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
    if kind == "anthropic" and name:
        return _served(BackendType.ANTHROPIC, anthropic, name, anthropic_key)
    if kind == "ollama" and name:
        return _served(BackendType.OLLAMA, ollama, name, "")
    if wish:
        raise click.BadParameter(FORMS, param_hint="--model")
    if key:
        return _openai(base, environment.get("OPENAI_MODEL") or OPENAI_MODEL, key)
    if anthropic_key:
        model = environment.get("ANTHROPIC_MODEL") or ANTHROPIC_MODEL
        return _served(BackendType.ANTHROPIC, anthropic, model, anthropic_key)
    found = await _first_of(ollama)
    if found:
        return _served(BackendType.OLLAMA, ollama, found, "")
    return scripted("export OPENAI_API_KEY=… or ANTHROPIC_API_KEY=…, or start Ollama, or give --model NAME@URL")


def scripted(advice: str = "") -> Choice:
    return Choice(BackendSpec(type=BackendType.SCRIPTED, script=list(SCRIPT)), "scripted (no model)", advice)


def _openai(base: str, name: str, key: str) -> Choice:
    return _served(BackendType.OPENAI, base, name, key)


def _served(kind: BackendType, base: str, name: str, key: str) -> Choice:
    backend = BackendSpec(
        type=kind,
        base_url=base,
        api_key=ApiKey(key=KEY) if key else None,
        models=[ServedModel(name=name, model=name)],
    )
    host = urlsplit(base).hostname
    label = f"{name} by Ollama, on this machine" if able(backend, name).local else f"{name} at {host}"
    return Choice(backend, label, keys={KEY: key} if key else None)


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
