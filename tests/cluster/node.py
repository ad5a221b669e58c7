"""Start the node, stop it, look at it. Every step can be repeated: what stands already is left alone."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import config, parts, pki, policy
from tests.cluster.common import REPOSITORY, ClusterError, Impossible, Paths, call, say, write
from tests.cluster.namespace import Process, Sockets, entering, hold, in_namespace, members

APISERVER = ("127.0.0.1", 6443)


def require_possible() -> None:
    """Refuse early, in one sentence, where the node cannot run at all."""
    if sys.platform != "linux":
        raise Impossible("a node from parts needs Linux; with Docker, kind is used instead")
    if os.geteuid() != 0:
        raise Impossible("a node from parts needs root: it makes namespaces, mounts and cgroups")
    if shutil.which("unshare") is None or not Path("/proc/self/ns/user").exists():
        raise Impossible("this kernel has no user namespaces")


def prepare(where: Paths) -> None:
    """Install and build what is missing; minutes the first time, nothing afterwards."""
    require_possible()
    parts.install_packages()
    parts.build(where)


def up(where: Paths) -> None:
    """Start everything that does not run; returns when the apiserver answers.

    What a dead holder left behind (a reboot, a kill) is cleared away: its mounts are gone, and with them the node.
    """
    if where.run.exists() and Process.load(where.run / "holder.pid") is None:
        down(where)
    where.log.mkdir(parents=True, exist_ok=True)
    pki.ensure(where.run / "pki", config.NODE_ADDRESS, config.APISERVER_SERVICE)
    changed = [name for name, text in config.files(where).items() if write(where.run / name, text)]
    if changed and Process.load(where.run / "holder.pid") is not None:
        say(f"{', '.join(changed)} changed under a running node: `make cluster-down` first, to have it count")
    if Process.load(where.run / "holder.pid") is None:
        hold().save(where.run / "holder.pid")
    _network(where)
    make_cgroups(where)
    wanted = config.daemons(where, sys.executable)
    for daemon in wanted:
        if not daemon.needs_apiserver:
            start(where, daemon)
    _wait(lambda: apiserver_answers(where), 60, "the apiserver", where, "apiserver")
    for daemon in wanted:
        if daemon.needs_apiserver:
            start(where, daemon)
    _wait((where.run / "containerd.sock").exists, 20, "containerd", where, "containerd")
    relay_apiserver(where)


def wait_ready(where: Paths) -> None:
    """Wait for the kubelet to call the node Ready, and make sure that nothing died on the way."""
    _wait(lambda: node_ready(where), 60, "the node to be Ready", where, "kubelet")
    for name, alive in status(where).daemons.items():
        if not alive:
            raise ClusterError(f"{name} does not run: see {where.log}/{name}.log")


def start(where: Paths, daemon: config.Daemon) -> None:
    """Start a daemon inside the node, unless it runs."""
    pid_file = where.run / f"{daemon.name}.pid"
    if Process.load(pid_file) is not None:
        return
    path = f"{where.bin}:{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    spawn(entering(where, daemon.argv), where.log / f"{daemon.name}.log", environment).save(pid_file)


def spawn(argv: list[str], log: Path, environment: dict[str, str]) -> Process:
    """A program that outlives this one, in a session of its own, writing to its log."""
    with log.open("ab") as out:
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=REPOSITORY,
        )
    return Process.of(started.pid)


def _network(where: Paths) -> None:
    """A veth with a default route is enough for the kubelet to find its address; nothing leaves the namespace."""
    script = f"""set -e
mount --make-rshared /
ip link set lo up
ip link show eth0 >/dev/null 2>&1 || ip link add eth0 type veth peer name eth0p
ip addr replace {config.NODE_ADDRESS}/24 dev eth0
ip link set eth0 up
ip link set eth0p up
ip route replace default dev eth0
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
"""
    in_namespace(where, ["bash", "-c", script])
    if policy.TABLE not in in_namespace(where, ["nft", "list", "tables"]):
        in_namespace(where, ["nft", "-f", "-"], feed=policy.ruleset(None))


def cgroup_roots(where: Paths) -> list[Path]:
    """Our root in every cgroup hierarchy of this machine."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(fields[1]) / config.cgroup_root(where) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]


def make_cgroups(where: Paths) -> None:
    """Make our root in every hierarchy; in cgroup v1 a fresh cpuset has no CPUs and takes no process."""
    for root in cgroup_roots(where):
        root.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (root / name).exists() and not (root / name).read_text().strip():
                (root / name).write_text((root.parent / name).read_text())


def apiserver_answers(where: Paths) -> bool:
    """Whether /readyz says 200, asked with the administrator's certificate."""
    folder = where.run / "pki"
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    sockets = Sockets(where)
    try:
        with sockets.make() as plain:
            plain.settimeout(3)
            plain.connect(APISERVER)
            with tls.wrap_socket(plain, server_hostname=APISERVER[0]) as sock:
                sock.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                return b" 200 " in sock.recv(64)
    except OSError:
        return False
    finally:
        sockets.close()


