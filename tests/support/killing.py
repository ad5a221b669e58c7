"""A platform of processes on this machine that are killed and come back, as a kubelet would bring them back."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.identities import make_identity, mount_keys
from tests.support.keypair import Pair
from tests.support.pod import children, descendants
from tests.support.ports import free_ports
from tests.support.redis import RedisServer
from tests.support.rooms import ACME

ROOT = Path(__file__).parents[2]
REDIS_AWAY_SECONDS = (0.0, 0.3, 2.5)
"""At once, within the retries of a commit, and past them all."""


class Restarted:
    """A process that is started again whenever it ends, at the same address, until it is stopped."""

    def __init__(self, *command: str, env: dict[str, str]) -> None:
        self._command, self._env = command, env
        self._process: asyncio.subprocess.Process
        self._keeping: asyncio.Task[None] | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    async def start(self) -> None:
        await self._spawn()
        self._keeping = asyncio.create_task(self._keep())

    async def _spawn(self) -> None:
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(*self._command, env=self._env, cwd=ROOT)

    async def _keep(self) -> None:
        while True:
            await self._process.wait()
            await self._spawn()

    def kill(self) -> None:
        """With all below it, as a container's processes end with its first one."""
        below = descendants(self.pid)
        _kill(self.pid, *below)

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self.kill()
            await self._process.wait()


class Platform:
    """Two pods, a gateway or two and a Redis, and the hand that kills them."""

    def __init__(
        self,
        redis: RedisServer,
        pods: dict[str, Restarted],
        gateways: dict[str, Restarted],
        ports: dict[str, int],
        meters: dict[str, int],
    ) -> None:
        self.redis, self._pods, self.gateways, self.ports, self.meters = redis, pods, gateways, ports, meters
        self.port = ports["a"]
        self.killed: Counter[str] = Counter()

    @property
    def ways(self) -> dict[str, Callable[[Random], Awaitable[bool]]]:
        """By name of what dies."""
        return {
            "agent": self._kill_agent,
            "template": self._kill_template,
            "worker": self._kill_worker,
            "redis": self._kill_redis,
            "gateway": self._kill_gateway,
        }

    async def kill(self, what: str, random: Random) -> bool:
        """False where nothing of the kind lives just now."""
        done = await self.ways[what](random)
        self.killed[what] += done
        return done

    async def _kill_agent(self, random: Random) -> bool:
        self._pods[random.choice(sorted(self._pods))].kill()
        return True

    async def _kill_gateway(self, _: Random) -> bool:
        self.gateways["a"].kill()
        return True

    async def _kill_template(self, random: Random) -> bool:
        return _kill(*children(self._pods[random.choice(sorted(self._pods))].pid))

    async def _kill_worker(self, random: Random) -> bool:
        agent = self._pods[random.choice(sorted(self._pods))].pid
        workers = sorted(worker for template in children(agent) for worker in children(template))
        return bool(workers) and _kill(random.choice(workers))

    async def _kill_redis(self, random: Random) -> bool:
        away = random.choice(REDIS_AWAY_SECONDS)
        self.redis.kill()
        await asyncio.sleep(away)
        await asyncio.to_thread(self.redis.start)
        return True


def _kill(*pids: int) -> bool:
    """SIGKILL each that still lives; True if one did."""
    hit = False
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit = True
    return hit


@asynccontextmanager
async def platform(
    redis: RedisServer,
    folder: Path,
    gateways: Sequence[str] = ("a",),
    ways: Mapping[str, str] | None = None,
    **more: str,
) -> AsyncIterator[Platform]:
    """Several gateways know each other; one is alone. `ways`: by which URL of its own a gateway goes to Redis. `more`:
    of `gateway_process.gateway_of`."""
    key = Ed25519PrivateKey.generate()
    ports = free_ports(4 + 3 * len(gateways))
    doors, meters = (dict(zip(gateways, ports[4 + of :: 3], strict=True)) for of in range(2))
    peers = {name: f"127.0.0.1:{port}" for name, port in zip(gateways, ports[6::3], strict=True)}
    identity = Pair(folder / "platform", "platform")
    (folder / "platform" / "trusted").mkdir()
    (folder / "platform" / "trusted" / "platform.pem").write_bytes(identity.pem)
    keys = mount_keys(folder / "keys", [key.public_key()])
    path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    pods, addresses = {}, {}
    for number, uid in enumerate(("p1", "p2")):
        (folder / uid).mkdir()
        addresses[uid] = f"127.0.0.1:{ports[2 * number]}"
        pods[uid] = Restarted(
            *(sys.executable, "-m", "rolehost_runtime.sandbox"),
            *("--listen", addresses[uid], "--health", f"127.0.0.1:{ports[2 * number + 1]}"),
            env=path
            | {
                "ROLEHOST_POD_UID": uid,
                "ROLEHOST_PLATFORM_KEYS_DIR": str(keys),
                "ROLEHOST_IDENTITY_DIR": str(make_identity(folder / f"{uid}-identity", ACME.uid, uid)),
                "ROLEHOST_SCRATCH": str(folder / uid / "logic"),
            },
        )
    told = {"redis": redis.url, "key": key.private_bytes_raw().hex(), "pods": addresses} | more
    if len(gateways) > 1:
        told |= {"peers": peers, "identity": str(folder / "platform")}

    def own(name: str) -> dict[str, str]:
        return {"redis": ways[name]} if ways and name in ways else {}

    processes = {
        name: Restarted(
            *(sys.executable, "-m", "tests.support.gateway_process"),
            json.dumps({**told, **own(name), "name": name, "port": doors[name], "metrics": meters[name]}),
            env=path,
        )
        for name in gateways
    }
    everything = [*pods.values(), *processes.values()]
    try:
        for process in everything:
            await process.start()
        yield Platform(redis, pods, processes, doors, meters)
    finally:
        for process in everything:
            await process.stop()
