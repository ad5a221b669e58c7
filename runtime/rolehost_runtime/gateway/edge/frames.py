"""WebSocket frames (RFC 6455, section 5) of a server without extensions. Sans-IO: bytes in, frames out, and back.

    frames = Frames(max_bytes=65_536)
    for frame in frames.feed(data): …
    if frames.wrong: …                       # the close code for what is not the protocol; nothing more is read

A frame that is wrong is refused by its head, before its bytes are there. Close codes and their reasons are checked here;
whether a text is UTF-8 is for whoever puts its pieces together.
"""

from typing import NamedTuple

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
OPCODES = frozenset({CONT, TEXT, BINARY, CLOSE, PING, PONG})
MAX_CONTROL_BYTES = 125
PROTOCOL_ERROR, NO_UTF8, TOO_BIG = 1002, 1007, 1009
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""That may stand in a close frame; the others are words for what happened without one."""


class Frame(NamedTuple):
    opcode: int
    data: bytes
    fin: bool = True
    """The last of its message."""


def framed(opcode: int, data: bytes) -> bytes:
    """One whole frame from a server.

    >>> framed(TEXT, b"hi"), framed(TEXT, b"x" * 126)[:4], framed(BINARY, b"x" * 65_536)[:10].hex()
    (b'\\x81\\x02hi', b'\\x81~\\x00~', '827f0000000000010000')
    """
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65_536:
        return bytes((0x80 | opcode, 126, size >> 8, size & 0xFF)) + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def closing(code: int, reason: str = "") -> bytes:
    """A close frame; of the reason as much as a control frame holds, cut between two characters.

    >>> closing(1000), closing(1013, "é" * 100)[1], closing(1013, "é" * 100)[-2:].decode()
    (b'\\x88\\x02\\x03\\xe8', 124, 'é')
    """
    said = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return framed(CLOSE, code.to_bytes(2, "big") + said)


def unmasked(data: bytes, mask: bytes) -> bytes:
    """What a client sent under that mask of four bytes.

    >>> unmasked(bytes((0x68 ^ 1, 0x69 ^ 2, 0x21 ^ 3, 0x21 ^ 4, 0x21 ^ 1)), b"\\x01\\x02\\x03\\x04")
    b'hi!!!'
    """
    size = len(data)
    if not size or mask == b"\0\0\0\0":
        return data
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def wrong_close(data: bytes) -> int:
    """The close code for what is wrong with a close frame's data; 0 for nothing.

    >>> [wrong_close(data) for data in (b"", b"\\x03\\xe8bye", b"\\x03", b"\\x03\\xed", b"\\x03\\xe8\\xff")]
    [0, 0, 1002, 1002, 1007]
    """
    if not data:
        return 0
    try:
        data[2:].decode()
    except UnicodeDecodeError:
        return NO_UTF8
    return 0 if len(data) > 1 and int.from_bytes(data[:2], "big") in CLOSE_CODES else PROTOCOL_ERROR


class Frames:
    """What a client sends, in whatever pieces it comes."""

    __slots__ = ("_max", "_message", "_rest", "closed", "last", "wrong")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of one message, in however many frames."""
        self._max = max_bytes
        self._rest = b""
        self._message: int | None = None
        """Bytes so far of a message that comes in several frames."""
        self.closed = False
        """The client said goodbye: nothing after that counts."""
        self.last = b""
        """The data of that close frame."""
        self.wrong = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. After a close frame, and after what is wrong, there are none."""
        found: list[Frame] = []
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 2 and not self.closed and not self.wrong:
            first, size, body = data[at], data[at + 1] & 0x7F, at + 6
            if size > MAX_CONTROL_BYTES:
                body += 2 if size == 126 else 8
                if end < body - 4:
                    break
                size = int.from_bytes(data[at + 2 : body - 4], "big")
            self.wrong = self._refusal(first, data[at + 1], size)
            if self.wrong or end < body + size:
                break
            frame = Frame(first & 0x0F, unmasked(data[body : body + size], data[body - 4 : body]), first >= 0x80)
            at = body + size
            self._take(frame)
            if not self.wrong:
                found.append(frame)
        self._rest = b"" if self.closed or self.wrong else data[at:]
        return found

    def _refusal(self, first: int, second: int, size: int) -> int:
        """The close code for a frame with these first two bytes and that many of data; 0 where it may come."""
        opcode, fin = first & 0x0F, first >= 0x80
        if first & 0x70 or second < 0x80 or opcode not in OPCODES:
            return PROTOCOL_ERROR
        if opcode >= CLOSE:
            return 0 if fin and size <= MAX_CONTROL_BYTES else PROTOCOL_ERROR
        if (opcode == CONT) == (self._message is None):
            return PROTOCOL_ERROR
        return TOO_BIG if size > self._max - (self._message or 0) else 0

    def _take(self, frame: Frame) -> None:
        if frame.opcode == CLOSE:
            self.wrong = wrong_close(frame.data) or (0 if self._message is None else PROTOCOL_ERROR)
            self.closed, self.last = not self.wrong, frame.data
        elif frame.opcode < CLOSE:
            self._message = None if frame.fin else (self._message or 0) + len(frame.data)
