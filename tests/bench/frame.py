"""What the gateway adds to every streamed token, beside nginx as a plain reverse proxy of the same model.

A model says when it sent each token. Ours: a socket with a session, whose turn streams that model: the
token is read from the provider's stream, becomes an event of the session, and is sent to whoever listens. Peer: nginx
passes the model's own stream through, unbuffered. Beside them the model without anything between: what an arm adds is its
percentile less that one's of the same round. CPU is the gateway's process alone (and nginx's), within the middle of the
streams: what a turn costs at its beginning and end is in `first_frame`.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Any

import uvloop
from tests.bench import machine
from tests.bench.harness import Round, compare, percentile
from tests.bench.herd_gateway import ROLE, TENANTS, client_key
from tests.bench.lean import Lean, head, text
from tests.bench.proxies import plain_proxy
from tests.bench.resume import site, until_open
from tests.bench.rounds import interleaved, report
from tests.bench.servers import LOAD_CORE, SERVER_CORE, on_core, python, server
from tests.bench.tokens import TOKEN
from tests.support.ports import free_port

OURS, DIRECT = "gateway", "the model itself"
STREAMS = (1, 200)
EDGE_SECONDS = 3.0
"""At both ends of the streams that do not count."""
PATIENCE_SECONDS = 60.0


class Window:
    """What came in the middle of a round."""

    def __init__(self, streams: int, seconds: float) -> None:
        self.latencies: list[float] = []
        self.over = asyncio.Event()
        self._left = streams
        began = time.monotonic()
        self._from, self._to = began + EDGE_SECONDS, began + seconds - EDGE_SECONDS
        self.broken = 0

    def came(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._from <= now / 1e9 <= self._to:
            self.latencies += [(now - int(sent, 16)) / 1e6 for sent in TOKEN.findall(data)]

    def ended(self, *, broken: bool = False) -> None:
        self._left -= 1
        self.broken += broken
        if not self._left:
            self.over.set()

    async def cost(self, pids: set[int]) -> float:
        """CPU of these processes from the window's beginning to its end."""
        await asyncio.sleep(self._from - time.monotonic())
        before = machine.cpu_us(pids)
        await asyncio.sleep(self._to - time.monotonic())
        return machine.cpu_us(pids) - before


class Socket(Lean):
    """Ours: a session that says one thing and hears the answer."""

    def __init__(self, window: Window, session: str) -> None:
        super().__init__()
        self._window, self._session, self._done = window, session, False

    def request(self) -> bytes:
        key = client_key(TENANTS[0])
        return head(f"/role/{ROLE}?session_id={self._session}", f"Authorization: Bearer {key}")

    def opened(self) -> None:
        assert self.transport is not None
        self.transport.write(text(json.dumps({"message": "go on"}).encode()))

    def told(self, body: bytes) -> None:
        if b'"response.output_text.delta"' in body:
            self._window.came(body)
        elif b'"done":true' in body or b'"error"' in body:
            self._end(broken=b'"status":"completed"' not in body)

    def refused(self) -> None:
        self._end(broken=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(broken=True)

    def _end(self, *, broken: bool) -> None:
        if not self._done:
            self._done = True
            self._window.ended(broken=broken)
            if self.transport is not None:
                self.transport.close()


class Stream(asyncio.Protocol):
    """The model's own stream, whoever passes it on."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._whole = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: m\r\nContent-Length: 2\r\n\r\n{}")

    def data_received(self, data: bytes) -> None:
        self._window.came(data)
        if b"[DONE]" in data:
            self._whole = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._window.ended(broken=not self._whole)


async def streamed(
    port: int, pids: set[int], streams: int, seconds: float, make: Callable[[Window, int], asyncio.Protocol]
) -> Round:
    """One round of one arm: streams begin one after the other within the first moments."""
    window, loop = Window(streams, seconds), asyncio.get_running_loop()
    cost = asyncio.create_task(window.cost(pids))
    for number in range(streams):
        await loop.create_connection(lambda number=number: make(window, number), "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.sleep(EDGE_SECONDS / 2 / streams)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await window.over.wait()
    return Round(
        units=len(window.latencies), latencies_ms=tuple(window.latencies), cpu_us=await cost, failures=window.broken
    )


@asynccontextmanager
async def gateway(model_port: int) -> AsyncIterator[tuple[int, int]]:
    """A gateway of the cluster's kind on that model, with a Redis and a pod as a process: its port, and its process."""
    port = free_port()
    async with site(0, 0, 0) as found:
        [process] = await found.gateways("a", (port,), f"http://127.0.0.1:{model_port}/v1")
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


def rows(rounds: dict[str, list[Round]], peer: str) -> list[dict[str, Any]]:
    """What each arm added over the model itself, round by round."""
    found = []
    for number, direct in enumerate(rounds[DIRECT]):
        for arm in (OURS, peer):
            one = rounds[arm][number]
            added = {
                f"added_p{percent}_ms": round(
                    percentile(one.latencies_ms, percent) - percentile(direct.latencies_ms, percent), 4
                )
                for percent in (50, 99)
            }
            found.append({"arm": arm, "round": number + 1, **added})
    return found


def added(found: list[dict[str, Any]], arm: str) -> str:
    middle = [median(row[name] for row in found if row["arm"] == arm) for name in ("added_p50_ms", "added_p99_ms")]
    return f"{arm} adds {middle[0]:.2f} ms at the median and {middle[1]:.2f} ms at the 99th percentile"


async def measure(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        model_port, seconds = free_port(), options.seconds
        model = python("tests.bench.tokens", str(model_port), str(round(seconds * options.rate)), str(options.rate))
        stack.enter_context(server("model", model, f"127.0.0.1:{model_port}"))
        port, pid = await stack.enter_async_context(gateway(model_port))
        peer, proxy_port, proxy_pids = stack.enter_context(plain_proxy(model_port))
        word = iter(range(1_000_000))
        for streams in options.streams:
            arms: dict[str, Callable[[], Awaitable[Round]]] = {
                OURS: lambda n=streams: streamed(  # type: ignore[misc]
                    port, {pid}, n, seconds, lambda window, _: Socket(window, f"f{next(word)}")
                ),
                peer: lambda n=streams: streamed(proxy_port, proxy_pids, n, seconds, lambda window, _: Stream(window)),  # type: ignore[misc]
                DIRECT: lambda n=streams: streamed(model_port, set(), n, seconds, lambda window, _: Stream(window)),  # type: ignore[misc]
            }
            rounds = await interleaved(arms, options.rounds)
            found = rows(rounds, peer)
            notes = [
                f"{streams} stream(s) of {options.rate:g} tokens a second, each its own session (ours) or request",
                added(found, OURS),
                added(found, peer),
                f"the goal is CPU per frame, and what is added at the median, of at most that of {peer}",
                "no TLS in either arm; gateway and proxy on one core, model, clients, Redis and the pod on the other",
            ]
            name = f"frame_{streams}"
            report(compare(name, rounds, ours=OURS, machine=machine.facts(), notes=notes, rows=found))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="frame", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a stream lasts, of which the middle counts")
    parser.add_argument("--rate", type=float, default=20.0, help="tokens a second of a stream")
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    options = parser.parse_args(arguments)
    print(f"{options.rounds} rounds of {options.seconds:g} s, three arms in turn, for each count", file=sys.stderr)
    await asyncio.to_thread(lambda: uvloop.run(measure(options)))
