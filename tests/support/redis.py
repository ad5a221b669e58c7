"""A real Redis of a test's own: appendonly and appendfsync always, on a unix socket, killed and started at will."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class RedisServer:
    """redis-server as a child process over one data folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise RuntimeError("redis-server is not on PATH; install the package redis-server")
        command = [binary, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)

    def _answers(self) -> bool:
        cli = shutil.which("redis-cli") or "redis-cli"
        asked = subprocess.run([cli, "-s", str(self.socket), "ping"], capture_output=True, check=False)
        return asked.stdout.strip() == b"PONG"

    def kill(self) -> None:
        """SIGKILL: nothing is flushed that was not flushed."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self.send(signal.SIGCONT)
        self._end(signal.SIGTERM)

    def send(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


@contextmanager
def running(*options: str) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="rh-redis-") as folder:
        server = RedisServer(Path(folder), *options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
