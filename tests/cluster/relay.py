"""Ways into the node's network from outside of it.

Nothing in the node can reach out and nothing outside can reach in, so a loopback port outside is carried to an address
inside. `Relay` does it for a test, in its own process; `python -m tests.cluster.relay` does it for as long as the
cluster is up (the apiserver, and the gateway for whoever wants to talk to it).
"""

import asyncio
import socket
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.cluster.common import ClusterError, Paths, paths
from tests.cluster.namespace import Sockets

CHUNK = 1 << 16


class Relay:
    """A listening port on the loopback for `address` inside the node; a context manager.

    `with Relay("10.96.0.1", 443) as relay: connect(relay.host, relay.port)`
    """

    host = "127.0.0.1"

    def __init__(self, address: str, port: int, *, listen: int = 0, where: Paths | None = None) -> None:
        self._target = (address, port)
        self._sockets = Sockets(where or paths())
        self._listener = socket.create_server((self.host, listen))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._carried: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name=f"relay-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._sockets.close()

    def join(self) -> None:
        """Serve until the process is told to end."""
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._listener, limit=CHUNK))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for task in self._carried:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._carried, return_exceptions=True))
            self._loop.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside: asyncio.StreamWriter | None = None
        try:
            sock = await asyncio.to_thread(self._sockets.make)
            sock.setblocking(False)
            async with asyncio.timeout(10):
                await self._loop.sock_connect(sock, self._target)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers, inside = await asyncio.open_connection(sock=sock, limit=CHUNK)
            await asyncio.gather(_pump(reader, inside), _pump(answers, writer))
        except (OSError, TimeoutError, ClusterError):
            writer.transport.abort()
        finally:
            for end in (writer, inside):
                if end is not None:
                    end.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the source ends, then pass the end on: the other way may go on."""
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


def main() -> None:
    listen, address, port = sys.argv[1:]
    Relay(address, int(port), listen=int(listen)).join()


if __name__ == "__main__":
    main()
