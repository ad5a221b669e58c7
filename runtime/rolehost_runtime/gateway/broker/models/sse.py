"""Lines out of a byte stream, as server-sent events are read. Sans-IO and bounded."""

from collections.abc import Iterator

MAX_LINE_BYTES = 262_144


class LineTooLong(Exception):
    """A line that does not end."""


class DataLines:
    """Feed bytes, get the contents of `data:` lines. Both line ends are known; everything else is skipped.

    >>> lines = DataLines()
    >>> list(lines.feed(b": hello\\r\\ndata: {}\\r\\n\\r\\nda")), list(lines.feed(b"ta:[DONE]\\n"))
    ([b'{}'], [b'[DONE]'])
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(self._rest) > MAX_LINE_BYTES:
            raise LineTooLong
