"""The kubelet's two questions: /live is yes while the loop turns, /ready once logic was loaded."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

READ_SECONDS = 2.0
MAX_REQUEST = 4096


async def serve(host: str, port: int, ready: Callable[[], bool]) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head.split(b" ", 2), ready))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host, port, limit=MAX_REQUEST)


def _response(request: list[bytes], ready: Callable[[], bool]) -> bytes:
    path = request[1].partition(b"?")[0] if len(request) == 3 and request[0] in (b"GET", b"HEAD") else b""
    if path == b"/live" or (path == b"/ready" and ready()):
        status = b"200 OK"
    else:
        status = b"503 Service Unavailable" if path == b"/ready" else b"404 Not Found"
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
