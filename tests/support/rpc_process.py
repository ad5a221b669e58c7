"""A gateway with gRPC in a process of its own, so that its memory is its own: `python -m tests.support.rpc_process`.

It prints its two ports, and serves until its input ends. Its model says one word, then waits for a file called `go` in the
working directory; turns that were kept are files there, too.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from tests.support.talking import Talkers

from rolehost_api.wire import Usage
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

ROOT = Path(__file__).parents[2]


class Waiting:
    """ports.ModelProvider."""

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        yield "Once."
        while not Path("go").exists():
            await asyncio.sleep(0.005)
        yield ModelEnd("stop", Usage())


class Served:
    """The process as its client sees it."""

    def __init__(self, process: "Popen[str]", folder: Path, log: Path) -> None:
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        self.http_port = int(process.stdout.readline())
        """For sockets and requests."""
        self._process, self._folder, self._log = process, folder, log

    def go(self) -> None:
        """Let models answer."""
        (self._folder / "go").touch()

    def memory_kib(self) -> int:
        """Resident now."""
        return self._status("VmRSS")

    def peak_kib(self) -> int:
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    log = folder / "log"
    with (
        log.open("w") as lines,
        Popen(
            [sys.executable, "-m", "tests.support.rpc_process"],
            stdin=PIPE, stdout=PIPE, stderr=lines, cwd=folder, text=True,
            env={"PYTHONPATH": ":".join([str(ROOT), *sys.path]), "PATH": ""},
        ) as process,
    ):  # fmt: skip
        try:
            yield Served(process, folder, log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0


async def serve() -> None:
    async with Talkers(model=Waiting(), grpc=True) as house:
        print(house.grpc.port, house.server.port, sep="\n", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
