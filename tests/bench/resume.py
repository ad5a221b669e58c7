"""All come back at once: their gateway is killed, and each has missed something.

So many clients, each with a session of some turns in a Redis of its own, lose their gateway by SIGKILL in one instant. Timed
is from the loss that a client sees until the events that it missed are complete and its session is live again, refusals and
tries that failed included. `at once`: a second gateway is there, and everybody comes in the same instant. `jitter`: the same,
but each waits first for a random part of the seconds that it was told; its wait is taken off. `restarted`: there is one
gateway, which is started again at once. Peer: a bare `websockets` server that reads the same Redis by redis.asyncio, which dies
with a second one there. Afterwards some say a word more: what their state counts, and how their events are numbered, shows
that no turn was lost or doubled. Clients are two processes on the same two cores.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.bench import machine
from tests.bench.harness import Round, compare, percentile
from tests.bench.herd_gateway import ROLE, TENANTS, client_key, revision_of
from tests.bench.memory import resident_kib
from tests.bench.rounds import report
from tests.bench.servers import python
from tests.support.identities import make_identity, mount_keys
from tests.support.keypair import Pair
from tests.support.pod import descendants
from tests.support.ports import free_ports
from tests.support.redis import RedisServer, running
from tests.support.rooms import ACME

from rolehost_api.errors import Unavailable
from rolehost_api.identity import service_principal, session_key
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.record import TurnRecord, event_count
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

AT_ONCE, JITTER, RESTARTED, PEER = "at once", "jitter", "restarted", "bare websockets, at once"
PROCESSES = 2
GOAL_MS, GOAL_JITTER_MS = 5000, 1000
PATIENCE_SECONDS = 90.0
SPEAKERS = 40
SETTLE_SECONDS, IDLE_SECONDS = 1.0, 2.0
SEED_AT_A_TIME, SEED_TRIES = 64, 5
PATCH = (PatchOp("incr", "/turns", 1),)
R = TypeVar("R")


# ── what they have said ─────────────────────────────────────────────────────────────


async def seed(url: str, word: str, people: int, turns: int) -> None:
    """The sessions' logs, written as a gateway writes them."""
    store = RedisSessionStore.connect(url, owner="seed")
    revisions = [revision_of(tenant).name for tenant in TENANTS]
    gate = asyncio.Semaphore(SEED_AT_A_TIME)

    async def one(number: int) -> None:
        tenant = TENANTS[number % len(TENANTS)]
        key = session_key(tenant.uid, ROLE, service_principal(tenant.uid), f"{word}{number}")
        async with gate:
            head, _ = await patiently(lambda: store.open(key))
            for turn in range(1, turns + 1):
                record = TurnRecord(
                    log_id=head.log_id,
                    epoch=head.epoch,
                    turn=turn,
                    seq_first=(turn - 1) * EVENTS + 1,
                    seq_count=EVENTS,
                    version=turn,
                    now_ms=machine_ms(),
                    at_ms=machine_ms(),
                    revision=revisions[number % len(TENANTS)],
                    response_id=f"r{turn:016x}",
                    input=f"And what did the dragon do on day {turn}?",
                    reply=f"On day {turn} it sat on the roof and watched the rain, as it had on the day before. #{turn}",
                    client_msg_id=f"m{number}-{turn}",
                    patch=PATCH,
                )
                await patiently(lambda record=record: store.commit(key, record))  # type: ignore[misc]

    try:
        await asyncio.gather(*(one(number) for number in range(people)))
    finally:
        await store.close()


async def patiently(ask: Callable[[], Awaitable[R]]) -> R:
    """A machine that is busy may not sync within the store's deadline; the same record again is accepted."""
    for _ in range(SEED_TRIES):
        with suppress(Unavailable):
            return await ask()
    return await ask()


EVENTS = event_count(PATCH)


def machine_ms() -> int:
    return time.time_ns() // 1_000_000


# ── the processes ───────────────────────────────────────────────────────────────────


