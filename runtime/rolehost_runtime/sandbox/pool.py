"""The processes under the agent: one template, and workers that come and go.

A worker that overruns its deadline is killed with everything that it started; the spare
takes its place at once and a new one is forked. Beside them one worker at a time may be
forked for a single step, for a turn that must not share. A template that dies takes its
workers with it, and is started again a few times before the pod is given up.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine
from typing import Any

from rolehost_api.link.messages import LoadError
from rolehost_runtime.sandbox.pipes import Pipe, Printed
from rolehost_runtime.sandbox.policies import SETTING
from rolehost_runtime.sandbox.processes import NoWorkers, Template, Worker
from rolehost_runtime.sandbox.procs import parent, sweep
from rolehost_runtime.sandbox.steps import Fork, Forked, Load, Loaded

TEMPLATE = "rolehost_runtime.sandbox.template"
MIN_WORKERS = 2
"""So that there is one for the others while one is in a hook that never ends."""
MAX_RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
FORK_SECONDS = 10.0
RETRY_SECONDS = 0.2
"""After a fork that failed for want of memory or processes."""


class Pool:
    def __init__(self, *, memory_bytes: int, import_seconds: float, printed: Printed) -> None:
        self.printed = printed
        self._memory_bytes = memory_bytes
        self._import_seconds = import_seconds
        self._max_workers = MIN_WORKERS
        self._template: Template | None = None
        self._load: Load | None = None
        self._workers: dict[int, Worker] = {}
        self._idle: list[Worker] = []
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._one_apart = asyncio.Lock()
        self._numbers = 0
        self._processes = asyncio.Lock()
        """Held while forking and while sweeping, so that a newborn is never taken for a stray."""
        self._restarts: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.broken = asyncio.Event()

    async def warm(self) -> None:
        """Start the interpreter that will import the logic, before it is known which."""
        if self._template is None:
            self._template = await self._spawn_template()

    async def load(self, load: Load, max_workers: int) -> Loaded:
        """Import the logic, and have workers ready. Never raises: what is wrong is in the answer."""
        self._max_workers = max(MIN_WORKERS, max_workers)
        await self.warm()
        loaded = await self._load_into(load)
        if loaded.error is None:
            self._load = load
            await self._fill()
            if not self._workers:
                return Loaded(error=LoadError(code="logic_died", hint="no worker could be started"))
        return loaded

    async def acquire(self, prefer: Worker | None) -> Worker:
        """An idle worker, the preferred one if it is; waits in line for one. Raises NoWorkers."""
        if self.broken.is_set():
            raise NoWorkers("the logic's processes keep dying")
        if prefer is not None and prefer in self._idle:
            self._idle.remove(prefer)
            return prefer
        if self._idle:
            worker = self._idle.pop()
            self._replenish()
            return worker
        waiting: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._replenish()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and not waiting.exception():
                self.free(waiting.result())
            raise

    async def acquire_apart(self) -> Worker:
        """A worker that was forked for this and runs one step; `part` with it. One at a time. Raises NoWorkers."""
        await self._one_apart.acquire()
        try:
            while not self.broken.is_set() and not self._closing:
                birth = asyncio.create_task(self._born(apart=True))  # a fork under way must be seen to its end
                try:
                    worker = await asyncio.shield(birth)
                except asyncio.CancelledError:
                    birth.add_done_callback(_unwanted)
                    raise
                if worker is not None:
                    return worker
                await asyncio.sleep(RETRY_SECONDS)
            raise NoWorkers("the logic's processes keep dying")
        except BaseException:
            self._one_apart.release()
            raise

    def part(self, worker: Worker) -> None:
        """End a worker that ran apart, with all that it remembers."""
        worker.kill("hook_died")
        self._one_apart.release()

    def free(self, worker: Worker) -> None:
        """A worker is idle: hand it to who waits longest."""
        if not worker.alive or worker.apart:
            return
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(worker)
                return
        self._idle.append(worker)

    def lost(self, worker: Worker) -> None:
        self._workers.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        if not self._closing:
            self._go(self._sweep())
        self._replenish()

    def buried(self, pid: int) -> None:
        """The template has reaped a process; if a worker's socket lives on in a child of it, this is the only sign."""
        for worker in list(self._workers.values()):
            if worker.pid == pid:
                worker.hear_out()
                worker.kill("hook_died")

    def template_lost(self, template: Template) -> None:
        self._template = None
        for worker in list(self._workers.values()):
            worker.kill("template_died")
        if self._closing or self._load is None:
            return
        now = asyncio.get_running_loop().time()
        self._restarts.append(now)
        while self._restarts[0] < now - RESTART_WINDOW_SECONDS:
            self._restarts.popleft()
        if len(self._restarts) > MAX_RESTARTS:
            self._give_up()
        else:
            self._go(self._restart(self._load))

    async def close(self) -> None:
        """Kill everything."""
        self._closing = True
        for worker in list(self._workers.values()):
            worker.kill("hook_died")
        if self._template is not None:
            template = self._template
            async with self._processes:
                await asyncio.to_thread(sweep, template.process.pid, frozenset[int]())
            template.kill()
        for task in tuple(self._tasks):
            task.cancel()

    # Processes

    async def _restart(self, load: Load) -> None:
        await self.warm()
        loaded = await self._load_into(load)
        if loaded.error is not None:
            self._give_up()
            return
        await self._fill()

    def _give_up(self) -> None:
        self.broken.set()
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(NoWorkers("the logic's processes keep dying"))

    async def _load_into(self, load: Load) -> Loaded:
        assert self._template is not None
        template = self._template
        try:
            loaded = await template.ask(load, (), self._import_seconds)
        except TimeoutError:
            template.kill()
            hint = f"importing took over {self._import_seconds:g} seconds; do work in hooks, not at import"
            return Loaded(error=LoadError(code="import_deadline", hint=hint))
        except NoWorkers:
            return Loaded(error=LoadError(code="logic_died", hint="the process ended while it imported the logic"))
        if not isinstance(loaded, Loaded):
            template.kill()
            return Loaded(error=LoadError(code="logic_died"))
        await self._sweep()  # what the import left running
        return loaded

    async def _fill(self) -> None:
        """The workers that are there from the start, and the spare."""
        for _ in range(MIN_WORKERS + 1):
            await self._fork()

    async def _spawn_template(self) -> Template:
        loop = asyncio.get_running_loop()
        mine, out_read, err_read, process = _start_template(self._memory_bytes)
        template = Template(self, process, mine)
        await loop.create_unix_connection(lambda: template, sock=mine)
        template.attach(
            Pipe(out_read, "stdout", lambda: None, self.printed), Pipe(err_read, "stderr", lambda: None, self.printed)
        )
        return template

    def _replenish(self) -> None:
        """Keep one idle worker as a spare, within the bound."""
        if self._closing or self.broken.is_set():
            return
        if not self._idle and self._room and self._load is not None:
            self._go(self._fork(spare=True))

    @property
    def _room(self) -> bool:
        """For one more worker that is shared: so many as may run hooks, and the spare."""
        return sum(not worker.apart for worker in self._workers.values()) <= self._max_workers

    async def _fork(self, *, spare: bool = False) -> None:
        """One more worker that is shared; as a spare only where there is still none."""
        worker = await self._born(spare=spare)
        if worker is not None:
            self.free(worker)

    async def _born(self, *, spare: bool = False, apart: bool = False) -> Worker | None:
        """A new worker, or None: there is no template, no room for it, or the fork failed."""
        loop = asyncio.get_running_loop()
        async with self._processes:
            template = self._template
            if template is None or (not apart and not self._room) or (spare and self._idle):
                return None
            self._numbers += 1
            worker = Worker(self, self._numbers, memory_bytes=self._memory_bytes, apart=apart)
            mine, theirs = _socketpair()
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe()
            given = (theirs.detach(), out_write, err_write)
            forked: Loaded | Forked | None = None
            try:
                forked = await template.ask(Fork(number=worker.number), given, FORK_SECONDS)
            except (TimeoutError, NoWorkers):
                template.kill()
            finally:
                for fd in given:
                    os.close(fd)
            if not isinstance(forked, Forked) or not template.alive or not _child(forked.pid, template):
                mine.close()
                os.close(out_read)
                os.close(err_read)
                loop.call_later(RETRY_SECONDS, self._replenish)
                return None
            self._workers[worker.number] = worker
            worker.attach(
                forked.pid,
                Pipe(out_read, "stdout", lambda: worker.owner, self.printed),
                Pipe(err_read, "stderr", lambda: worker.owner, self.printed),
            )
            await loop.create_unix_connection(lambda: worker, sock=mine)
        return worker

    async def _sweep(self) -> None:
        async with self._processes:
            if self._template is not None:
                alive = frozenset(worker.pid for worker in self._workers.values())
                await asyncio.to_thread(sweep, self._template.process.pid, alive)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _child(pid: int, template: Template) -> bool:
    """Whether it is one of the template's, whose word alone would let the tenant's code choose what is killed later."""
    return pid > 0 and (sys.platform != "linux" or parent(pid) == template.process.pid)


def _unwanted(birth: asyncio.Task[Worker | None]) -> None:
    if not birth.cancelled() and birth.exception() is None and (worker := birth.result()) is not None:
        worker.kill("hook_died")


def _socketpair() -> tuple[socket.socket, socket.socket]:
    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    return mine, theirs


def _start_template(memory_bytes: int) -> tuple[socket.socket, int, int, subprocess.Popen[bytes]]:
    """Our end of its socket, its stdout, its stderr, and the process."""
    mine, theirs = _socketpair()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-s", "-m", TEMPLATE, str(theirs.fileno()), str(memory_bytes)],
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
            env=_environment(),
        )
    os.close(out_write)
    os.close(err_write)
    return mine, out_read, err_read, process


def _environment() -> dict[str, str]:
    """All that the tenant's processes see of the environment: nothing of the agent's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "PYTHONPATH", SETTING) if name in os.environ}
    return kept | {
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/nonexistent",
        "TMPDIR": "/tmp",  # noqa: S108 - the pod's only writable place
    }
