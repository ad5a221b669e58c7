"""`rolehost dev` as a process, and what it printed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

STORYTELLER = Path(__file__).parents[2] / "examples" / "storyteller"
PATIENCE = 45.0


class Dev:
    """A running `rolehost dev`, and what it printed."""

    def __init__(self, *arguments: str, folder: Path, environment: dict[str, str] | None = None) -> None:
        scrubbed = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ROLEHOST_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "rolehost.cli", "dev", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**scrubbed, **(environment or {})},
        )
        self.printed: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self.until(r"page +http://localhost:(\d+)"))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.printed.append(line)
                self._news.notify_all()

    def until(self, pattern: str, since: int = 0) -> str:
        """Wait for a line and give its first group."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, "".join(self.printed[since:]))

        with self._news:
            self._news.wait_for(lambda: found() or self.process.poll() is not None, PATIENCE)
            match = found()
        assert match is not None, f"no {pattern!r} in:\n{''.join(self.printed)}"
        return match.group(1) if match.groups() else match.group(0)

    def socket(self, role: str = "Storyteller", **options: Any) -> ClientConnection:
        opened: ClientConnection = connect(
            f"ws://127.0.0.1:{self.port}/role/{role}", compression=None, proxy=None, **options
        )
        return opened

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@contextlib.contextmanager
def dev(*arguments: str, folder: Path, environment: dict[str, str] | None = None) -> Iterator[Dev]:
    running = Dev(*arguments, folder=folder, environment=environment)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        assert running.process.stdout is not None
        running.process.stdout.close()
