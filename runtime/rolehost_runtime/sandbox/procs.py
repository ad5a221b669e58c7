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
    """Of /proc/PID/stat, from the state on; zeroes where there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
    return [b"0"] * 50


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has of what its neighbours in time could miss."""

    threads: int = 1
    memory: int = 0
    """Bytes of address space."""


def usage(pid: int) -> Usage:
    """Nothing at all where it cannot be seen."""
    fields = _fields(pid)
    return Usage(int(fields[17]), int(fields[20]))


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
