"""Redis as many have it: a primary with replicas that Sentinels watch, or a cluster. Real processes on the loopback,
small and quick to fail over, each killed, stopped and started at will."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

from tests.support.ports import HOST, free_port

PATIENCE_SECONDS = 30
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory", "64mb")
FOLLOWED = ("--repl-diskless-sync-delay", "0")
NODE_TIMEOUT_MS = 1500
"""A node that is silent for so long is called dead."""


class Server:
    """One redis-server on a port of its own."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder, self.port = folder, port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Return when it answers."""
        self.launch()
        until(self._answers, "redis-server did not start")

    def launch(self, *more: str) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not on PATH; install the package redis-server")
        config = [self._options[0]] if self._options and not self._options[0].startswith("--") else []
        command = [binary, *config, "--port", str(self.port), "--bind", HOST, "--dir", str(self.folder)]
        command += ["--logfile", str(self.folder / "log"), "--daemonize", "no", *self._options[len(config) :], *more]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"redis-server ended: {(self.folder / 'log').read_text()[-300:]}")
        return self.ask("ping") == "PONG"

    def ask(self, *words: str) -> str:
        cli = shutil.which("redis-cli") or "redis-cli"
        command = [cli, "-h", HOST, "-p", str(self.port), *words]
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(command, capture_output=True, check=False, timeout=2).stdout.decode().strip()
        return ""

    def info(self, name: str) -> str:
        lines = self.ask("info", "replication").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")

    def send(self, how: Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed that was not flushed."""
        self._end(SIGKILL)

    def stop(self) -> None:
        self.send(SIGCONT)
        self._end(SIGKILL)

    def _end(self, how: Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.05)


class Fleet:
    """Servers of data, and whatever watches them."""

    url = ""
    servers: list[Server]

    def primary_of(self, key: str) -> Server:
        """The server that takes writes for this session now."""
        return self.took_over(key, None)

    def took_over(self, key: str, before: Server | None) -> Server:
        """The server that takes them, once it is another one."""
        found: list[Server | None] = []

        def another() -> bool:
            found.append(self._holder(key))
            return found[-1] not in (None, before)

        until(another, "nobody takes over")
        assert found[-1] is not None
        return found[-1]

    def _holder(self, key: str) -> Server | None:
        raise NotImplementedError

    def replicas_of(self, primary: Server) -> list[Server]:
        return [one for one in self.servers if one is not primary and one.info("master_port") == str(primary.port)]

    def cut_off(self, primary: Server) -> list[Server]:
        """Stop a primary's replicas, in step and with nothing on its way to them."""
        found = self.replicas_of(primary)
        assert primary.ask("wait", str(len(found)), "2000") == str(len(found))
        for server in found:
            server.send(SIGSTOP)
        primary.ask("client", "kill", "type", "replica")
        return found

    def rejoin(self, server: Server) -> None:
        """Start a server that was killed, and wait until it is somebody's replica, in step."""
        server.start()
        until(lambda: server.info("master_link_status") == "up", "a server does not join again")


class SentinelFleet(Fleet):
    def __init__(self, folder: Path, replicas: int) -> None:
        self.servers = [Server(folder / "0", *DURABLE, *FOLLOWED)]
        first = self.servers[0]
        follow = (*FOLLOWED, "--replicaof", HOST, str(first.port))
        self.servers += [Server(folder / str(n), *DURABLE, *follow) for n in range(1, replicas + 1)]
        self.sentinels = [self._sentinel(folder / f"s{number}", first.port) for number in range(3)]
        self.url = f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/main/0"

    @staticmethod
    def _sentinel(folder: Path, port: int) -> Server:
        folder.mkdir(parents=True)
        config = folder / "sentinel.conf"
        config.write_text(
            f"sentinel monitor main {HOST} {port} 2\nsentinel down-after-milliseconds main 1000\n"
            "sentinel failover-timeout main 3000\n"
        )
        return Server(folder, str(config), "--sentinel")

    def start(self) -> None:
        for server in self.servers:
            server.start()
        for server in self.servers[1:]:
            until(lambda server=server: server.info("master_link_status") == "up", "no replica")  # type: ignore[misc]
        for sentinel in self.sentinels:
            sentinel.start()
        until(self._all_seen, "the Sentinels do not see each other")

    def _all_seen(self) -> bool:
        for sentinel in self.sentinels:
            words = sentinel.ask("sentinel", "master", "main").splitlines()
            found = dict(zip(words[::2], words[1::2], strict=False))
            if (found.get("num-slaves"), found.get("num-other-sentinels")) != (str(len(self.servers) - 1), "2"):
                return False
        return True

    def _holder(self, key: str) -> Server | None:
        words = self.sentinels[0].ask("sentinel", "get-master-addr-by-name", "main").splitlines()
        found = next((one for one in self.servers if words and str(one.port) == words[-1]), None)
        return found if found is not None and found.info("role") == "master" else None


class ClusterFleet(Fleet):
    def __init__(self, folder: Path, primaries: int = 3, replicas: int = 1) -> None:
        options: tuple[str, ...] = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        options += ("--cluster-replica-validity-factor", "0", *FOLLOWED)
        self.servers = []
        for number in range(primaries * (1 + replicas)):
            self.servers.append(Server(folder / str(number), *DURABLE, *options))
        self._replicas = replicas
        self.url = f"redis+cluster://{','.join(one.address for one in self.servers[:3])}"

    def start(self) -> None:
        for server in self.servers:
            server.start()
        cli, addresses = shutil.which("redis-cli") or "redis-cli", [one.address for one in self.servers]
        made = subprocess.run(
            [cli, "--cluster", "create", *addresses, "--cluster-replicas", str(self._replicas), "--cluster-yes"],
            capture_output=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        if made.returncode:
            raise RuntimeError(f"no cluster: {made.stdout.decode()[-500:]}")
        until(self._whole, "the cluster is not whole")

    def _whole(self) -> bool:
        return (
            all(
                "cluster_state:ok" in one.ask("cluster", "info")
                and (one.info("role") == "master" or one.info("master_link_status") == "up")
                for one in self.servers
            )
            and sum(one.info("role") == "slave" for one in self.servers) == len(self.servers) - 3
        )

    def _holder(self, key: str) -> Server | None:
        for server in self.servers:
            if server.info("role") == "master":
                slot = int(server.ask("cluster", "keyslot", f"{{{key}}}"))
                for line in server.ask("cluster", "nodes").splitlines():
                    _, address, flags, _, _, _, _, state, *ranges = line.split()
                    if "fail" not in flags.split(",") and "master" in flags and state and _has(ranges, slot):
                        port = address.partition("@")[0].rpartition(":")[2]
                        found = next(one for one in self.servers if str(one.port) == port)
                        return found if found.info("role") == "master" else None
        return None


def _has(ranges: list[str], slot: int) -> bool:
    for one in ranges:
        first, _, last = one.partition("-")
        if first.isdigit() and int(first) <= slot <= int(last or first):
            return True
    return False


@contextmanager
def _running(make: Callable[[Path], Fleet]) -> Iterator[Fleet]:
    with tempfile.TemporaryDirectory(prefix="rh-redis-") as folder:
        fleet = make(Path(folder))
        try:
            fleet.start()  # type: ignore[attr-defined]
            yield fleet
        finally:
            for server in (*getattr(fleet, "sentinels", ()), *fleet.servers):
                server.stop()


def sentinels(replicas: int = 2) -> contextlib.AbstractContextManager[Fleet]:
    return _running(lambda folder: SentinelFleet(folder, replicas))


def cluster() -> contextlib.AbstractContextManager[Fleet]:
    return _running(ClusterFleet)
