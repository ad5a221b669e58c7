"""Finding and killing what a worker left behind, by the process table."""

import os
import signal
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass

MAX_ROUNDS = 50
"""A bomb may fork while it is swept; its processes are bounded, so the rounds may be too."""


def parents() -> dict[int, int]:
    """Every process that can be seen, and its parent; zombies are left out."""
    return dict(_table())


def _table() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not name.isdigit():
            continue
        fields = _fields(int(name))
        if fields[0] not in (b"Z", b"X", b"0"):
            yield int(name), int(fields[1])


def parent(pid: int) -> int:
    """0 where the process cannot be seen."""
    return int(_fields(pid)[1])


def _fields(pid: int) -> list[bytes]:
    """State and parent, as /proc/PID/stat has them; zeroes where there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[:2]
    return [b"0", b"0"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has of what its neighbours in time could miss."""

    threads: int = 1
    memory: int = 0
    """Bytes of address space."""


class Gauge:
    """Reads one process's usage, after each of its steps. The file stays open: to open it costs ten reads under gVisor."""

    def __init__(self, pid: int) -> None:
        self._fd = -1
        with suppress(OSError):
            self._fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self._born = self.read()

    def read(self) -> Usage:
        """Nothing at all where the process cannot be seen (any more)."""
        with suppress(OSError, ValueError, IndexError):
            fields = os.pread(self._fd, 1024, 0).rpartition(b")")[2].split()
            return Usage(int(fields[17]), int(fields[20]))
        return Usage()

    def worn(self, most: int) -> bool:
        return worn(self.read(), self._born, most)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def worn(now: Usage, born: Usage, most: int) -> bool:
    """Whether a worker should end between two steps, for what the first left behind would harm the second:
    a thread, or less than half of the memory that a new worker has for itself, of `most` bytes in all.

    >>> worn(Usage(1, 60), Usage(1, 40), 100), worn(Usage(1, 80), Usage(1, 40), 100), worn(Usage(2, 41), Usage(1, 40), 100)
    (False, True, True)
    """
    return now.threads > 1 or now.memory - born.memory > (most - born.memory) // 2


def strays(table: Mapping[int, int], template: int, alive: Set[int]) -> set[int]:
    """Descendants of the template that belong to no worker in `alive`, those of dead workers included.

    Orphans are the template's own children, for it adopts them, so whatever a worker
    leaves behind, by whatever number of forks and sessions, is found here.

    >>> sorted(strays({20: 10, 21: 20, 30: 10, 31: 30, 40: 10}, 10, {20}))
    [30, 31, 40]
    """
    found: set[int] = set()
    for pid in table:
        path = [pid]
        while path[-1] in table and table[path[-1]] != template and len(path) <= len(table):
            path.append(table[path[-1]])
        if table.get(path[-1]) == template and path[-1] not in alive:
            found.add(pid)
    return found


def sweep(template: int, alive: Set[int]) -> int:
    """Kill all strays; returns how many. Blocking: call it beside the loop."""
    killed = 0
    for _ in range(MAX_ROUNDS):
        found = strays(parents(), template, alive)
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed
