"""From asking for another Role to its session being open, on a warm gateway.

Ours: `session.switch` on the open socket, to the session.created of a session that this socket had not opened before.
Peer: close the socket, connect to the other Role's address, to the same event. Beside them: switching back to a session
that the socket holds already, to session.switched. Three sockets that do the same by turns, one thing at a time.
`rolehost dev`: no key, so the handshake's check of one is not in the peer's time.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.bench import machine
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report
from tests.bench.servers import START_SECONDS, python, server
from tests.support.ports import free_port
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

OURS, PEER, BACK = "session.switch", "close and reconnect", "session.switch back"
ROLES = ("storyteller", "cat")
GOAL_P99_MS = 20
ROLE_V1 = [Subprotocol("role.v1")]


@dataclass(frozen=True)
class Dev:
    url: str
    pids: Callable[[], set[int]]


@contextmanager
def dev() -> Iterator[Dev]:
    """`rolehost dev` with two Roles and a model that answers at once."""
    port, model_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as data:
        argv = python("rolehost.cli", "dev", *(f"examples/{role}" for role in ROLES))
        argv += ["--port", str(port), "--data", data, "--model", f"instant@http://127.0.0.1:{model_port}/v1"]
        with (
            server("model", python("tests.bench.model", str(model_port)), f"127.0.0.1:{model_port}"),
            server("rolehost dev", argv, f"http://127.0.0.1:{port}/readyz") as pid,
        ):
            _wait_ready(f"http://127.0.0.1:{port}/v1/roles")
            yield Dev(f"ws://127.0.0.1:{port}/role", lambda: machine.family(pid))


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=5) as answer:
            roles = json.load(answer)["roles"]
        if len(roles) == len(ROLES) and all(role["ready"] for role in roles):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the Roles are not ready: {roles}")


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next event of this kind; an error ends the measurement."""
    while True:
        event: dict[str, Any] = json.loads(await socket.recv())
        if event["type"] == kind:
            return event
        if event["type"] == "error":
            raise RuntimeError(f"the gateway said {event['error']}")


def opened(url: str, role: str, session: str = "") -> connect:
    query = f"?session_id={session}" if session else ""
    return connect(f"{url}/{role}{query}", subprotocols=ROLE_V1, compression=None, proxy=None)


def fresh() -> str:
    return f"bench-{uuid.uuid4().hex}"


async def switch(socket: ClientConnection, role: str, session: str, awaited: str) -> None:
    await socket.send(json.dumps({"type": "session.switch", "role": role, "session_id": session}))
    await until(socket, awaited)


async def said(socket: ClientConnection, session: str) -> None:
    await socket.send(json.dumps({"message": "hello", "session_id": session}))
    await until(socket, "response.done")


async def timed(dev: Dev, count: int, one: Callable[[int], Awaitable[None]]) -> Round:
    pids = dev.pids()
    cpu = machine.cpu_us(pids)
    took = []
    for number in range(count):
        began = time.perf_counter()
        await one(number)
        took.append((time.perf_counter() - began) * 1000)
    return Round(units=count, latencies_ms=tuple(took), cpu_us=machine.cpu_us(pids) - cpu)


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="role_switch", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--switches", type=int, default=300, help="of one round of one arm")
    options = parser.parse_args(arguments)
    async with AsyncExitStack() as stack:
        running = stack.enter_context(dev())
        first = await stack.enter_async_context(opened(running.url, ROLES[0]))
        back = await stack.enter_async_context(opened(running.url, ROLES[0]))
        kept = fresh()
        for role in ROLES:  # warm: each Role has answered
            await switch(back, role, kept, "session.switched")
            await said(back, kept)
        held = [await opened(running.url, ROLES[0], fresh())]
        stack.push_async_callback(lambda: held[0].close())
        await until(held[0], "session.created")

        async def ours(number: int) -> None:
            await switch(first, ROLES[(number + 1) % 2], fresh(), "session.created")

        async def reconnect(number: int) -> None:
            await held[0].close()
            held[0] = await opened(running.url, ROLES[(number + 1) % 2], fresh())
            await until(held[0], "session.created")

        async def switch_back(number: int) -> None:
            await switch(back, ROLES[number % 2], kept, "session.switched")

        arms = {
            OURS: lambda: timed(running, options.switches, ours),
            PEER: lambda: timed(running, options.switches, reconnect),
            BACK: lambda: timed(running, options.switches, switch_back),
        }
        print(f"{options.rounds} rounds of {options.switches} switches, three arms in turn", file=sys.stderr)
        rounds = await interleaved(arms, options.rounds)
    notes = [
        f"the goal is a p99 of {GOAL_P99_MS} ms, warm",
        "`rolehost dev` on this machine: no network, no TLS, no key; a reconnect over a real network pays for each",
        "to session.created of a session without a past; a session with one is read from Redis in both arms",
    ]
    report(compare("role_switch", rounds, ours=OURS, machine=machine.facts(), notes=notes))
