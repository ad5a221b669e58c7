"""A process under the agent as the agent sees it: its socket, its deadline."""

import asyncio
import os
import signal
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from rolehost_api.errors import ProtocolViolation, RolehostError
from rolehost_runtime.sandbox.pipes import Pipe, Printed
from rolehost_runtime.sandbox.procs import Gauge
from rolehost_runtime.sandbox.steps import (
    Died,
    Drop,
    Entering,
    Forked,
    Frames,
    FromTemplate,
    FromWorker,
    Loaded,
    LogNote,
    Missing,
    Said,
    Step,
    Stepped,
    pack,
)

MAX_STEP_BYTES = 4 * 1_048_576
"""The most that a worker may answer: a full reply, a full state and sixteen full questions."""
LAST_BYTES, LAST_READS = 262_144, 64
"""What is read of a dead worker's socket at most: all that one holds, unless a child of it goes on writing."""
MAX_MESSAGES = 65_536
"""That a worker may send during one step: notes for the log, nearly all of them."""


class WorkerLost(RolehostError):
    """The worker is gone; `entered` is the run and the hook that it was in, if any.

    Codes: hook_deadline, hook_died, and template_died, which no hook can bring about.
    """

    code = "hook_died"

    def __init__(self, code: str, entered: Entering | None) -> None:
        super().__init__("the worker is gone", code=code)
        self.entered = entered


class NoWorkers(RolehostError):
    """The template cannot be kept alive."""

    code = "logic_unavailable"


class Keeper(Protocol):
    """What a process tells the one who keeps it."""

    printed: Printed

    def free(self, worker: "Worker") -> None: ...

    def lost(self, worker: "Worker") -> None: ...

    def buried(self, pid: int) -> None: ...

    def template_lost(self, template: "Template") -> None: ...


@dataclass(slots=True)
class _Running:
    turn: int
    owner: object
    done: asyncio.Future[Stepped | Missing]
    wall: float
    until: float
    """On the loop's clock: the end of the turn's own time."""
    timer: asyncio.TimerHandle
    entered: Entering | None = None
    messages: int = 0


