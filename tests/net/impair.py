"""A link between two network namespaces that loses, delays and swallows real packets, by a seed.

    with Impaired(seed=7) as link:
        link.set(delay_ms=40, loss=0.02)      # each way, so 80 ms there and back
        link.near(["python", …]); link.far(["python", …])      # 10.99.0.1 and 10.99.0.2

Each end is a TUN device, and this process carries the packets between them. What is lost is a packet, not a
delay that imitates one: retransmissions, timeouts and a congestion window are the kernel's own. Needs root and
/dev/net/tun; it touches no namespace but the two that it makes.
"""

import ctypes
import heapq
import os
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

NEAR, FAR = "10.99.0.1", "10.99.0.2"
MAX_QUEUED = 1_000
"""Packets on their way in one direction; a router's queue that is full drops the newest."""
_SETIFF, _TUN_NO_PI = 0x400454CA, 0x0001 | 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Weather:
    """What happens to packets, each way."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Up to so much more; packets do not overtake each other."""
    loss: float = 0.0
    """Of packets, each by itself."""
    bytes_per_second: float = 0.0
    """0: as fast as they come."""
    hole: bool = False
    """Nothing comes through, and nobody is told."""
    block: int = 0
    """A TCP port of which nothing comes through."""


class Wire:
    """One direction. Pure: packets and times in, packets out when they are due."""

    def __init__(self, rng: random.Random) -> None:
        self.weather = Weather()
        self.carried = self.lost = 0
        self._rng = rng
        self._due: list[tuple[float, int, bytes]] = []
        self._last = self._free = 0.0
        self._number = 0

    def put(self, now: float, packet: bytes) -> None:
        """`now` in seconds."""
        weather = self.weather
        if (
            weather.hole
            or (weather.block and weather.block in ports(packet))
            or len(self._due) >= MAX_QUEUED
            or self._rng.random() < weather.loss
        ):
            self.lost += 1
            return
        self.carried += 1
        sent = max(now, self._free)
        if weather.bytes_per_second:
            sent += len(packet) / weather.bytes_per_second
            self._free = sent
        there = sent + (weather.delay_ms + self._rng.random() * weather.jitter_ms) / 1000
        self._last = max(self._last, there)
        self._number += 1
        heapq.heappush(self._due, (self._last, self._number, packet))

    def due(self) -> float | None:
        return self._due[0][0] if self._due else None

    def take(self, now: float) -> list[bytes]:
        """What has arrived. What was under way when the hole opened is swallowed too."""
        there = []
        while self._due and self._due[0][0] <= now:
            packet = heapq.heappop(self._due)[2]
            if not self.weather.hole:
                there.append(packet)
        return there


def ports(packet: bytes) -> tuple[int, ...]:
    """From which TCP port to which; nothing for what is no TCP over IPv4.

    >>> ports(bytes([0x45, *[0] * 8, 6, *[0] * 10]) + (8084).to_bytes(2, "big") + (1).to_bytes(2, "big"))
    (8084, 1)
    >>> ports(b"")
    ()
    """
    if len(packet) < 24 or packet[0] >> 4 != 4 or packet[9] != 6:
        return ()
    at = 4 * (packet[0] & 15)
    return int.from_bytes(packet[at : at + 2], "big"), int.from_bytes(packet[at + 2 : at + 4], "big")


