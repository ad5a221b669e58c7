"""One request and its answer over one connection: HTTP/1.1 by h11, which does no I/O and takes nothing lightly."""

from collections.abc import AsyncIterator

import h11

from rolehost_runtime.core.reach.headers import has
from rolehost_runtime.core.reach.hops import Request
from rolehost_runtime.gateway.broker.reach import failures
from rolehost_runtime.gateway.broker.reach.dialing import Stream
from rolehost_runtime.gateway.broker.reach.inflating import Inflating

MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 200
MAX_INTERIM = 8
"""Answers of 1xx before the one."""
READ_BYTES = 65_536
AGENT = "rolehost"


class Exchange:
    """`head`, then `body`, then `close`, whatever happens."""

    def __init__(self, stream: Stream, request: Request, most: int) -> None:
        """`most`: bytes of the answer's body, as it travels and as it is."""
        self._reader, self._writer = stream
        self._request, self._most = request, most
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.sent = self.received = 0
        """Bytes."""

    async def head(self) -> None:
        """Raises Unavailable `http_failed`, `http_too_large`."""
        try:
            await self._send()
            for _ in range(MAX_INTERIM):
                event = await self._next()
                if isinstance(event, h11.Response):
                    break
                if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                    raise failures.broken()
            else:
                raise failures.broken()
        except (h11.ProtocolError, OSError) as error:
            raise self._failed(error) from None
        sizes = [(len(name), len(value)) for name, value in event.headers]
        whole = sum(name + value for name, value in sizes)
        if len(sizes) > MAX_HEADERS or whole > MAX_HEAD_BYTES or any(n > 256 or v > 8192 for n, v in sizes):
            raise failures.too_large()
        self.status = event.status_code
        self.headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)

    def header(self, name: str) -> str:
        return next((value for one, value in self.headers if one.lower() == name), "")

    async def body(self) -> AsyncIterator[bytes]:
        """Raises Unavailable `http_failed`, `http_too_large`."""
        inflating = Inflating(self.header("content-encoding"), self._most)
        try:
            while not isinstance(event := await self._next(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    raise failures.broken()
                if data := inflating.feed(bytes(event.data)):
                    yield data
        except (h11.ProtocolError, OSError) as error:
            raise self._failed(error) from None
        inflating.close()

    def close(self) -> None:
        self._writer.transport.abort()

    async def _send(self) -> None:
        request = self._request
        headers = [("Host", request.target.authority), *request.headers, ("Accept-Encoding", "gzip")]
        headers.append(("Connection", "close"))
        if not has(request.headers, "user-agent"):
            headers.append(("User-Agent", AGENT))
        if not has(request.headers, "accept"):
            headers.append(("Accept", "*/*"))
        if request.body or request.method not in ("GET", "HEAD", "DELETE"):
            headers.append(("Content-Length", str(len(request.body))))
        parts = [self._http.send(h11.Request(method=request.method, target=request.target.path, headers=headers))]
        if request.body:
            parts.append(self._http.send(h11.Data(data=request.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        data = b"".join(part for part in parts if part)
        self.sent += len(data)
        self._writer.write(data)
        await self._writer.drain()

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(READ_BYTES)
            self.received += len(data)
            self._http.receive_data(data)
        return event

    def _failed(self, error: Exception) -> Exception:
        """h11's own hint at 431 is for servers; for us it says that a head had no end."""
        endless = isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431
        return failures.too_large() if endless else failures.broken()