class Process:
    """One that takes orders by lines, or only runs."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self._argv, self._environment = argv, {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._argv[2]} died while it was asked to {order['do']}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process.returncode is None:
            for pid in (*descendants(self.pid), self.pid):
                os.kill(pid, how)
            await self._process.wait()


@dataclass
class Site:
    """Where it all happens: a Redis with everybody's log, and a pod for those who speak."""

    redis: RedisServer
    folder: Path
    key: str
    pods: dict[str, str]
    word: str
    people: int
    turns: int
    missed: int

    @property
    def end(self) -> int:
        """The number of a log's last event."""
        return self.turns * EVENTS

    async def gateways(self, names: str, ports: Sequence[int], model: str = "", traces: str = "") -> list[Process]:
        """Not started yet; they know each other where there are several. `traces`: where they send those."""
        found = free_ports(len(names))
        peers = {name: f"127.0.0.1:{port}" for name, port in zip(names, found, strict=True)}
        told: dict[str, Any] = {"redis": self.redis.url, "key": self.key, "pods": self.pods, "peers": peers}
        told |= {"identity": str(self.folder / "platform"), "model": model, "traces": traces}
        return [
            Process(python("tests.bench.herd_gateway", json.dumps({**told, "name": name, "port": port})))
            for name, port in zip(names, ports, strict=True)
        ]


@asynccontextmanager
async def site(people: int, turns: int, missed: int) -> AsyncIterator[Site]:
    with running() as redis, tempfile.TemporaryDirectory(prefix="rh-resume-") as name:
        folder, key = Path(name), Ed25519PrivateKey.generate()
        identity = Pair(folder / "platform", "platform")
        (folder / "platform" / "trusted").mkdir()
        (folder / "platform" / "trusted" / "platform.pem").write_bytes(identity.pem)
        port, health = free_ports(2)
        agent = Process(
            python("rolehost_runtime.sandbox", "--listen", f"127.0.0.1:{port}", "--health", f"127.0.0.1:{health}"),
            {
                "ROLEHOST_POD_UID": "p1",
                "ROLEHOST_PLATFORM_KEYS_DIR": str(mount_keys(folder / "keys", [key.public_key()])),
                "ROLEHOST_IDENTITY_DIR": str(make_identity(folder / "p1-identity", ACME.uid, "p1")),
                "ROLEHOST_SCRATCH": str(folder / "p1-logic"),
            },
        )
        await agent.start()
        try:
            pods = {"p1": f"127.0.0.1:{port}"}
            yield Site(redis, folder, key.private_bytes_raw().hex(), pods, "", people, turns, missed)
        finally:
            await agent.end()