class Worker(asyncio.Protocol):
    """One worker process, seen from the agent."""

    def __init__(self, pool: Keeper, number: int, *, memory_bytes: int, apart: bool = False) -> None:
        self._pool = pool
        self._memory_bytes = memory_bytes
        self._gauge: Gauge | None = None
        self.number = number
        self.apart = apart
        """It runs one step and is no one else's."""
        self.pid = 0
        self.alive = True
        self._frames: Frames[Entering | LogNote | Stepped | Missing] = Frames(FromWorker, MAX_STEP_BYTES)
        self._transport: asyncio.Transport | None = None
        self._pipes: list[Pipe] = []
        self._running: _Running | None = None

    def attach(self, pid: int, *pipes: Pipe) -> None:
        self.pid = pid
        self._gauge = Gauge(pid)
        self._pipes += pipes

    @property
    def owner(self) -> object:
        return self._running.owner if self._running else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def run(self, step: Step, owner: object, *, wall: float, left: float) -> asyncio.Future[Stepped | Missing]:
        """Start a step. Each hook may take `wall` seconds, all together `left`; then the worker is killed.

        The future fails with WorkerLost. Cancelled, the step still runs to its end, and
        only then the worker is free again.
        """
        assert self.alive
        assert self._running is None
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        now = loop.time()
        timer = loop.call_at(min(now + wall, now + left), self._overrun)
        self._running = _Running(step.turn, owner, loop.create_future(), wall, now + left, timer)
        self._transport.write(pack(step))
        return self._running.done

    def forget(self, turn: int) -> None:
        """The turn goes on elsewhere, or not at all."""
        if self.alive and self._transport is not None:
            self._transport.write(pack(Drop(turn=turn)))

    def data_received(self, data: bytes) -> None:
        try:
            for said in self._frames.feed(data):
                self._heard(said)
        except ProtocolViolation:
            self.kill("hook_died")

    def _heard(self, said: Entering | LogNote | Stepped | Missing) -> None:
        running = self._running
        if running is None and isinstance(said, LogNote):
            return  # a thread that a hook left behind
        if running is None:
            raise ProtocolViolation("a worker spoke without being asked")
        running.messages += 1
        if running.messages > MAX_MESSAGES:
            raise ProtocolViolation("a worker does not stop talking")
        if isinstance(said, Entering):
            running.entered = said
            running.timer.cancel()
            loop = asyncio.get_running_loop()
            running.timer = loop.call_at(min(loop.time() + running.wall, running.until), self._overrun)
        elif isinstance(said, LogNote):
            self._pool.printed("log", said.text, running.owner)
        elif said.turn != running.turn:
            raise ProtocolViolation("a worker answered for another turn")
        else:
            for pipe in self._pipes:
                pipe.drain()
            running.timer.cancel()
            self._running = None
            if not running.done.done():
                running.done.set_result(said)
            self._free()

    def _free(self) -> None:
        """For the next step, which may be another session's."""
        if self._gauge is not None and self._gauge.worn(self._memory_bytes):
            self.kill("hook_died")
        else:
            self._pool.free(self)

    def hear_out(self) -> None:
        """Read what it said before it died. The news of its death comes by another way, and may be faster: then nobody
        would know which hook it was in, and the re-run would enter that hook again."""
        if self._transport is None or not self.alive:
            return
        with suppress(OSError), self._transport.get_extra_info("socket").dup() as sock:
            sock.setblocking(False)
            for _ in range(LAST_READS):
                data = sock.recv(LAST_BYTES)
                if not data:
                    return
                self.data_received(data)

    def _overrun(self) -> None:
        self.kill("hook_deadline")

    def connection_lost(self, exc: Exception | None) -> None:
        self.kill("hook_died")

    def kill(self, code: str) -> None:
        """End the process, whatever it does, and fail its step."""
        if not self.alive:
            return
        self.alive = False
        if self.pid:  # with its session; what left that is found by the sweep
            for end in (os.kill, os.killpg):
                with suppress(ProcessLookupError, PermissionError):
                    end(self.pid, signal.SIGKILL)
        if self._transport is not None:
            self._transport.abort()
        if self._gauge is not None:
            self._gauge.close()
        for pipe in self._pipes:
            pipe.drain()
            pipe.close()
        running, self._running = self._running, None
        if running:
            running.timer.cancel()
            if not running.done.done():
                running.done.set_exception(WorkerLost(code, running.entered))
        self._pool.lost(self)


class Template(asyncio.Protocol):
    """The template process, seen from the agent."""

    def __init__(self, pool: Keeper, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._pool = pool
        self._sock = sock
        self.process = process
        self._frames: Frames[Loaded | Forked | Died] = Frames(FromTemplate, MAX_STEP_BYTES)
        self._answer: asyncio.Future[Loaded | Forked] | None = None
        self._pipes: list[Pipe] = []
        self._transport: asyncio.Transport | None = None
        self.alive = True

    def attach(self, *pipes: Pipe) -> None:
        self._pipes += pipes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for said in self._frames.feed(data):
                if isinstance(said, Died):
                    self._pool.buried(said.pid)
                elif self._answer and not self._answer.done():
                    self._answer.set_result(said)
        except ProtocolViolation:
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self.kill()

    async def ask(self, said: Said, fds: tuple[int, ...], seconds: float) -> Loaded | Forked:
        """One question at a time. Raises TimeoutError or NoWorkers."""
        if not self.alive:
            raise NoWorkers("the template is gone")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            socket.send_fds(self._sock, [pack(said)], list(fds))
        except OSError:
            self.kill()
        async with asyncio.timeout(seconds):
            return await self._answer

    def kill(self) -> None:
        if not self.alive:
            return
        self.alive = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(NoWorkers("the template is gone"))
        self.process.kill()
        self.process.wait()
        if self._transport is not None:
            self._transport.abort()  # not the socket itself: its number would be taken again under the loop
        for pipe in self._pipes:
            pipe.drain()
            pipe.close()
        self._pool.template_lost(self)
