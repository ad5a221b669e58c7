"""The chart's own configuration in a real Collector: what it keeps of a gateway's traces, and what it lets nobody say."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from tests.integration.chart.helm import Helm, helm
from tests.support.apiserver import BINARIES
from tests.support.ports import free_port
from tests.support.rooms import FakePod
from tests.support.tracing import KEY, traced

from rolehost_api.link.messages import StartTurn, TurnFailed
from rolehost_runtime.gateway.tracing import otlp
from rolehost_runtime.gateway.tracing.spans import Kind, Span

__all__ = ["helm"]
PROGRAM = BINARIES / "otelcol"
WAIT = 20


@pytest.fixture
def config(helm: Helm) -> Callable[..., dict[str, Any]]:
    def rendered(*more: str) -> dict[str, Any]:
        objects = helm.template("--set", "telemetry.collector.enabled=true", *more)
        (found,) = [
            one for one in objects if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "rolehost-collector")
        ]
        text: dict[str, Any] = yaml.safe_load(found["data"]["config.yaml"])
        return text

    return rendered


@pytest.fixture
def program() -> Path:
    if not PROGRAM.is_file():
        pytest.skip(f"otelcol is not in {BINARIES}; `make cluster` builds it")
    return PROGRAM


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--set", "telemetry.content=true"),
        (
            "--set", "telemetry.collector.export.endpoint=jaeger:4317",
            "--set", "telemetry.collector.export.headers.authorization=Bearer ${env:TRACES_TOKEN}",
        ),
    ],
    ids=["nowhere", "content", "somewhere"],
)  # fmt: skip
def test_a_real_collector_takes_what_the_chart_renders(
    config: Callable[..., dict[str, Any]], program: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config(*more)))
    done = subprocess.run(
        [program, "validate", f"--config={file}"],
        capture_output=True, text=True, timeout=30, env={**os.environ, "TRACES_TOKEN": "t"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@asynccontextmanager
async def collecting(program: Path, told: dict[str, Any], where: Path) -> AsyncIterator[tuple[str, Path]]:
    """The Collector with that configuration, but that it writes to a file: its address, and the file."""
    port, kept = free_port(), where / "traces.json"
    told["receivers"]["otlp"]["protocols"]["http"]["endpoint"] = f"127.0.0.1:{port}"
    told["exporters"] = {"file": {"path": str(kept), "flush_interval": "100ms"}}
    told["service"]["pipelines"]["traces"]["exporters"] = ["file"]
    told["service"]["telemetry"]["metrics"] = {"level": "none"}
    told["processors"]["tail_sampling"]["decision_wait"] = "200ms"
    file = where / "config.yaml"
    file.write_text(yaml.safe_dump(told))
    process = await asyncio.create_subprocess_exec(str(program), f"--config={file}", stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(WAIT):
            while not await _answers(port):
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}", kept
    finally:
        process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def spans_in(file: Path, count: int) -> list[dict[str, Any]]:
    """The spans in the file, once it has so many."""
    async with asyncio.timeout(WAIT):
        while True:
            lines = file.read_text().splitlines() if file.exists() else []
            found = [
                span
                for line in lines
                for resource in json.loads(line)["resourceSpans"]
                for scope in resource["scopeSpans"]
                for span in scope["spans"]
            ]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.05)


async def test_turns_that_fail_are_kept_and_the_rest_in_part(
    config: Callable[..., dict[str, Any]], program: Path, tmp_path: Path
) -> None:
    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, TurnFailed(code="internal"))

    told = config("--set", "telemetry.collector.keepPercent=0")
    async with collecting(program, told, tmp_path) as (url, kept):
        async with (
            traced(url) as (gateway, dialer),
            aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as http,
        ):
            address = f"http://127.0.0.1:{gateway.port}/role/cat"
            async with http.post(address, json={"message": "one"}) as answer:
                well = (await answer.json())["trace_id"]
            dialer.pods["p1"].turn = fails
            async with http.post(address, json={"message": "two"}) as answer:
                assert answer.status >= 400
        found = await spans_in(kept, 3)
        assert {"turn", "route", "hooks"} <= {span["name"] for span in found}
        assert well not in {span["traceId"] for span in found}
        (root,) = [span for span in found if span["name"] == "turn"]
        assert root["status"] == {"code": 2, "message": "logic_error"}


async def test_what_no_gateway_says_ends_at_the_collector(
    config: Callable[..., dict[str, Any]], program: Path, tmp_path: Path
) -> None:
    attributes = (("rolehost.tenant", "acme"), ("gen_ai.input.messages", "zebra"), ("user.email", "zebra@acme.com"))
    span = Span("the user said zebra", Kind.SERVER, b"t" * 16, b"s" * 8, b"", 1, 2, attributes, "it failed: zebra")
    body = otlp.encode((("service.name", "rolehost-gateway"), ("zebra", "z")), [otlp.encode_span(span)])
    async with collecting(program, config(), tmp_path) as (url, kept), aiohttp.ClientSession() as http:
        async with http.post(f"{url}/v1/traces", data=body, headers={"content-type": otlp.MEDIA_TYPE}) as answer:
            assert answer.status == 200
        (found,) = await spans_in(kept, 1)
        assert (found["name"], found["status"]["message"]) == ("other", "other")
        assert [pair["key"] for pair in found["attributes"]] == ["rolehost.tenant"]
        assert "zebra" not in kept.read_text()
