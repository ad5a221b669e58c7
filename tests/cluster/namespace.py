"""The node's user, mount and network namespace, and how to do things inside it.

A process that only sleeps holds them. The user namespace maps every id to itself: files keep their owners, while the
programs inside see that they are in a user namespace and tolerate that CAP_SYS_RESOURCE is missing (gVisor's shim gives
up without it otherwise). Whatever is mounted or bridged inside disappears with the last process in there.
"""

import ctypes
import fcntl
import os
import queue
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cluster.common import ClusterError, Paths, call

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
NS_GET_PARENT = 0xB702
_libc = ctypes.CDLL(None, use_errno=True)


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Process:
    """A process named by pid and start time, so that a reused pid is never mistaken for ours."""

    def __init__(self, pid: int, started: str) -> None:
        self.pid = pid
        self.started = started

    @classmethod
    def of(cls, pid: int) -> "Process":
        return cls(pid, _start_time(pid) or "")

    @classmethod
    def load(cls, file: Path) -> "Process | None":
        """The process that a pid file names, if it still runs."""
        try:
            pid, started = file.read_text().split()
        except (OSError, ValueError):
            return None
        found = cls(int(pid), started)
        return found if found.alive else None

    def save(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.started}\n")

    @property
    def alive(self) -> bool:
        return self.started != "" and _start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def _start_time(pid: int) -> str | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone or a zombie."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if rest[0] == "Z" else rest[19]


def hold() -> Process:
    """Start the holder and return it once its namespaces stand."""
    asked, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _unshare(CLONE_NEWUSER)
            os.write(answer[1], b"u")
            os.read(asked[0], 1)
            _unshare(CLONE_NEWNS | CLONE_NEWNET)
            os.write(answer[1], b"n")
            os.chdir("/")
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.closerange(3, 256)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(answer[1])
    try:
        if os.read(answer[0], 1) == b"u":
            for kind in ("uid", "gid"):
                Path(f"/proc/{pid}/{kind}_map").write_text("0 0 4294967294\n")
            os.write(asked[1], b"m")
            if os.read(answer[0], 1) == b"n":
                return Process.of(pid)
    finally:
        for fd in (asked[0], asked[1], answer[0]):
            os.close(fd)
    os.waitpid(pid, 0)
    raise ClusterError("the kernel refuses new user, mount and network namespaces to this process")


def holder(where: Paths) -> Process:
    """The running holder; an error that says what to do where there is none."""
    found = Process.load(where.run / "holder.pid")
    if found is None:
        raise ClusterError("the cluster is not up: run `make cluster` first")
    return found


def entering(where: Paths, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` inside the node.

    `ip netns exec` would remount /sys and hide the cgroups from the kubelet; nsenter does not, but it changes to the
    root of the other mount namespace unless told where to stay.
    """
    pid = str(holder(where).pid)
    return ["nsenter", "--target", pid, "--user", "--mount", "--net", f"--wd={where.run}", *argv]


def in_namespace(where: Paths, argv: Sequence[str], *, feed: str | None = None, timeout: float = 120) -> str:
    """Run a program inside the node and return what it printed."""
    return call(entering(where, argv), feed=feed, timeout=timeout)


class Sockets:
    """Makes sockets that belong to the node's network, for a process that stays outside.

    A socket belongs to the namespace of the thread that made it and keeps it wherever it is used, so one thread that
    has entered the namespace is enough.
    """

    def __init__(self, where: Paths) -> None:
        self._asked: queue.SimpleQueue[queue.SimpleQueue[socket.socket | Exception] | None] = queue.SimpleQueue()
        namespace = os.open(f"/proc/{holder(where).pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        threading.Thread(target=self._serve, args=(namespace,), name="namespace-sockets", daemon=True).start()
        self.make().close()

    def make(self) -> socket.socket:
        """A fresh TCP socket in the node's network."""
        answer: queue.SimpleQueue[socket.socket | Exception] = queue.SimpleQueue()
        self._asked.put(answer)
        made = answer.get(timeout=10)
        if isinstance(made, Exception):
            raise ClusterError(f"cannot enter the node's network: {made}")
        return made

    def close(self) -> None:
        self._asked.put(None)

    def _serve(self, namespace: int) -> None:
        failed: Exception | None = None
        if _libc.setns(namespace, CLONE_NEWNET) != 0:
            failed = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        os.close(namespace)
        while (answer := self._asked.get()) is not None:
            try:
                answer.put(failed or socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            except OSError as error:
                answer.put(error)


def members(root: Process) -> Iterator[int]:
    """Pids of every process in the holder's user namespace or in one below it: sandboxes make their own."""
    wanted = os.stat(f"/proc/{root.pid}/ns/user").st_ino
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and wanted in _user_namespaces(int(entry.name)):
            yield int(entry.name)


def _user_namespaces(pid: int) -> set[int]:
    """The user namespace of a process and its ancestors, as far as we may look."""
    seen: set[int] = set()
    try:
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return seen
    try:
        while True:
            seen.add(os.fstat(fd).st_ino)
            parent = fcntl.ioctl(fd, NS_GET_PARENT)
            os.close(fd)
            fd = parent
    except OSError:
        return seen
    finally:
        os.close(fd)
