"""What this machine is and what its processes cost, read from /proc."""

import os
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def facts() -> dict[str, Any]:
    """What a reader needs to judge a number."""
    model = re.search(r"model name\s*: (.+)", (PROC / "cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", (PROC / "meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def stolen() -> tuple[int, int]:
    """(ticks that the hypervisor took, all ticks) since boot, over all cores."""
    ticks = [int(word) for word in (PROC / "stat").read_text().splitlines()[0].split()[1:]]
    return ticks[7], sum(ticks[:8])


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += children.get(one, [])
    return found


def cpu_us(pids: Iterable[int]) -> float:
    """CPU time that these processes took so far, in µs, over all their threads."""
    spent = 0
    for pid in pids:
        for file in (PROC / str(pid) / "task").glob("*/schedstat"):
            try:
                spent += int(file.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return spent / 1000


def find(*words: str) -> set[int]:
    """Processes of this machine whose command line holds all the words."""
    found = set()
    for file in PROC.glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words) and int(file.parent.name) != os.getpid():
            found.add(int(file.parent.name))
    return found
