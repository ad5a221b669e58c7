"""The agent: proves where it runs, takes links, and keeps the processes that run the logic."""

import asyncio
import os
import signal
import socket
import sys
import time
from contextlib import suppress

from rolehost_api.link.messages import Draining
from rolehost_runtime.sandbox import health, limits
from rolehost_runtime.sandbox.binding import Binding
from rolehost_runtime.sandbox.identity import Identity
from rolehost_runtime.sandbox.link import Link, Pod
from rolehost_runtime.sandbox.logs import LogRing, Stream
from rolehost_runtime.sandbox.pool import Pool
from rolehost_runtime.sandbox.probe import probe
from rolehost_runtime.sandbox.settings import Settings
from rolehost_runtime.sandbox.states import States

MAX_LINKS = 64
HANDSHAKE_SECONDS = 5.0
TOLD_SECONDS = 2.0
"""For a word to leave this pod; who does not take it by then finds out by the link's end."""
Address = tuple[str, int]


class Agent:
    """Construct it in a running loop."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._logs = LogRing()
        self._pool = Pool(
            memory_bytes=settings.memory_bytes, import_seconds=settings.import_seconds, printed=self._printed
        )
        self._binding = Binding(self._pool, settings.scratch)
        self._pod: Pod | None = None
        self._leave = asyncio.Event()

    async def serve(self, listen: Address, health_at: Address | None) -> int:
        """Take links until SIGTERM, then let open turns finish. Returns the exit status."""
        await self._start()
        server = await asyncio.start_server(
            self._connected,
            *listen,
            ssl=self._identity.tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=HANDSHAKE_SECONDS,
        )
        probes = await health.serve(*health_at, lambda: self._binding.ready) if health_at else None
        status = await self._until_over()
        server.close()
        await self._drain()
        if probes:
            probes.close()
        await self._pool.close()
        return status

    async def serve_stdio(self) -> int:
        """One link over stdin and stdout, which nothing else may touch; over when it hangs up."""
        reader, writer = await _stdio()
        await self._start()
        link = asyncio.create_task(self._connected(reader, writer))
        over = asyncio.create_task(self._until_over())
        await asyncio.wait((link, over), return_when=asyncio.FIRST_COMPLETED)
        if not link.done():
            await self._drain()
            link.cancel()
        over.cancel()
        await self._pool.close()
        return 0 if not self._pool.broken.is_set() else 1

    async def _start(self) -> None:
        """Warm the interpreter for the logic while the probe waits for what must not answer."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave.set)
        found, _ = await asyncio.gather(probe(self._settings.probe_targets), self._pool.warm())
        self._pod = Pod(
            uid=self._settings.pod_uid,
            identity=self._identity,
            keys=self._settings.platform_keys,
            probe=found,
            binding=self._binding,
            states=States(max_bytes=self._settings.states_bytes),
            logs=self._logs,
        )

    async def _until_over(self) -> int:
        leave = asyncio.create_task(self._leave.wait())
        broken = asyncio.create_task(self._pool.broken.wait())
        done, pending = await asyncio.wait((leave, broken), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        return 1 if broken in done else 0

    async def _drain(self) -> None:
        """Ask every gateway for no more turns, at the same time: one that gives no credit holds up no other."""
        assert self._pod is not None
        pod = self._pod
        told = asyncio.gather(*(_say_draining(link) for link in tuple(pod.links.values())))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                await asyncio.wait((told,), timeout=TOLD_SECONDS)
                while pod.open_turns:
                    pod.quiet.clear()
                    await pod.quiet.wait()
        told.cancel()
        await asyncio.gather(told, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._pod is not None
        if len(self._pod.links) >= MAX_LINKS:
            writer.close()
            return
        _notice_silence(writer)
        # Nobody waits for this task, and in Python 3.11 asyncio prints a traceback for one that ends as cancelled.
        with suppress(asyncio.CancelledError):
            await Link(self._pod, reader, writer).run()

    def _printed(self, stream: Stream, line: str, owner: object) -> None:
        """Role logic's output is conversation: to the ring, never to this process's own output."""
        if self._pod is None or not self._binding.logs:
            return
        self._logs.add(stream, line, time.time_ns() // 1_000_000, owner if isinstance(owner, str) else "")
        for bell in self._pod.bells:
            bell.set()


async def _say_draining(link: Link) -> None:
    with suppress(OSError):
        await link.send(0, Draining())


def _notice_silence(writer: asyncio.StreamWriter) -> None:
    """A gateway whose host died says nothing; its turns must not wait for it for ever."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _stdio() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The link's own copies of stdin and stdout; what prints by mistake goes to stderr."""
    loop = asyncio.get_running_loop()
    read, write = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(write, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def run(settings: Settings, identity: Identity, *, stdio: bool, listen: Address, health_at: Address | None) -> int:
    async def main() -> int:
        agent = Agent(settings, identity)
        return await (agent.serve_stdio() if stdio else agent.serve(listen, health_at))

    sys.stdout.flush()
    limits.hide()
    return asyncio.run(main())
