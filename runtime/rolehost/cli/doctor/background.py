"""A kubectl that runs beside an examination."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def running(
    command: Sequence[str], stdout: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Its standard error is a pipe. In a session of its own: Ctrl-C is for us, and what we made is taken away through it.

    At the end it is killed, with what it started (a plugin for credentials, for instance).
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # Not `process.kill()`: that polls, and where the process has just ended by itself it takes the exit status
        # from asyncio's own watcher, which then complains on our standard error.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
