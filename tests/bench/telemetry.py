"""What telemetry costs: the same turns and the same streamed tokens, by two gateways of which one traces every turn.

Both stand on one core, on one Redis, with one pod and one model, which are on the other. CPU is each gateway's own process.
Of a turn it is all that it takes: its beginning, its model's stream, its commit, and until the trace is at the Collector
(an endpoint that reads and forgets). Of a token it is what it takes in the middle of a stream (`frame`).

Beside them, in this process: what OpenTelemetry's SDK takes to make and encode the spans of one such turn, and what ours
takes for the same. They are read from what the endpoint got.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

import uvloop
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from tests.bench import machine
from tests.bench.frame import Socket, streamed
from tests.bench.harness import Round, compare
from tests.bench.herd_gateway import ROLE, TENANTS, client_key
from tests.bench.lean import Lean, head, text
from tests.bench.resume import Site, site, until_open
from tests.bench.rounds import interleaved, report
from tests.bench.servers import LOAD_CORE, SERVER_CORE, on_core, python, server
from tests.support.otlp import Endpoint, Told, endpoint
from tests.support.ports import free_port

from rolehost_runtime.gateway.tracing import otlp
from rolehost_runtime.gateway.tracing.spans import Kind, Span

ON, OFF = "traced", "not traced"
SETTLE_SECONDS = 1.6
"""Until what waited to be sent is sent."""
PATIENCE_SECONDS = 120.0
GOAL_TURN, GOAL_FRAME = 1.05, 1.08
TURNS_OF_ONE_REQUEST = 64


class Talker(Lean):
    """A socket that says one thing after another, each when the one before it is answered."""

    def __init__(self, session: str, turns: int, over: Callable[[], None], took: list[float]) -> None:
        super().__init__()
        self._session, self._left, self._over, self._took = session, turns, over, took
        self._said_at = 0.0
        self.failed = False

    def request(self) -> bytes:
        key = client_key(TENANTS[0])
        return head(f"/role/{ROLE}?session_id={self._session}", f"Authorization: Bearer {key}")

    def opened(self) -> None:
        self._say()

    def _say(self) -> None:
        assert self.transport is not None
        self._said_at = time.monotonic()
        self.transport.write(text(json.dumps({"message": "go on"}).encode()))

    def told(self, body: bytes) -> None:
        if b'"done":true' not in body:
            return
        self.failed |= b'"status":"completed"' not in body
        self._took.append(1000 * (time.monotonic() - self._said_at))
        self._left -= 1
        if self._left:
            self._say()
        else:
            self._over()

    def refused(self) -> None:
        self.failed = True
        self._over()


async def talked(port: int, pid: int, talkers: int, turns: int, name: Callable[[], str]) -> Round:
    """One round of one arm: so many talk, each so many turns."""
    loop, over, took = asyncio.get_running_loop(), asyncio.Event(), list[float]()
    left = talkers

    def one_over() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    before = machine.cpu_us({pid})
    made = [Talker(name(), turns, one_over, took) for _ in range(talkers)]
    for one in made:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await over.wait()
    await asyncio.sleep(SETTLE_SECONDS)
    cost = machine.cpu_us({pid}) - before
    for one in made:
        if one.transport is not None:
            one.transport.close()
    return Round(len(took), tuple(took), cost, sum(one.failed for one in made))


@asynccontextmanager
async def gateway(found: Site, model: str, traces: str) -> AsyncIterator[tuple[int, int]]:
    port = free_port()
    [process] = await found.gateways("a", (port,), model, traces)
    on_core(SERVER_CORE)
    try:
        await process.start()
    finally:
        on_core(LOAD_CORE)
    try:
        await until_open(port)
        yield port, process.pid
    finally:
        await process.end()


# ── the SDK beside ours ─────────────────────────────────────────────────────────────

RESOURCE, SCOPE = Resource({"service.name": "rolehost-gateway"}), InstrumentationScope(otlp.SCOPE)
SDK_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT}


def by_the_sdk(turn: list[Told]) -> list[ReadableSpan]:
    return [
        ReadableSpan(
            one.name,
            SpanContext(int(one.trace_id, 16), int(one.span_id, 16), False, TraceFlags(1)),
            resource=RESOURCE,
            attributes=dict(one.attributes),
            kind=SDK_KINDS[Kind(one.kind)],
            status=Status(StatusCode.UNSET),
            start_time=one.start_ns,
            end_time=one.end_ns,
            instrumentation_scope=SCOPE,
        )
        for one in turn
    ]


def by_us(turn: list[Told]) -> list[bytes]:
    return [
        otlp.encode_span(
            Span(
                one.name, Kind(one.kind), bytes.fromhex(one.trace_id), bytes.fromhex(one.span_id),
                bytes.fromhex(one.parent_id), one.start_ns, one.end_ns, tuple(one.attributes.items()),
            )
        )
        for one in turn
    ]  # fmt: skip


def beside_the_sdk(turn: list[Told], times: int = 5) -> tuple[float, float]:
    """CPU of the spans of one turn, in µs: the SDK's, and ours; medians."""
    theirs, ours = list[float](), list[float]()
    for _ in range(times):
        began = time.process_time()
        encode_spans([span for _ in range(TURNS_OF_ONE_REQUEST) for span in by_the_sdk(turn)]).SerializeToString()
        middle = time.process_time()
        otlp.encode((), [span for _ in range(TURNS_OF_ONE_REQUEST) for span in by_us(turn)])
        theirs.append((middle - began) / TURNS_OF_ONE_REQUEST * 1e6)
        ours.append((time.process_time() - middle) / TURNS_OF_ONE_REQUEST * 1e6)
    return median(theirs), median(ours)


