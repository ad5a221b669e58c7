"""A WebSocket client of a few lines: it costs so little that thousands of them leave the machine to what is measured.

No extension, no fragment, no masking key but zero: enough for servers that are known.
"""

import asyncio

TEXT, CLOSE, PING = 1, 8, 9
PONG = b"\x8a\x80\0\0\0\0"


def head(path: str, *headers: str) -> bytes:
    """A request for an upgrade."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def text(body: bytes) -> bytes:
    """A frame of text from a client.

    >>> text(b"hi")
    b'\\x81\\x82\\x00\\x00\\x00\\x00hi'
    >>> text(b"x" * 126)[:4]
    b'\\x81\\xfe\\x00~'
    """
    if len(body) < 126:
        return bytes((0x81, 0x80 | len(body), 0, 0, 0, 0)) + body
    return bytes((0x81, 0xFE)) + len(body).to_bytes(2, "big") + bytes(4) + body


def take(data: bytearray) -> tuple[int, bytes] | None:
    """The first whole frame of what came, as opcode and body, taken out; None where there is none.

    >>> came = bytearray(b"\\x81\\x02hi\\x88")
    >>> take(came), take(came), bytes(came)
    ((1, b'hi'), None, b'\\x88')
    """
    if len(data) < 2:
        return None
    size, at = data[1] & 127, 2
    if size == 126:
        size, at = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(data[2:10], "big"), 10
    if len(data) < at + size:
        return None
    body, opcode = bytes(data[at : at + size]), data[0] & 15
    del data[: at + size]
    return opcode, body


class Lean(asyncio.Protocol):
    """One socket at a time; whoever derives says what to do with texts."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._open = False

    def request(self) -> bytes:
        raise NotImplementedError

    def opened(self) -> None:
        """The server took us in."""

    def told(self, body: bytes) -> None:
        raise NotImplementedError

    def refused(self) -> None:
        """The server said no, or goodbye."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport, self._open = transport, False
        self._data.clear()
        transport.write(self.request())

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._open:
            answer, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            if not answer.startswith(b"HTTP/1.1 101"):
                self.refused()
                return
            self._open, self._data = True, rest
            self.opened()
        while (frame := take(self._data)) is not None:
            opcode, body = frame
            if opcode == TEXT:
                self.told(body)
            elif opcode == PING and self.transport is not None:
                self.transport.write(PONG)
            elif opcode == CLOSE:
                self.refused()
                return