def node_ready(where: Paths) -> bool:
    query = '{.status.conditions[?(@.type=="Ready")].status}'
    with suppress(ClusterError):
        return kubectl(where, "get", "node", "node1", "-o", f"jsonpath={query}", timeout=10).strip() == "True"
    return False


def kubectl(where: Paths, *argv: str, feed: str | None = None, timeout: float = 120) -> str:
    """kubectl from outside, by way of the relay."""
    return call(["kubectl", "--kubeconfig", str(where.kubeconfig), *argv], feed=feed, timeout=timeout)


def relay_apiserver(where: Paths) -> None:
    """Keep a loopback port for the apiserver and write the kubeconfig that uses it."""
    port = relay(where, "apiserver", APISERVER[0], APISERVER[1], 16443)
    write(where.kubeconfig, config.kubeconfig(where, "admin", port))


def relay(where: Paths, name: str, address: str, target: int, preferred: int) -> int:
    """A loopback port that leads to `address` in the node for as long as the cluster is up; returns the port.

    The preferred port is taken where it is free; a relay that runs already keeps its own.
    """
    pid_file, port_file = where.run / f"relay-{name}.pid", where.run / f"relay-{name}.port"
    carried = f"{address}:{target}"
    if Process.load(pid_file) is not None:
        port, known = port_file.read_text().split()
        if known == carried:
            return int(port)
        stop_process(pid_file)
    port_number = _free_port(preferred)
    argv = [sys.executable, "-m", "tests.cluster.relay", str(port_number), address, str(target)]
    spawn(argv, where.log / f"relay-{name}.log", {**os.environ, "PYTHONPATH": str(REPOSITORY)}).save(pid_file)
    port_file.write_text(f"{port_number} {carried}\n")
    _wait(lambda: _listens(port_number), 15, f"the relay to {carried}", where, f"relay-{name}")
    return port_number


def _free_port(preferred: int) -> int:
    for candidate in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", candidate))
            return int(probe.getsockname()[1])
    raise ClusterError("no free port on the loopback")


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _wait(done: Callable[[], bool], seconds: float, what: str, where: Paths, log: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        died = Process.load(where.run / f"{log}.pid") is None
        if died or time.monotonic() > deadline:
            file = where.log / f"{log}.log"
            tail = "\n".join(file.read_text(errors="replace").splitlines()[-8:]) if file.exists() else ""
            why = f"{log} died" if died else f"waited {seconds:.0f} s for {what}"
            raise ClusterError(f"{why}; see {file}\n{tail}")
        time.sleep(0.1)


@dataclass(frozen=True)
class Status:
    """What runs, for people and for tests."""

    daemons: dict[str, bool]
    ready: bool

    @property
    def up(self) -> bool:
        return self.ready and all(self.daemons.values())


def status(where: Paths) -> Status:
    names = ["holder", *(daemon.name for daemon in config.daemons(where, sys.executable)), "relay-apiserver"]
    daemons = {name: Process.load(where.run / f"{name}.pid") is not None for name in names}
    return Status(daemons, ready=all(daemons.values()) and node_ready(where))


def down(where: Paths) -> None:
    """Stop everything and leave nothing: no process, mount, cgroup, address or file of the node."""
    kubelet_first = [daemon.name for daemon in reversed(config.daemons(where, sys.executable))]
    for name in kubelet_first:
        if (found := Process.load(where.run / f"{name}.pid")) is not None:
            found.signal(signal.SIGTERM if name == "etcd" else signal.SIGKILL)
    for pid_file in where.run.glob("relay-*.pid"):
        stop_process(pid_file)
    root = Process.load(where.run / "holder.pid")
    if root is not None:
        for pid in members(root):
            if pid != root.pid:
                Process.of(pid).signal(signal.SIGKILL)
        _sweep(where)
        root.signal(signal.SIGKILL)
        _gone(root)
    else:
        _sweep(where)
    shutil.rmtree(where.run, ignore_errors=True)
    if where.run.exists():
        raise ClusterError(f"{where.run} could not be removed: something still uses it")


def stop_process(pid_file: Path) -> None:
    if (found := Process.load(pid_file)) is not None:
        found.signal(signal.SIGTERM)
        _gone(found)
    pid_file.unlink(missing_ok=True)


def _gone(process: Process) -> None:
    deadline = time.monotonic() + 5
    while process.alive:
        if time.monotonic() > deadline:
            process.signal(signal.SIGKILL)
        time.sleep(0.02)


def _sweep(where: Paths) -> None:
    """Kill whatever is left in our cgroups, then remove them, leaves first."""
    deadline = time.monotonic() + 10
    roots = [root for root in cgroup_roots(where) if root.exists()]
    while time.monotonic() < deadline:
        folders = [folder for root in roots for folder in sorted(root.rglob("*/"), reverse=True)] + roots
        for folder in folders:
            with suppress(OSError):
                for pid in (folder / "cgroup.procs").read_text().split():
                    Process.of(int(pid)).signal(signal.SIGKILL)
            with suppress(OSError):
                folder.rmdir()
        if not any(root.exists() for root in roots):
            return
        time.sleep(0.05)
    say(f"some cgroups of {where.run} could not be removed")
