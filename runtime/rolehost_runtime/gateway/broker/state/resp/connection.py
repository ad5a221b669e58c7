"""One socket to one Redis: commands of one tick in one write, answers matched in order."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from hiredis import HiredisError, Reader

from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.call import Barrier, Call, Expected, Held, Ignored, Word, pack
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal

WAIT_MS = 500
"""How long replicas have to say that they have a write."""
STALL_SECONDS = 1.5
"""A connection that owes an answer and brings nothing for so long is broken."""
ASKING = pack(("ASKING",))
IGNORED = Ignored()
KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Answer:
    """Somebody who waits for one answer on a connection that nobody else uses yet."""

    __slots__ = ("future",)

    def __init__(self, future: "asyncio.Future[Any]") -> None:
        self.future = future

    def answered(self, reply: Any) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    def lost(self) -> None:
        if not self.future.done():
            self.future.set_exception(ConnectionResetError("the connection broke"))


class Connection(asyncio.Protocol):
    def __init__(self, replicas: int, broken: "Callable[[Connection], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self._replicas, self._broken = replicas, broken
        self._reader = Reader(replyError=Refusal)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[Call] = []
        self._expected: deque[Expected] = deque()
        self._busy_since = 0.0
        """When the socket last brought something, or was first owed something after that."""
        self._wait = pack(("WAIT", replicas, WAIT_MS))

    # ── what is asked ───────────────────────────────────────────────────────────────

    def send(self, call: Call) -> None:
        """In order; with everything else of this tick. Its answer, or its loss, is told to the call."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(call)

    def _flush(self) -> None:
        transport, calls = self._transport, self._unsent
        if transport is None or not calls:
            return
        self._unsent = []
        expected = self._expected
        if not expected:
            self._busy_since = self._loop.time()
        buffers: list[bytes] = []
        barrier: Barrier | None = None
        for call in calls:
            if call.over:
                continue
            if call.asking:
                call.asking = False
                buffers.append(ASKING)
                expected.append(IGNORED)
            buffers.append(call.packed)
            if call.durable and self._replicas:
                barrier = barrier or Barrier(self._replicas)
                expected.append(Held(call, barrier))
            else:
                expected.append(call)
        if barrier is not None:
            buffers.append(self._wait)
            expected.append(barrier)
        transport.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))

    def ask(self, *commands: tuple[Word, ...]) -> "list[asyncio.Future[Any]]":
        """Several commands at once, for whoever shakes hands; a Refusal is an answer here."""
        futures = [self._loop.create_future() for _ in commands]
        if self._transport is None:
            raise ConnectionResetError("the connection broke")
        self._busy_since = self._loop.time()
        self._expected.extend(Answer(future) for future in futures)
        self._transport.write(b"".join(map(pack, commands)))
        return futures

    # ── what comes ──────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        reader, expected = self._reader, self._expected
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                expected.popleft().answered(reply)
        except (HiredisError, IndexError):  # no RESP, or an answer to nothing: as when there are too many clients
            self.abort()
            return
        if expected:
            self._busy_since = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._broken(self)
        owed, self._expected = self._expected, deque()
        unsent, self._unsent = self._unsent, []
        for one in (*owed, *unsent):
            one.lost()

    # ── the end ─────────────────────────────────────────────────────────────────────

    def stalled(self, now: float) -> bool:
        return bool(self._expected) and now - self._busy_since > STALL_SECONDS

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Let go of the socket; all that wait on it are told that they are lost."""
        if self._transport is not None:
            self._transport.abort()


async def connect(
    address: Address, tls: ssl.SSLContext | None, replicas: int, broken: Callable[[Connection], None]
) -> Connection:
    """A socket with nothing said on it. Raises OSError; the caller bounds the time."""
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(replicas, broken)

    if address.path:
        _, made = await loop.create_unix_connection(make, address.path)
        return made
    transport, made = await loop.create_connection(make, address.host, address.port, ssl=tls)
    found = transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
