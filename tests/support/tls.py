"""An edge that ends TLS before a plain port, as an ingress or a load balancer does: bytes in, bytes out."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK = 1 << 16


@contextlib.asynccontextmanager
async def tls_edge(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """The port on the loopback where TLS is spoken for what listens plainly on `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    carried: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        for ends in ((reader, plain_writer), (plain_reader, writer)):
            task = asyncio.create_task(carry(*ends))
            carried.add(task)
            task.add_done_callback(carried.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(carried):
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
