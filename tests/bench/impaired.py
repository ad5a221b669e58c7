"""What a client hears of an urgent change, and how soon each end notices that the other is gone, over a bad network.

The network is tests/net/impair.py: 80 ms there and back, real packets lost by a seed. At its far end run a whole
gateway (its pod and its store in the same process) and the peer, a server of the `websockets` library as it comes:
pings every 20 s, dead after 20 more. At the near end one client holds a socket and a watcher of the same session, and
a socket to the peer. A change is made at the far end; its time is when it was told there, by the machine's one clock.

    python -m tests.bench impaired [--changes N] [--seed N]
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.bench import machine
from tests.bench.harness import percentile
from tests.bench.rounds import RESULTS
from tests.net.impair import FAR, Impaired, available
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

KEY = "rh_1_acme"
PORT, GRPC, PEER = 8080, 8084, 8090
LOSSES = (0.0, 0.01, 0.02, 0.05)
DELAY_MS = 40
KEEPALIVE = [
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.max_pings_without_data", 0),
]
"""Of the watcher's client: without it a client of gRPC never learns that its connection is dead."""
PAUSE = 0.2
"""Seconds between two changes: each is its own small packet, as an urgent one is."""
PATIENCE = 60.0


def say(**what: Any) -> None:
    print(json.dumps({"at": time.monotonic()} | what), flush=True)


# ── the far end ─────────────────────────────────────────────────────────────────────


async def gateway() -> None:
    """A gateway; a line when it serves, and whenever the number of its sockets changes."""
    from tests.support.rooms import ACME, FakePod, PodDialer, Shelves, pod_entry, put, world

    from rolehost_api.crd.modelbackend import BackendType
    from rolehost_api.identity import key_hash
    from rolehost_api.link.messages import Commit, PatchOp, Say, StartTurn
    from rolehost_runtime.gateway.app import Adapters, Gateway, Options
    from rolehost_runtime.gateway.broker.models.router import Models
    from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
    from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
    from rolehost_runtime.gateway.edge.auth import KeyAuth
    from rolehost_runtime.gateway.tables import KeyEntry, Scope

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="ok"))
        pod.send(channel, Commit(patch=(PatchOp("add", "/turns", start.turn),), urgent=start.message == "urgent"))

    async def yes() -> bool:
        return True

    tables, dialer = world(ACME), PodDialer()
    dialer.add("p1", turn=turn)
    put(tables, pod_entry("p1"))
    key = KeyEntry("1", key_hash(KEY), ACME, frozenset({Scope.CHAT}))
    tables.keys.put((key.sha256,), key)
    adapters = Adapters(
        tables=tables, dialer=dialer, bundles=Shelves(), store=MemorySessionStore(),
        models=Models({BackendType.SCRIPTED: ScriptedProvider()}), auth=KeyAuth(tables.keys),
        signing_key=dialer.key, store_answers=yes,
    )  # fmt: skip
    running = Gateway(Options(host="0.0.0.0", port=PORT, grpc_port=GRPC), adapters)
    await running.start()
    say(serves="gateway")
    before = 0
    while True:
        if (now := running._hub.connections) != before:
            before = now
            say(connections=now)
        await asyncio.sleep(0.005)


async def peer() -> None:
    """The peer: whatever one client says, all hear."""
    everybody: set[ServerConnection] = set()

    async def attend(socket: ServerConnection) -> None:
        everybody.add(socket)
        say(connections=len(everybody))
        try:
            async for message in socket:
                for one in everybody - {socket}:
                    await one.send(message)
                await socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            everybody.discard(socket)
            say(connections=len(everybody))

    async with serve(attend, "0.0.0.0", PEER, compression=None) as server:
        say(serves="peer")
        await server.serve_forever()


async def changes(count: int, message: str) -> None:
    """Make changes, and tell when each was told at this end."""
    async with (
        socket_of("127.0.0.1") as ours,
        connect(f"ws://127.0.0.1:{PEER}", compression=None, proxy=None) as theirs,
    ):
        for _ in range(count):
            await ours.send(json.dumps({"message": message, "session_id": "s"}))
            told = await until(ours, "role.state.delta")
            say(told=told["version"])
            await until(ours, "response.done")
            await theirs.send(json.dumps({"version": told["version"]}))
            say(peer_told=told["version"])
            await theirs.recv()
            await asyncio.sleep(PAUSE)


