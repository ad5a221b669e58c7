"""The writing half of a link: at once where the peer gave credit, else in line, and never without a bound."""

import asyncio
from collections import deque
from collections.abc import Callable

from rolehost_api.errors import Unavailable
from rolehost_api.link.credit import Credits, cost
from rolehost_api.link.framing import MAX_MESSAGE, encode
from rolehost_api.link.messages import Credit, Message

MAX_QUEUED = 8 * MAX_MESSAGE
"""Bytes that may wait for the peer's credit, or for it to read what it gave credit for; a peer that
stalls beyond them loses its link."""


class CreditedWriter:
    def __init__(
        self, writer: asyncio.StreamWriter, credits: Credits, stalled: Callable[[], None], *, silent: bool = False
    ) -> None:
        """`stalled` is called once too much waits; it closes the link. A silent one must be told to speak first."""
        self._writer, self._credits, self._stalled = writer, credits, stalled
        self._line: deque[bytes] = deque()
        self._line_bytes = 0
        self._line_empty = asyncio.Event()
        self._line_empty.set()
        self._silent = silent
        self._grant = 0
        """Credit that the other end has earned and is not told of while this end is silent."""
        self.closed = False

    def speak(self) -> None:
        """The other end is who we mean. Until then nothing at all is said, not even its credit."""
        self._silent = False
        if self._grant and not self.closed:
            self._write(encode(0, Credit(bytes=self._grant)))

    def send(self, channel: int, message: Message) -> None:
        """Write, or put in line behind what waits for credit. Silently nothing on a closed link."""
        if self.closed:
            return
        data = encode(channel, message)
        if not self._line and self._credits.sent(cost(data)):
            self._write(data)
            return
        self._line.append(data)
        self._line_bytes += len(data)
        self._line_empty.clear()
        if self._line_bytes > MAX_QUEUED:
            self._stalled()

    def granted(self, size: int) -> None:
        """The peer's Credit. Raises ProtocolViolation where it gives more than was used."""
        self._credits.granted(size)
        while self._line and self._credits.sent(cost(self._line[0])):
            data = self._line.popleft()
            self._line_bytes -= len(data)
            self._write(data)
        if not self._line:
            self._line_empty.set()

    def worked(self, size: int) -> None:
        """A message of `size` bytes was dealt with; the peer gets its credit back, many at a time."""
        grant = self._credits.worked(size)
        if self._silent:
            self._grant += grant
        elif grant and not self.closed:
            self._write(encode(0, Credit(bytes=grant)))

    async def room(self) -> None:
        """Until nothing waits in line: what sends much asks here between its pieces."""
        await self._line_empty.wait()
        if self.closed:
            raise Unavailable("the link to the pod was lost", code="pod_lost")
        await self._writer.drain()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._writer.close()
        self._line.clear()
        self._line_empty.set()

    def _write(self, data: bytes) -> None:
        """Credit is the peer's word. One that gives it and does not read would fill our memory."""
        if self._silent:
            raise RuntimeError("a link speaks before its pod was attested")
        self._writer.write(data)
        if self._writer.transport.get_write_buffer_size() > MAX_QUEUED:
            self._stalled()
            self._writer.transport.abort()
