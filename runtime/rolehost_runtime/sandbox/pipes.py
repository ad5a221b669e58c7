"""What a process under the agent prints: read from its pipe, cut into lines, and never more of it than can be kept."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from rolehost_runtime.sandbox.logs import MAX_BYTES, OVERHEAD, LineSplitter, Stream

PIPE_BYTES = 65_536
"""What a pipe holds; workers may not make it hold more."""
PIPE_PIECE = 4096
WINDOW_SECONDS = 0.05
WINDOW_COST = MAX_BYTES
"""Read from one pipe within a window, measured as the ring does: what prints faster than it could be kept waits."""

Printed = Callable[[Stream, str, object], None]
"""(stream, line, owner of the step that ran)."""


class Pipe:
    """Reads what a process prints, without making it wait for long, and without being kept busy by one that floods."""

    def __init__(self, fd: int, stream: Stream, owner: Callable[[], object], printed: Printed) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._stream = stream
        self._owner = owner
        self._printed = printed
        self._lines = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._left = 0
        self._loop.add_reader(fd, self._readable)

    def _readable(self) -> None:
        if not self._room():
            self._loop.remove_reader(self._fd)
            self._loop.call_at(self._until, self._go_on)
        else:
            self._read()

    def _go_on(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)

    def _room(self) -> bool:
        now = self._loop.time()
        if now >= self._until:
            self._until, self._left = now + WINDOW_SECONDS, WINDOW_COST
        return self._left > 0

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, PIPE_PIECE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.close()
            return False
        lines = self._lines.feed(data)
        self._left -= len(data) + OVERHEAD * len(lines)
        for line in lines:
            self._printed(self._stream, line, self._owner())
        return True

    def drain(self) -> None:
        """What was printed before now belongs to the step that ends now; a flood's end is left out."""
        for _ in range(PIPE_BYTES // PIPE_PIECE + 1):
            if self._fd < 0:
                return
            if not self._room():
                self._leave_out()
                return
            if not self._read():
                return

    def _leave_out(self) -> None:
        with suppress(OSError):  # BlockingIOError: there was no more
            if os.read(self._fd, PIPE_BYTES):
                self._lines = LineSplitter()
                self._printed(self._stream, "(more was printed than can be kept, and is left out)", self._owner())

    def close(self) -> None:
        if self._fd < 0:
            return
        for line in self._lines.end():
            self._printed(self._stream, line, self._owner())
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