# ── the near end ────────────────────────────────────────────────────────────────────


def socket_of(host: str) -> Any:
    return connect(
        f"ws://{host}:{PORT}/role/cat?session_id=s", compression=None, proxy=None, open_timeout=PATIENCE,
        additional_headers={"Authorization": f"Bearer {KEY}"}, subprotocols=[Subprotocol("role.v1")],
        ping_interval=None,
    )  # fmt: skip


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    async for text in socket:
        event: dict[str, Any] = json.loads(text)
        if event["type"] == kind:
            return event
    raise ConnectionError("the socket closed")


async def client() -> None:
    """Tells when each version came, over which channel; and what it was told of its channels."""
    from tests.support.rpc import client as grpc_client

    async def hear() -> None:
        async with socket_of(FAR) as socket:
            polling: asyncio.Task[None] | None = None
            async for text in socket:
                event = json.loads(text)
                if event["type"] == "role.state.delta":
                    say(version=event["version"], by="socket")
                elif event["type"] in ("channel.urgent", "channel.degraded"):
                    say(event=event)
                    if event.get("mode") == "ws+poll":
                        polling = asyncio.create_task(poll(event["poll"], event["poll_ms"]))
                    elif event.get("mode") == "normal" and polling is not None:
                        polling.cancel()
                elif event["type"] == "session.created":
                    say(ready="socket")

    async def watch() -> None:
        async with grpc_client(f"{FAR}:{GRPC}", KEY, KEEPALIVE) as one:
            while True:
                call = one.watch("s")
                try:
                    while (update := await call.read()) and hasattr(update, "version"):
                        say(version=update.version, by="watcher")
                except Exception as error:
                    say(watcher_lost=type(error).__name__)
                await asyncio.sleep(0.2)

    async def other() -> None:
        async with connect(f"ws://{FAR}:{PEER}", compression=None, proxy=None, open_timeout=PATIENCE) as socket:
            say(ready="peer")
            async for text in socket:
                say(version=json.loads(text)["version"], by="peer")

    await asyncio.gather(hear(), watch(), other())


async def poll(path: str, poll_ms: int) -> None:
    """As the client library does: the state by its version, one question after the other."""
    where, _, after = path.rpartition("=")
    version = int(after)
    while True:
        reader, writer = await asyncio.open_connection(FAR, PORT)
        head = f"GET {where}={version} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.read()
        writer.close()
        if b" 200 " in answer[:16]:
            version = json.loads(answer.partition(b"\r\n\r\n")[2])["version"]
            say(version=version, by="poll")
        await asyncio.sleep(poll_ms / 1000)


# ── the measurement ─────────────────────────────────────────────────────────────────