async def until_open(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on {port}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


# ── one time ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Came:
    """One time that everybody came back."""

    took_ms: tuple[float, ...]
    """Beyond the wait that each had been told."""
    row: dict[str, Any]
    cpu_us: float

    def round(self) -> Round:
        failed = int(self.row["lost"] + self.row["doubled"] + self.row["skipped"] + self.row["gaps"])
        return Round(units=len(self.took_ms), latencies_ms=self.took_ms, cpu_us=self.cpu_us, failures=failed)


async def herds(found: Site, roles: list[list[str]]) -> list[Process]:
    each, made = found.people // PROCESSES, []
    for number in range(PROCESSES):
        first = number * each
        count = each if number + 1 < PROCESSES else found.people - first
        told = {"key": found.word, "roles": roles, "first": first, "count": count, "after_seq": found.end}
        made.append(Process(python("tests.bench.herd", json.dumps(told))))
    return made


async def once(found: Site, arm: str, jitter: float) -> Came:
    """Everybody comes to the first server, loses it, and comes back to what is there then."""
    ours = arm != PEER
    found.word = f"w{machine_ms()}-"
    await seed(found.redis.url, found.word, found.people, found.turns)
    first, second = free_ports(2)
    if not ours:
        servers = [Process(python("tests.bench.herd_peer", str(port), found.redis.url)) for port in (first, second)]
        roles = [["none", f"/{tenant.uid}"] for tenant in TENANTS]
    else:
        names, ports = ("a", (first,)) if arm == RESTARTED else ("ab", (first, second))
        servers = await found.gateways(names, ports)
        roles = [[client_key(tenant), f"/role/{ROLE}"] for tenant in TENANTS]
    people = await herds(found, roles)
    everything = [*servers, *people]
    try:
        for process in everything:
            await process.start()
        for port in (first, second)[: len(servers)]:
            await until_open(port)
        came = await asyncio.gather(
            *(one.ask(do="come", port=first, rate=400 / PROCESSES, seconds=PATIENCE_SECONDS) for one in people)
        )
        if sum(one["here"] for one in came) != found.people:
            raise RuntimeError(f"not everybody could come in the first place: {came}")
        await asyncio.sleep(SETTLE_SECONDS)
        return await _lose(found, arm, servers, people, (first, second), jitter if arm == JITTER else 0.0)
    finally:
        for process in everything:
            await process.end()


async def _lose(
    found: Site, arm: str, servers: list[Process], people: list[Process], ports: tuple[int, int], jitter: float
) -> Came:
    after = found.end - found.missed * EVENTS
    port = ports[0] if arm == RESTARTED else ports[1]
    for number, one in enumerate(people):
        await one.ask(do="lose", port=port, jitter=jitter, after_seq=after, seed=number)
    heir = servers[-1]
    clients = {one.pid for one in people}
    before, theirs = 0.0 if arm == RESTARTED else machine.cpu_us({heir.pid}), machine.cpu_us(clients)
    began = time.monotonic()
    await servers[0].end()
    if arm == RESTARTED:
        await heir.start()
    listening = asyncio.create_task(_since(began, port))
    back = await asyncio.gather(*(one.ask(do="back", seconds=PATIENCE_SECONDS) for one in people))
    everybody = time.monotonic() - began
    spent, theirs = machine.cpu_us({heir.pid}) - before, machine.cpu_us(clients) - theirs
    await asyncio.sleep(SETTLE_SECONDS)
    calm = machine.cpu_us({heir.pid})
    await asyncio.sleep(IDLE_SECONDS)
    idle = (machine.cpu_us({heir.pid}) - calm) / (IDLE_SECONDS * 1e6)
    took, waits = [t for one in back for t in one["took_ms"]], [d for one in back for d in one["delay_ms"]]
    beyond = tuple(t - d for t, d in zip(took, waits, strict=True))
    row: dict[str, Any] = {name: sum(one[name] for one in back) for name in ("lost", "doubled", "skipped", "gaps")}
    row |= {name: sum(one[name] for one in back) for name in ("tries", "refused")}
    row |= {
        "arm": arm,
        "clients": found.people,
        "jitter_s": jitter,
        "p50_ms": percentile(beyond, 50),
        "p99_ms": percentile(beyond, 99),
        "max_ms": max(beyond),
        "listens_after_s": round(await listening, 2),
        "all_back_s": round(everybody, 2),
        "cpu_us_per_client": round(spent / found.people),
        "cpu_us_of_a_client_itself": round(theirs / found.people),
        "cpu_share_afterwards": round(idle, 3),
        "rss_kib": resident_kib(heir.pid),
        "peak_rss_kib": peak_kib(heir.pid),
    }
    if arm != PEER:
        row["said_afterwards"], row["said_wrong"] = await speak(found, people[0])
    print(json.dumps(row), file=sys.stderr)
    return Came(beyond, row, spent)


async def _since(began: float, port: int) -> float:
    """Seconds until somebody listens there."""
    await until_open(port)
    return time.monotonic() - began


async def speak(found: Site, people: Process) -> tuple[int, int]:
    """Some say a word more: the answer's number is the count of turns in their state."""
    told = await people.ask(do="say", count=SPEAKERS, message="And today?")
    wrong = sum(not said.endswith(f"#{found.turns + 1}") for said in told["said"])
    return len(told["said"]), wrong + told["wrong"]


def peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="resume", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=10, help="of each session's log")
    parser.add_argument("--missed", type=int, default=2, help="turns that each has not heard of when it comes back")
    parser.add_argument("--jitter", type=float, default=5.0, help="seconds over which clients of that arm spread")
    parser.add_argument("--arms", nargs="+", choices=(AT_ONCE, JITTER, RESTARTED, PEER))
    options = parser.parse_args(arguments)
    arms = options.arms or [AT_ONCE, PEER, JITTER, RESTARTED]
    taken: dict[str, list[Came]] = {arm: [] for arm in arms}
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(site(options.people, options.turns, options.missed))
        for number in range(options.rounds):
            for arm in arms:
                taken[arm].append(await once(found, arm, options.jitter))
            print(f"  round {number + 1} of {options.rounds}", file=sys.stderr)
    if len(arms) < 2:
        return
    notes = [
        f"{options.people} clients in {PROCESSES} processes, on the same two cores as the servers and Redis",
        f"logs of {options.turns} turns, of which {options.missed} were missed; appendfsync always",
        f"the goal is a p99 of {GOAL_MS} ms at once, and of {GOAL_JITTER_MS} ms beyond a jitter of {options.jitter:g} s",
        "failed: clients that were not back, and events that were doubled, skipped or said to be lost",
    ]
    rounds = {arm: [came.round() for came in those] for arm, those in taken.items()}
    rows = [came.row for those in taken.values() for came in those]
    name = f"resume_{options.people}"
    report(compare(name, rounds, ours=arms[0], machine=machine.facts(), notes=notes, rows=rows))
