"""F26: whatever becomes of the Collector, turns are answered, and what cannot be told is dropped, within bounds, and counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support.otlp import endpoint
from tests.support.ports import free_port
from tests.support.tracing import KEY, traced

from rolehost_runtime.gateway.app import Gateway
from rolehost_runtime.gateway.tracing.sending import Sending
from rolehost_runtime.gateway.tracing.turn import STEP_WEIGHT

ROOM = 20 * STEP_WEIGHT
"""For three turns of a Role without logic, or less."""
TURNS = 12


async def say(gateway: Gateway) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as http,
        http.post(f"http://127.0.0.1:{gateway.port}/role/cat", json={"message": "hello"}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


def value(gateway: Gateway, name: str, **labels: str) -> float:
    found = gateway.metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


@asynccontextmanager
async def nonsense(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (nobody, "unreachable"),
        (lambda: nonsense(b"\0" * 4096), "unreachable"),
        (lambda: nonsense(b""), "unreachable"),
        (lambda: nonsense(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"), "refused"),
        (lambda: nonsense(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), "refused"),
    ],
    ids=["down", "garbage", "hangs up", "leads elsewhere", "fails"],
)  # fmt: skip
async def test_a_collector_that_is_away_or_talks_nonsense_costs_nobody_an_answer(harm: Any, why: str) -> None:
    async with harm() as url, traced(url, sending=Sending(pauses=(), every=0.0)) as (gateway, _):
        for _ in range(3):
            assert (await say(gateway))["status"] == "completed"
        async with asyncio.timeout(20):
            while value(gateway, "rolehost_spans_dropped_total", why=why) == 0:
                await asyncio.sleep(0.01)
        assert value(gateway, "rolehost_spans_sent_total") == 0


async def test_turns_wait_for_no_collector_that_holds_its_answer_back_and_what_waits_has_a_bound() -> None:
    async with (
        endpoint() as collector,
        traced(collector.url, sending=Sending(every=0.0, most_bytes=ROOM)) as (gateway, _),
    ):
        collector.hold = asyncio.Event()
        done = [await say(gateway) for _ in range(TURNS)]  # all of them, while no request is answered
        assert [one["status"] for one in done] == ["completed"] * TURNS
        dropped = value(gateway, "rolehost_spans_dropped_total", why="queue_full")
        assert dropped > 0
        assert value(gateway, "rolehost_spans_queued_bytes") <= ROOM
        collector.hold.set()
        spans = await collector.until(2)
        async with asyncio.timeout(20):
            while value(gateway, "rolehost_spans_sent_total") + dropped < TURNS * 6:
                await asyncio.sleep(0.01)
        told = {one["trace_id"] for one in done}
        assert {span.trace_id for span in spans} <= told
