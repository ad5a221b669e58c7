"""What reading a model's stream costs, and how much later the first token comes through the platform.

CPU of a chunk: ours (dispatcher, wire and all) beside openai's SDK, and a bare loop of aiohttp and msgspec as the floor; the model
is a process of its own that sends bytes made before. First token: one question to the OpenAI facade of `rolehost
dev` (a whole turn: session, hooks, a model that answers at once) beside LiteLLM's proxy and beside no proxy at all, at 1, 16, 64
and 200 streams. LiteLLM is no dependency: it is taken from ROLEHOST_BENCH_LITELLM, a folder of
`pip install --target`, or from the environment, and left out where it is not there.
"""

import argparse
import asyncio
import importlib.util
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import uvloop
from tests.bench import machine
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report
from tests.bench.servers import python, server
from tests.bench.stream_model import CHUNKS
from tests.support.ports import free_port

from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.state.memory_ledger import MemoryLedger
from rolehost_runtime.gateway.ports import ModelEnd, ModelMessage, ModelRequest
from rolehost_runtime.gateway.tables import Tables

OURS, SDK, FLOOR = "rolehost", "openai SDK", "aiohttp + msgspec, bare"
LITELLM, DIRECT = "LiteLLM proxy", "no proxy"
GOAL_CHUNK_US = 10
KEY = f"sk-{secrets.token_hex(32)}"
"""LiteLLM starts with none that is weak; the others look at none."""
ROLE = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: cat}
spec:
  template: {persona: {system: You are a cat.}}
  sessions: {maxPerPod: 2000}
"""
LITELLM_CONFIG = """
model_list:
- model_name: cat
  litellm_params: {{model: openai/instant, api_base: "{base}", api_key: none}}
litellm_settings: {{telemetry: false}}
"""
Stream = Callable[[], Awaitable[int]]
"""Reads one stream to its end; how many chunks of text there were."""


# ── CPU of a chunk ──────────────────────────────────────────────────────────────────


async def chunks(stream: Stream, streams: int) -> Round:
    """So many at the same time. CPU is this process's own: reading is all that it does."""
    latencies: list[float] = []

    async def one() -> int:
        began = time.perf_counter()
        count = await stream()
        latencies.append(1000 * (time.perf_counter() - began))
        return count

    began = time.process_time()
    counts = await asyncio.gather(*(one() for _ in range(streams)))
    spent = time.process_time() - began
    failures = sum(count != CHUNKS for count in counts)
    return Round(units=sum(counts), latencies_ms=tuple(latencies), cpu_us=1e6 * spent, failures=failures)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


def floor(client: aiohttp.ClientSession, url: str) -> Stream:
    """What is left where nothing is decided: no deadline, no bound, no count."""
    body = msgspec.json.encode({"model": "m", "messages": [], "stream": True})

    async def stream() -> int:
        count, rest = 0, b""
        async with client.post(f"{url}/chat/completions", data=body) as response:
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {") and _decode(line[6:]).choices[0].delta.content:
                        count += 1
        return count

    return stream


def sdk(client: openai.AsyncOpenAI) -> Stream:
    async def stream() -> int:
        count = 0
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        async for chunk in answer:
            if chunk.choices and chunk.choices[0].delta.content:
                count += 1
        return count

    return stream


def ours(service: ModelService, tables: Tables) -> Stream:
    request = ModelRequest("m", (ModelMessage("user", "Hello"),), {}, None, "uid", "main", "acme")

    async def stream() -> int:
        count = 0
        backend = tables.backends.get("main")
        assert backend is not None
        async for item in service.provider.stream(backend, request):
            if not isinstance(item, ModelEnd):
                count += 1
        return count

    return stream


async def reading(rounds: int, streams: int) -> None:
    port = free_port()
    with server("model", python("tests.bench.stream_model", str(port)), f"127.0.0.1:{port}"):
        for pace in ("burst", "paced"):
            url = f"http://127.0.0.1:{port}/{pace}/v1"
            tables = Tables()
            models = [ServedModel(name="m", model="m")]
            tables.backends.put(("main",), BackendSpec(type=BackendType.OPENAI, base_url=url, models=models))
            service = ModelService(HttpProvider(KeyRing(None)), tables, lambda: 0, MemoryLedger())
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as bare,
                openai.AsyncOpenAI(
                    base_url=url, api_key="none", http_client=openai.DefaultAsyncHttpxClient(trust_env=False)
                ) as client,
            ):
                arms = {
                    OURS: lambda: chunks(ours(service, tables), streams),  # noqa: B023
                    SDK: lambda: chunks(sdk(client), streams),
                    FLOOR: lambda: chunks(floor(bare, url), streams),  # noqa: B023
                }
                taken = await interleaved(arms, rounds)
            await service.close()
            how = "each chunk by itself" if pace == "paced" else "many chunks in one read"
            notes = [
                f"{streams} streams of {CHUNKS} chunks at the same time, {how}; a unit is a chunk, a latency a stream",
                f"the goal is {GOAL_CHUNK_US} µs of CPU a chunk, and 0.05 of the SDK's",
            ]
            report(compare(f"model_stream_{pace}", taken, ours=OURS, machine=machine.facts(), notes=notes))