class Impaired:
    """A context: two namespaces, a TUN device in each, a thread that carries packets."""

    def __init__(self, seed: int) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self._children: list[subprocess.Popen[Any]] = []
        self.wires = (Wire(random.Random(seed)), Wire(random.Random(seed + 1)))
        """From near to far, and back."""
        self._tuns: list[int] = []
        self._over = threading.Event()
        self._carrier = threading.Thread(target=self._carry, name="link", daemon=True)

    def __enter__(self) -> Self:
        try:
            for number, address in enumerate((NEAR, FAR)):
                holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
                self._holders.append(holder)
                self._wait_for_namespace(holder.pid)
                self._tuns.append(_tun_in(holder.pid, f"link{number}"))
                for line in (
                    "ip link set lo up",
                    f"ip addr add {address}/24 dev link{number}",
                    f"ip link set link{number} up mtu 1500",
                ):
                    subprocess.run([*_inside(holder.pid), *line.split()], check=True)
        except BaseException:
            self._end()
            raise
        self._carrier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def set(self, **changes: Any) -> None:
        """The weather from now on; what is not named is fair."""
        for wire in self.wires:
            wire.weather = Weather(**changes)

    def hole(self, opened: bool) -> None:
        """Nothing comes through any more, or again."""
        for wire in self.wires:
            wire.weather = replace(wire.weather, hole=opened)

    def near(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Run it at 10.99.0.1; it ends with the link."""
        return self._run(0, command, options)

    def far(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Run it at 10.99.0.2."""
        return self._run(1, command, options)

    @contextmanager
    def at_near(self) -> Iterator[None]:
        """Whatever this thread opens, and every process that it starts, is at 10.99.0.1 until it comes back."""
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self._holders[0].pid}/ns/net") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def _run(self, end: int, command: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        child = subprocess.Popen([*_inside(self._holders[end].pid), *command], **options)
        self._children.append(child)
        return child

    def _end(self) -> None:
        self._over.set()
        if self._carrier.is_alive():
            self._carrier.join()
        for child in (*self._children, *self._holders):
            child.kill()
            child.wait()
        for tun in self._tuns:
            os.close(tun)

    @staticmethod
    def _wait_for_namespace(pid: int) -> None:
        ours = os.readlink("/proc/self/ns/net")
        for _ in range(500):
            if os.readlink(f"/proc/{pid}/ns/net") != ours:
                return
            time.sleep(0.01)
        raise TimeoutError("no network namespace was made")

    def _carry(self) -> None:
        there, back = self.wires
        ends = {self._tuns[0]: there, self._tuns[1]: back}
        outs = ((there, self._tuns[1]), (back, self._tuns[0]))
        with selectors.DefaultSelector() as selector:
            for tun in ends:
                os.set_blocking(tun, False)
                selector.register(tun, selectors.EVENT_READ)
            while not self._over.is_set():
                dues = [due for wire, _ in outs if (due := wire.due()) is not None]
                wait = max(0.0, min(dues) - time.monotonic()) if dues else 0.05
                for key, _ in selector.select(min(wait, 0.05)):
                    self._read(key.fd, ends[key.fd])
                for wire, tun in outs:
                    for packet in wire.take(time.monotonic()):
                        _write(tun, packet)

    @staticmethod
    def _read(tun: int, wire: Wire) -> None:
        try:
            while True:
                wire.put(time.monotonic(), os.read(tun, 65_536))
        except BlockingIOError:
            return


def available() -> str:
    """Why there can be no such link on this machine; empty where there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if not os.path.exists("/dev/net/tun"):
        return "this kernel has no TUN"
    made = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "network namespaces cannot be made here"


def has_netem() -> bool:
    """Whether the kernel itself can do the same."""
    tried = "tc qdisc add dev lo root netem delay 1ms"
    return subprocess.run(["unshare", "-n", *tried.split()], capture_output=True, check=False).returncode == 0


def _write(tun: int, packet: bytes) -> None:
    try:
        os.write(tun, packet)
    except OSError:
        return  # the device is going, or its queue is full: a lost packet like any other


def _enter(namespace: int) -> None:
    """os.setns, which Pythons before 3.12 lack: it moves the calling thread and nobody else."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace cannot be entered")


def _inside(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "-n"]


def _tun_in(pid: int, name: str) -> int:
    """A new TUN device in that process' network, opened here: who opens one stays connected to it wherever it is.

    Made by a child that enters the namespace and hands the descriptor over."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        command = [*_inside(pid), sys.executable, "-c", _OPENER, name, str(theirs.fileno())]
        subprocess.run(command, pass_fds=(theirs.fileno(),), check=True)
        _, fds, _, _ = socket.recv_fds(ours, 16, 1)
    return fds[0]


_OPENER = f"""
import fcntl, os, socket, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, {_SETIFF}, struct.pack("16sH", sys.argv[1].encode(), {_TUN_NO_PI}))
socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b"."], [tun])
"""
