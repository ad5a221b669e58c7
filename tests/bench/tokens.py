"""A model whose every token says when it was sent. It speaks the OpenAI wire, by hand, so that it costs next to nothing.

python -m tests.bench.tokens PORT COUNT RATE: an answer is COUNT tokens, RATE a second, each `<nanoseconds in hex> `.
"""

import asyncio
import json
import re
import sys
import time

import uvloop

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEFORE, AFTER = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"instant","choices":[{"index":0,"delta":'
    b'{"content":"',
    b'"},"finish_reason":null}]}\n\n',
)
STOP = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).encode() + b"\n\n"
DONE = STOP + b"data: [DONE]\n\n"
TOKEN = re.compile(rb"([0-9a-f]{16}) ")


def token() -> bytes:
    """This instant on the clock that all processes of the machine share."""
    return b"%016x " % time.monotonic_ns()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Model(asyncio.Protocol):
    def __init__(self, count: int, rate: float) -> None:
        self._count, self._pause = count, 1 / rate
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._data += data
        asked, end, body = self._data.partition(b"\r\n\r\n")
        length = LENGTH.search(asked)
        if self._transport is None or not end or len(body) < int(length[1] if length else 0):
            return
        self._data = b""
        self._transport.write(HEAD)
        self._say(self._count, self._loop.time())

    def _say(self, left: int, due: float) -> None:
        if self._transport is None:
            return
        if left:
            self._transport.write(chunk(BEFORE + token() + AFTER))
            self._loop.call_at(due + self._pause, self._say, left - 1, due + self._pause)
        else:
            self._transport.write(chunk(DONE) + b"0\r\n\r\n")


async def main(port: int, count: int, rate: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Model(count, rate), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