def on_uvloop(rounds: int, streams: int) -> None:
    """As the gateway runs; all arms do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(reading(rounds, streams))


# ── the first token ─────────────────────────────────────────────────────────────────


async def first_tokens(client: aiohttp.ClientSession, url: str, streams: int, each: int, pids: set[int]) -> Round:
    """`streams` at the same time, each asking one question after another; timed to the first text."""
    latencies: list[float] = []
    failures = 0
    body = msgspec.json.encode({"model": "cat", "messages": [{"role": "user", "content": "Hello"}], "stream": True})

    async def one() -> None:
        nonlocal failures
        for _ in range(each):
            began, at = time.perf_counter(), 0.0
            async for line in answered(client, url, body):
                if not at and b'"content":"' in line.replace(b'": "', b'":"') and b'"content":""' not in line:
                    at = time.perf_counter()
            if at:
                latencies.append(1000 * (at - began))
            else:
                failures += 1

    before = machine.cpu_us(pids)
    await asyncio.gather(*(one() for _ in range(streams)))
    spent = machine.cpu_us(pids) - before
    return Round(units=streams * each, latencies_ms=tuple(latencies), cpu_us=spent or None, failures=failures)


async def answered(client: aiohttp.ClientSession, url: str, body: bytes) -> AsyncIterator[bytes]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    async with client.post(f"{url}/chat/completions", data=body, headers=headers) as response:
        if response.status == 200:
            async for line in response.content:
                yield line


@contextmanager
def rolehost(model_port: int) -> Iterator[tuple[str, int]]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "role.yaml").write_text(ROLE)
        argv = python("rolehost.cli", "dev", folder, "--port", str(port), "--data", f"{folder}/.data")
        argv += ["--model", f"instant@http://127.0.0.1:{model_port}/v1"]
        with server("rolehost dev", argv, f"http://127.0.0.1:{port}/readyz") as pid:
            yield f"http://127.0.0.1:{port}/v1", pid


@contextmanager
def litellm(model_port: int) -> Iterator[tuple[str, int] | None]:
    folder = os.environ.get("ROLEHOST_BENCH_LITELLM", "")
    if not folder and importlib.util.find_spec("litellm") is None:
        print(f"  {LITELLM} is not installed: left out (ROLEHOST_BENCH_LITELLM names its folder)", file=sys.stderr)
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as made:
        config = Path(made) / "config.yaml"
        config.write_text(LITELLM_CONFIG.format(base=f"http://127.0.0.1:{model_port}/v1"))
        argv = [sys.executable, "-c", "from litellm import run_server; run_server()"]
        argv += ["--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1"]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))}
        environment |= {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with server("litellm", argv, f"http://127.0.0.1:{port}/health/liveliness", environment, 300) as pid:
            yield f"http://127.0.0.1:{port}/v1", pid


async def overhead(rounds: int, each: int) -> None:
    model_port = free_port()
    with ExitStack() as stack:
        model = python("tests.bench.model", str(model_port))
        stack.enter_context(server("model", model, f"127.0.0.1:{model_port}"))
        places: dict[str, tuple[str, int] | None] = {
            OURS: stack.enter_context(rolehost(model_port)),
            LITELLM: stack.enter_context(litellm(model_port)),
            DIRECT: (f"http://127.0.0.1:{model_port}/v1", 0),
        }
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            for streams in (1, 16, 64, 200):
                arms: dict[str, Any] = {}
                for name, place in places.items():
                    if place is not None:
                        url, pid = place
                        pids = machine.family(pid) if pid else set()
                        count = max(2, each // streams)
                        arms[name] = lambda u=url, p=pids, n=streams, c=count: first_tokens(client, u, n, c, p)
                taken = await interleaved(arms, rounds)
                notes = [
                    f"{streams} streams; from the question to the first text, by one client over HTTP",
                    "rolehost runs the whole turn: session, hooks, prompt; the proxy passes it on",
                    "what each adds is its time less that of no proxy",
                ]
                report(compare(f"model_first_token_{streams}", taken, ours=OURS, machine=machine.facts(), notes=notes))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="model_stream", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, default=16, help="at the same time, where chunks are counted")
    parser.add_argument("--each", type=int, default=200, help="questions of a round, where first tokens are timed")
    parser.add_argument("--only", choices=("chunks", "first"), default=None)
    options = parser.parse_args(arguments)
    if options.only != "first":
        await asyncio.to_thread(on_uvloop, options.rounds, options.streams)
    if options.only != "chunks":
        await overhead(options.rounds, options.each)
