"""A round trip over the link: under gVisor, under runc, as a plain process.

`link` is a question and its answer through the agent alone, `turn` a whole turn of logic
that answers at once. Peer: a raw TCP echo in the same kind of pod, which is what the
network and the sandbox cost by themselves. Needs `make cluster` for all but the process.
"""

import argparse
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.bench import machine
from tests.bench.cluster import Site, site
from tests.bench.harness import Round, compare
from tests.bench.link_client import POD_UID, LinkClient, public_key
from tests.bench.rounds import interleaved, report
from tests.bench.servers import LOAD_CORE, on_core, server
from tests.cluster.testing import Object
from tests.support.ports import free_port

ECHO = """
import socket
with socket.create_server(("0.0.0.0", {port})) as listener:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)
"""
ECHO_BYTES = b"x" * 64
PORT = 7420
HEALTH = 7421
ATTESTED = """
mkdir -p $ROLEHOST_IDENTITY_DIR && head -c 32 /dev/urandom > $ROLEHOST_NAMESPACE_KEY_FILE &&
{python} -m rolehost_runtime.sandbox.attest && exec {python} -m rolehost_runtime.sandbox {options}
"""
"""What init container and agent do in a pod of the platform, one after the other."""


def agent_environment(key: Ed25519PrivateKey, folder: str) -> dict[str, str]:
    """`folder` may be written to."""
    return {
        "ROLEHOST_POD_UID": POD_UID,
        "ROLEHOST_PLATFORM_KEYS": public_key(key),
        "ROLEHOST_IDENTITY_DIR": f"{folder}/identity",
        "ROLEHOST_NAMESPACE_KEY_FILE": f"{folder}/namespace-key",
    }


def agent_command(python: str, host: str, port: int, health: int) -> list[str]:
    options = f"--listen {host}:{port} --health {host}:{health}"
    return ["sh", "-c", ATTESTED.format(python=python, options=options)]


@contextmanager
def pod(
    found: Site, name: str, command: list[str], environment: dict[str, str], *, gvisor: bool
) -> Iterator[Callable[[], socket.socket]]:
    """A bare pod that listens on PORT; gives a way to connect to it."""
    container: Object = {
        "command": command,
        "env": [{"name": word, "value": value} for word, value in environment.items()],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    with found.bare(name, container, gvisor=gvisor) as made:
        address = made["status"]["podIP"]
        yield lambda: found.dial(address, PORT)


@contextmanager
def process(argv: list[str], port: int, environment: dict[str, str]) -> Iterator[Callable[[], socket.socket]]:
    def dial() -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    with server(argv[-1], argv, f"127.0.0.1:{port}", environment):
        yield dial


def echo_trip(sock: socket.socket) -> Callable[[], None]:
    def trip() -> None:
        sock.sendall(ECHO_BYTES)
        left = len(ECHO_BYTES)
        while left:
            left -= len(sock.recv(left))

    return trip


def timed(trip: Callable[[], None], count: int) -> Round:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        trip()
        found.append((time.perf_counter() - began) * 1000)
    return Round(units=count, latencies_ms=tuple(found))


def trips(stack: ExitStack, key: Ed25519PrivateKey, *, cluster: bool) -> dict[str, Callable[[], None]]:
    """Every arm's round trip, ours and its peer first."""
    found: dict[str, Callable[[], None]] = {}

    def add(where: str, agent: Callable[[], socket.socket], echo: Callable[[], socket.socket]) -> None:
        link = LinkClient(agent(), key)
        found[f"link, {where}"] = link.trip
        found[f"TCP echo, {where}"] = echo_trip(echo())
        found[f"turn, {where}"] = link.turn

    if cluster:
        here = stack.enter_context(site())
        environment = agent_environment(key, "/tmp")
        agent = agent_command("python3", "0.0.0.0", PORT, HEALTH)
        echo = ["python3", "-c", ECHO.format(port=PORT)]
        for where, gvisor in (("gVisor", True), ("runc", False)):
            word = where.lower()
            dial_agent = stack.enter_context(pod(here, f"agent-{word}", agent, environment, gvisor=gvisor))
            dial_echo = stack.enter_context(pod(here, f"echo-{word}", echo, {}, gvisor=gvisor))
            add(where, dial_agent, dial_echo)
    port, health, echo_port = free_port(), free_port(), free_port()
    environment = agent_environment(key, stack.enter_context(tempfile.TemporaryDirectory()))
    argv = agent_command(sys.executable, "127.0.0.1", port, health)
    dial_agent = stack.enter_context(process(argv, port, environment))
    echo_argv = [sys.executable, "-c", ECHO.format(port=echo_port)]
    add("process", dial_agent, stack.enter_context(process(echo_argv, echo_port, {})))
    return found


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="link_rtt", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--trips", type=int, default=500, help="round trips of one arm in one round")
    parser.add_argument("--without-cluster", action="store_true", help="only the plain process")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        found = trips(stack, Ed25519PrivateKey.generate(), cluster=not options.without_cluster)
        on_core(LOAD_CORE)

        async def once(trip: Callable[[], None]) -> Round:
            return timed(trip, options.trips)

        arms = {name: (lambda trip=trip: once(trip)) for name, trip in found.items()}
        rounds = await interleaved(arms, options.rounds)
    notes = ["one trip at a time over one connection", "the ratio is of the first two arms; the others stand beside"]
    report(compare("link_rtt", rounds, ours=next(iter(rounds)), machine=machine.facts(), notes=notes))
