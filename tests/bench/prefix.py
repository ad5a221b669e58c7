"""How soon a real llama.cpp server says its first token, with and without a beginning that it has seen.

A llama of random weights: what it says means nothing, what it computes of a prompt is what any model of its size
computes. Our own request code asks it, as a session does: the same persona, a history that grows, and words that go for
one turn only. In turns: behind the history (as we ask), above it, and with a beginning that no prompt before had.

Needs llama-cpp-python[server] in the interpreter given by --python, and gguf in that given by --gguf-python.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiohttp
from tests.bench import machine
from tests.support.ports import free_port

from rolehost_api.crd.modelbackend import Abilities, BackendSpec, BackendType, LateText, ServedModel, Timeouts
from rolehost_api.link.messages import HistorySegment, InputSegment, PersonaSegment, TextSegment
from rolehost_runtime.core.models.caching import cache_key
from rolehost_runtime.core.prompt import Exchange, compose, stable_chars
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

MAKE = Path(__file__).parents[1] / "cluster" / "tinymodel"
GGUF = Path("~/.cache/rolehost/cluster/gguf-venv/bin/python").expanduser()
SIZES = "make.LAYERS, make.WIDTH, make.HEADS, make.HIDDEN, make.CONTEXT = 4, 128, 4, 352, 4096"
PERSONA = "You are a cat who keeps a lighthouse, and you know every ship by its horn. " * 8
ROLES = {"system": "system", "user": "user", "persona": "assistant"}
WAYS = ("behind_the_history", "above_the_history", "nothing_shared")
TURNS = 6
PARAMS = {"temperature": 0, "logit_bias": {"400": 100}}
"""A whole word comes first whatever the prompt: a server holds back bytes that are not text yet."""
REPLY = "That is a ship of the northern line: two long blasts and a short one, and she is late by a tide, as always. "


def made(python: Path, target: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(MAKE)!r}); import make; {SIZES}; sys.argv = ['make', {str(target)!r}]; make.main()"
    subprocess.run([python, "-c", code], check=True, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"})


@asynccontextmanager
async def serving(python: str, model: Path) -> AsyncIterator[str]:
    port = free_port()
    command = [python, "-m", "llama_cpp.server", "--model", str(model), "--n_ctx", "4096", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with aiohttp.ClientSession() as client:
            for _ in range(600):
                try:
                    async with client.get(f"http://127.0.0.1:{port}/v1/models") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    pass
                if server.poll() is not None:
                    raise SystemExit("llama_cpp.server did not start; is llama-cpp-python[server] installed?")
                await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(10)


def session(way: str, number: int) -> Iterator[ModelRequest]:
    """What a session asks, turn by turn."""
    past: list[Exchange] = []
    for turn in range(1, TURNS + 1):
        late = TextSegment("system", f"Turn {turn}: it is {turn} o'clock, and the weather is number {turn * 7 % 10}.")
        segments = (PersonaSegment(0), late, HistorySegment(), InputSegment())
        message = f"Question {turn}: which ship is that, and where does it come from?"
        prompt = compose(segments, [PERSONA], past, message, turn=turn)
        whose = f"{number}-{turn}" if way == "nothing_shared" else f"{number}"
        yield ModelRequest(
            "m", [ModelMessage(ROLES[speaker], text, late=is_late) for speaker, text, is_late in prompt.spoken],  # type: ignore[arg-type]
            PARAMS, 2, "uid", stable_chars=stable_chars(segments, [PERSONA]), steady=prompt.steady,
            cache_key=cache_key(way, whose),
        )  # fmt: skip
        past.append(Exchange(message, f"{turn}. {REPLY * 2}"))


async def first_token(provider: HttpProvider, backend: BackendSpec, request: ModelRequest) -> float:
    """Milliseconds."""
    began, took = time.perf_counter(), 0.0
    async with aclosing(provider.stream(backend, request)) as stream:  # type: ignore[type-var]
        async for _ in stream:
            took = took or 1000 * (time.perf_counter() - began)
    return took


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="prefix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="has llama-cpp-python[server]")
    parser.add_argument("--gguf-python", type=Path, default=GGUF, help="has gguf and numpy")
    asked = parser.parse_args(arguments)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    opened: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        made(asked.gguf_python, Path(folder) / "m.gguf")
        async with serving(asked.python, Path(folder) / "m.gguf") as url:
            provider = HttpProvider(KeyRing(Path(folder)))
            for number in range(asked.rounds):
                for way in WAYS:
                    where = LateText.OPENING if way == "above_the_history" else LateText.MESSAGE
                    served = ServedModel(name="m", model="m", abilities=Abilities(late_text=where))
                    slow = Timeouts(first_token_seconds=300)
                    backend = BackendSpec(type=BackendType.OPENAI, base_url=url, models=[served], timeouts=slow)
                    for turn, request in enumerate(session(way, number), 1):
                        (took[way] if turn > 1 else opened).append(await first_token(provider, backend, request))
            await provider.close()
    result = {
        "name": "prefix",
        "turns": TURNS,
        "persona_chars": len(PERSONA),
        "first_turn_ms": {"median": round(statistics.median(opened), 1)},
        "first_token_ms": {
            way: {"median": round(statistics.median(times), 1), "best": round(min(times), 1), "last_turn": round(
                statistics.median(times[TURNS - 2 :: TURNS - 1]), 1)} for way, times in took.items()
        },
        "machine": machine.facts(),
    }  # fmt: skip
    print(json.dumps(result, ensure_ascii=False))