class Said:
    """A process' lines, with their times."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process, self.lines = process, list[dict[str, Any]]()
        self._reading = asyncio.get_running_loop().run_in_executor(None, self._read)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    async def line(self, after: float = 0.0, **like: Any) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE + 60):
            while True:
                for line in tuple(self.lines):
                    if line["at"] >= after and like.items() <= {**line, **line.get("event", {})}.items():
                        return line
                await asyncio.sleep(0.01)

    def times(self, after: float, by: str) -> dict[int, float]:
        """When each version came first."""
        found: dict[int, float] = {}
        for line in self.lines:
            if line["at"] >= after and line.get("by") == by:
                found.setdefault(line["version"], line["at"])
        return found


@asynccontextmanager
async def world(link: Impaired) -> AsyncIterator[tuple[Said, Said]]:
    """A gateway and the peer, which serve."""

    def run(name: str) -> Said:
        return Said(link.far([sys.executable, "-m", __name__, name], stdout=subprocess.PIPE, text=True))

    served, other = run("gateway"), run("peer")
    await served.line(serves="gateway")
    await other.line(serves="peer")
    yield served, other


async def arrivals(link: Impaired, near: Said, count: int, message: str = "urgent") -> dict[str, list[float]]:
    """Milliseconds from a change to its arrival."""
    since = time.monotonic()
    made = Said(
        link.far([sys.executable, "-m", __name__, "changes", str(count), message], stdout=subprocess.PIPE, text=True)
    )
    await asyncio.get_running_loop().run_in_executor(None, made.process.wait)
    await asyncio.sleep(3)
    told = {line["told"]: line["at"] for line in made.lines if "told" in line}
    theirs = {line["peer_told"]: line["at"] for line in made.lines if "peer_told" in line}
    polled = sorted(near.times(since, "poll").items())
    by = {name: near.times(since, name) for name in ("socket", "watcher", "peer")}
    # A poll brings the newest version only: a change is known with the first that is as new.
    by["poll"] = {version: next((at for newer, at in polled if newer >= version), 0.0) for version in told}
    by["poll"] = {version: at for version, at in by["poll"].items() if at}
    found: dict[str, list[float]] = {
        name: [1000 * (by[name][version] - at) for version, at in told.items() if version in by[name]]
        for name in ("socket", "watcher", "poll")
    }
    found["dual"] = [
        1000 * (min(by[name][version] for name in ("socket", "watcher") if version in by[name]) - at)
        for version, at in told.items()
        if version in by["socket"] or version in by["watcher"]
    ]
    found["peer"] = [1000 * (by["peer"][version] - at) for version, at in theirs.items() if version in by["peer"]]
    return found


def shown(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    p50, p90, p99 = (round(percentile(sorted(values), percent), 1) for percent in (50, 90, 99))
    return {"n": len(values), "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": round(max(values), 1)}


async def measure(count: int, seed: int) -> dict[str, Any]:
    result: dict[str, Any] = {"rtt_ms": 2 * DELAY_MS, "seed": seed, "urgent": {}}
    with Impaired(seed) as link:
        link.set(delay_ms=DELAY_MS)
        async with world(link) as (served, other):
            # a session that is watched exists: its first turn is said before
            first = link.far([sys.executable, "-m", __name__, "changes", "1", "first"], stdout=subprocess.DEVNULL)
            await asyncio.get_running_loop().run_in_executor(None, first.wait)
            near = Said(link.near([sys.executable, "-m", __name__, "client"], stdout=subprocess.PIPE, text=True))
            for who in ("socket", "peer"):
                await near.line(ready=who)
            await near.line(by="watcher")
            for loss in LOSSES:
                link.set(delay_ms=DELAY_MS, loss=loss)
                found = await arrivals(link, near, count)
                result["urgent"][f"{100 * loss:g} %"] = {
                    name: shown(found[name]) for name in ("peer", "socket", "watcher", "dual")
                }
                print(f"loss {100 * loss:g} %", json.dumps(result["urgent"][f"{100 * loss:g} %"]), file=sys.stderr)
            await asyncio.sleep(11)  # quiet again

            link.set(delay_ms=DELAY_MS, block=GRPC)
            since = time.monotonic()
            degraded = await near.line(since, mode="ws+poll")
            result["noticed_lost_watcher_ms"] = round(1000 * (degraded["at"] - since))
            fresh = await arrivals(link, near, count, "calm")
            result["freshness_while_degraded"] = {name: shown(fresh[name]) for name in ("socket", "poll")}
            link.set(delay_ms=DELAY_MS)
            since = time.monotonic()
            back = await near.line(since, mode="normal")
            result["back_to_normal_ms"] = round(1000 * (back["at"] - since))

            await asyncio.sleep(1)
            ours = [line["connections"] for line in served.lines if "connections" in line][-1]
            link.hole(True)
            since = time.monotonic()
            for _ in range(ours):  # the watcher's connection, then the socket
                gone = await served.line(since, connections=0)
            result["half_open_freed_ms"] = round(1000 * (gone["at"] - since))
            gone = await other.line(since, connections=0)
            result["half_open_freed_by_peer_ms"] = round(1000 * (gone["at"] - since))
    return result


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench impaired")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    if why := available():
        sys.exit(f"not measured: {why}")
    result = {"machine": machine.facts()} | await measure(options.changes, options.seed)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "impaired.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    ends = {"gateway": gateway, "peer": peer, "client": client}
    if sys.argv[1] == "changes":
        asyncio.run(changes(int(sys.argv[2]), sys.argv[3]))
    else:
        asyncio.run(ends[sys.argv[1]]())
