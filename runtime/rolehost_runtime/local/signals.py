"""Signals to processes that asyncio watches."""

import asyncio
import contextlib
import os


def send(process: asyncio.subprocess.Process, number: int) -> None:
    """Nothing where it is gone. Not `process.terminate()` or `kill()`: those poll first, and where the process has just
    ended by itself they take its exit status from asyncio's own watcher, which then complains on our standard error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
