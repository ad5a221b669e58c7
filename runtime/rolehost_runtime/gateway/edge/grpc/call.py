"""One client's call: events on their way to it, bounded, and given up when nobody reads them.

gRPC sends a status behind everything that was written before it. So whoever does not read is let go of at once (its
session has one listener less, its events are dropped), and hears of it when it reads at last, or never; until then the
call is one of the bounded number of calls, and holds one message of what its tenant may have in flight.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from grpc.aio import ServicerContext

from rolehost_api import wire
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.grpc.flights import Flights
from rolehost_runtime.gateway.edge.grpc.status import ended, status, trailers
from rolehost_runtime.gateway.edge.outbox import TRY_AGAIN_LATER
from rolehost_runtime.gateway.ports import Principal

log = logging.getLogger(__name__)

PAUSE_BYTES = 1 << 16
"""Said and not yet taken: past them, events wait in the outbox, where neighbours are joined."""
WRITE_SECONDS = 30.0
"""For a client to take one message."""
KEEPALIVE_MS = 5_000
"""Between pings of HTTP/2; as long again without an answer, and the connection is dead."""
LINGER_SECONDS = 2.0
"""For the last words, once the end is decided."""

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, and what a call of theirs needs."""

    gate: Gate
    context: Context
    principal: Principal
    check: Callable[[], object]
    """Raises where this client may not come in any more."""
    flights: Flights


class Talk(Protocol):
    """What is said on a call."""

    def on_writable(self) -> None: ...
    def on_gone(self) -> None: ...
    def migrate(self) -> None: ...


class Call:
    """Implements dialect.Paced and hub.Live."""

    talk: Talk

    def __init__(self, caller: Caller, said: Callable[[wire.ServerFrame], bytes]) -> None:
        """`said`: an event's bytes; empty where this client is not told of it."""
        self.key_sha256 = caller.principal.key_sha256
        self.paused = False
        self._gate, self._context, self._said = caller.gate, caller.context, said
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._in_flight = False
        self._flying_since: float | None = None
        self._ending = self._gave_up = False
        self.left_by_client = False
        """It ended without a word of ours: the client is gone, or did not read."""
        self._error: RolehostError | None = None
        self._over = asyncio.Event()
        """Nothing will be written any more."""
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None

    # ── outbox.Carrier, hub.Live ────────────────────────────────────────────────────

    def send(self, event: wire.ServerFrame) -> None:
        data = b"" if self._over.is_set() else self._said(event)
        if data:
            self._gate.metrics.frames_out += 1
            self._waiting.append(data)
            self._bytes += len(data)
            self.paused = self._bytes > PAUSE_BYTES
            self._news.set()

    def close(self, code: int, reason: str = "") -> None:
        """What waits is still written, but for a client that does not read."""
        if code == TRY_AGAIN_LATER:
            self._give_up()
        else:
            self.end(ended(code))

    def refuse(self, error: RolehostError) -> None:
        if self._ending:
            return
        self.send(wire.Error(session_id=None, seq=None, ts=self._gate.now_ms(), error=wire.error_body(error)))
        self.talk.on_gone()
        self.end(error)

    def hurry(self, urgent: bool) -> None:
        """HTTP/2 gives the signs of life, by its own clock."""

    def pace(self, heartbeat_ms: int) -> int:
        return KEEPALIVE_MS

    @property
    def stuck(self) -> float:
        """Seconds for which the client has not taken what is being written to it; 0 where nothing is."""
        return 0.0 if self._flying_since is None else self._loop.time() - self._flying_since

    def migrate(self) -> None:
        if not self._ending:
            self.talk.migrate()

    def end(self, error: RolehostError | None) -> None:
        """Say what waits, then the status: OK, or the error's."""
        if self._ending:
            return
        self._ending, self._error = True, error
        if error is not None:
            self._linger = self._loop.call_later(LINGER_SECONDS, self._over.set)
        self._news.set()

    def _give_up(self) -> None:
        self._ending, self._error, self._gave_up = True, ended(TRY_AGAIN_LATER), True
        self._over.set()

    # ── its life ────────────────────────────────────────────────────────────────────

    async def run(self, talk: Talk, hear: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until everything was said, or the client is gone (CancelledError). Raises the error that it ended with."""
        self.talk = talk
        tasks: list[asyncio.Task[None]] = []
        self._gate.admit(self, self._caller.principal)
        self._gate.metrics.calls.inc()
        try:
            self._caller.check()  # from here on the hub watches over that
            tasks = [self._loop.create_task(self._hear(hear())), self._loop.create_task(self._write())]
            self._caller.flights.keep(tasks[-1])
            await self._over.wait()
        finally:
            self.left_by_client = self._gave_up or not self._ending
            self._gate.metrics.calls.dec()
            self._gate.hub.remove(self)
            self._ending = True
            self._over.set()
            self._waiting.clear()
            talk.on_gone()
            for task in tasks:
                if task is not tasks[-1] or not self._in_flight:
                    task.cancel()
            for timer in (self._timer, self._linger):
                if timer is not None:
                    timer.cancel()
        if self._error is not None:
            raise self._error

    async def _hear(self, hearing: Coroutine[Any, Any, None]) -> None:
        try:
            await hearing
        except Exception as error:
            told = faults.internal(log, "hearing a call", error)
            self.talk.on_gone()
            self.end(told)

    async def _write(self) -> None:
        try:
            while True:
                while not self._waiting:
                    if self._ending:
                        return
                    self._news.clear()
                    await self._news.wait()
                data = self._waiting.popleft()
                self._timer = self._loop.call_later(WRITE_SECONDS, self._give_up)
                taken = await self._fly(data)
                self._timer.cancel()
                if not taken or self._over.is_set():
                    return
                self._bytes -= len(data)
                if self.paused and self._bytes <= PAUSE_BYTES:
                    self.paused = False
                if not self.paused:
                    self.talk.on_writable()
        except Exception as error:
            self._error = faults.internal(log, "writing to a call", error)
        finally:
            self._over.set()

    async def _fly(self, data: bytes) -> bool:
        """Returns when the client took it, or the call is over (False): it is not to be cancelled before."""
        tenant, flights = self._caller.principal.tenant.uid, self._caller.flights
        await flights.begin(tenant, len(data))
        self._in_flight, self._flying_since = True, self._loop.time()
        try:
            await self._context.write(data)
        except Exception:  # the library has several, for a call that is over
            return False
        finally:
            self._in_flight, self._flying_since = False, None
            flights.end(tenant, len(data))
        return True


async def abort(context: Context, error: RolehostError) -> None:
    """End the call with the error's status; it does not return."""
    await context.abort(status(error), error.message + (f". {error.hint}" if error.hint else ""), trailers(error))