def newest_turn(collector: Endpoint) -> list[Told]:
    spans = collector.spans
    return [span for span in spans if span.trace_id == spans[-1].trace_id]


# ── the question ────────────────────────────────────────────────────────────────────


async def measure(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(endpoint())
        found = await stack.enter_async_context(site(0, 0, 0))
        numbers = iter(range(1_000_000))
        machine_is = machine.facts()

        async def both(tokens: int, rate: float) -> dict[str, tuple[int, int]]:
            port = free_port()
            model = python("tests.bench.tokens", str(port), str(tokens), str(rate))
            stack.enter_context(server("model", model, f"127.0.0.1:{port}"))
            url = f"http://127.0.0.1:{port}/v1"
            return {
                name: await stack.enter_async_context(gateway(found, url, traces))
                for name, traces in ((ON, collector.url), (OFF, ""))
            }

        if "turns" in options.what:
            short = await both(options.tokens, options.rate)
            turns: dict[str, Callable[[], Awaitable[Round]]] = {
                name: lambda port=port, pid=pid: talked(  # type: ignore[misc]
                    port, pid, options.talkers, options.turns, lambda: f"t{next(numbers)}"
                )
                for name, (port, pid) in short.items()
            }
            rounds = await interleaved(turns, options.rounds)
            turn = newest_turn(collector)
            sdk, ours = beside_the_sdk(turn)
            notes = [
                f"{options.talkers} sockets, {options.turns} turns each, {options.tokens} tokens an answer; the goal is {GOAL_TURN}×",
                f"a turn is {len(turn)} spans; made and encoded by the SDK they take {sdk:.0f} µs, by ours {ours:.0f} µs",
                f"{len(collector.bodies)} requests came to the endpoint, {sum(map(len, collector.bodies)) >> 10} KiB",
            ]
            report(compare("telemetry_turn", rounds, ours=ON, machine=machine_is, notes=notes))
        if "tokens" in options.what:
            long = await both(round(options.seconds * options.frame_rate), options.frame_rate)
            frames: dict[str, Callable[[], Awaitable[Round]]] = {
                name: lambda port=port, pid=pid: streamed(  # type: ignore[misc]
                    port, {pid}, options.streams, options.seconds, lambda window, _: Socket(window, f"f{next(numbers)}")
                )
                for name, (port, pid) in long.items()
            }
            rounds = await interleaved(frames, options.rounds)
            notes = [f"{options.streams} streams of {options.frame_rate:g} tokens a second; the goal is {GOAL_FRAME}×"]
            report(compare("telemetry_frame", rounds, ours=ON, machine=machine_is, notes=notes))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--what", nargs="+", choices=["turns", "tokens"], default=["turns", "tokens"])
    parser.add_argument("--talkers", type=int, default=16)
    parser.add_argument("--turns", type=int, default=40, help="of each talker")
    parser.add_argument("--tokens", type=int, default=24, help="of an answer")
    parser.add_argument("--rate", type=float, default=400.0, help="tokens a second of an answer")
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--frame-rate", type=float, default=20.0, help="tokens a second of a stream")
    parser.add_argument("--seconds", type=float, default=8.0, help="that a stream lasts, of which the middle counts")
    options = parser.parse_args(arguments)
    print(f"{options.rounds} rounds of two arms, for turns and for tokens", file=sys.stderr)
    await asyncio.to_thread(lambda: uvloop.run(measure(options)))
