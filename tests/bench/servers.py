"""Processes that are measured: started on a core of their own, and stopped whatever happens."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).parents[2]
SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 60


def on_core(core: int) -> None:
    """Keep this process, and what it starts from now on, on one core, where there is more than one."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})


@contextmanager
def server(
    name: str,
    argv: Sequence[str],
    ready: str,
    environment: Mapping[str, str] | None = None,
    seconds: float = START_SECONDS,
) -> Iterator[int]:
    """A process on the servers' core, once `ready` (http://… or host:port) answers; gives its pid."""
    with tempfile.TemporaryFile() as said:
        on_core(SERVER_CORE)
        try:
            process = subprocess.Popen(
                argv, cwd=REPOSITORY, env={**os.environ, **(environment or {})}, stdout=said, stderr=said
            )
        finally:
            on_core(LOAD_CORE)
        try:
            _wait(name, process, ready, said, seconds)
            yield process.pid
        finally:
            _stop(process)


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(name: str, process: "subprocess.Popen[bytes]", ready: str, said: IO[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready.startswith("http"):
                with urllib.request.urlopen(ready, timeout=2):
                    return
            host, _, port = ready.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    said.seek(0)
    raise RuntimeError(f"{name} did not answer at {ready}:\n{said.read().decode(errors='replace')[-2000:]}")
