"""A gateway that is told of a Collector sends it one trace a turn; one that is not does not even load what would."""

import subprocess
import sys
from typing import Any

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.otlp import endpoint, read
from tests.support.tracing import KEY, traced

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def say(port: int, message: str = "hello", **headers: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}", **headers}) as http,
        http.post(f"http://127.0.0.1:{port}/role/cat", json={"message": message}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_one_turn_is_one_trace_at_the_collector() -> None:
    async with endpoint() as collector, traced(collector.url) as (gateway, _):
        done = await say(gateway.port)
        spans = await collector.until(6)
        assert {span.trace_id for span in spans} == {done["trace_id"]}
        assert {"turn", "route", "hooks", "model.call", "commit"} <= {span.name for span in spans}
        (resource, _) = read(collector.bodies[0])
        assert resource["service.name"] == "rolehost-gateway"


async def test_what_waits_goes_out_when_the_gateway_stops() -> None:
    async with endpoint() as collector:
        async with traced(collector.url) as (gateway, _):
            await say(gateway.port)
        assert {"turn", "commit"} <= {span.name for span in collector.spans}


async def test_a_gateway_without_a_collector_says_so_by_an_empty_id() -> None:
    async with traced("") as (gateway, _):
        assert (await say(gateway.port))["trace_id"] == ""


async def test_a_clients_traceparent_is_the_parent_where_clients_are_trusted() -> None:
    async with endpoint() as collector, traced(collector.url, trusts=True) as (gateway, _):
        done = await say(gateway.port, traceparent=TRACEPARENT)
        (root,) = [span for span in await collector.until(6) if span.name == "turn"]
        assert (root.trace_id, root.parent_id) == tuple(TRACEPARENT.split("-")[1:3])
        assert done["trace_id"] == root.trace_id
        assert (await say(gateway.port, traceparent="00-nonsense"))["trace_id"] not in TRACEPARENT


async def test_a_turns_numbers_lead_to_its_trace() -> None:
    async with (
        endpoint() as collector,
        traced(collector.url) as (gateway, _),
        aiohttp.ClientSession(headers={"accept": "application/openmetrics-text;version=1.0.0"}) as http,
    ):
        done = await say(gateway.port)
        async with http.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as answer:
            families = {one.name: one for one in text_string_to_metric_families(await answer.text())}  # type: ignore[no-untyped-call]
        for name in ("rolehost_turn_seconds", "rolehost_turn_first_token_seconds"):
            told = [one.exemplar.labels for one in families[name].samples if one.exemplar is not None]
            assert told == [{"trace_id": done["trace_id"]}]


async def test_who_asks_for_no_openmetrics_is_told_as_ever() -> None:
    async with (
        traced("") as (gateway, _),
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{gateway.metrics_port}/metrics") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "rolehost_spans_dropped_total" in await answer.text()


def test_nobody_loads_the_sdk() -> None:
    """FastAPI loads its API, where that is installed, and does nothing with it."""
    loaded = """
import sys
import rolehost_operator.run, rolehost_runtime.gateway.app
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto"))])
"""
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
