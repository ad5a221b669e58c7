"""Lines out of a byte stream, as server-sent events and newline-delimited JSON are read. Sans-IO and bounded."""

MAX_LINE_BYTES = 262_144


class LineTooLong(Exception):
    """A line that does not end."""


class JsonLines:
    """Feed bytes, get whole lines that are not empty. What stands after the last line's end may be a line too: `rest`.

    >>> lines = JsonLines()
    >>> lines.feed(b'{"a":1}\\n\\n{"a"'), lines.feed(b':2}\\r\\n{}'), lines.rest
    ([b'{"a":1}'], [b'{"a":2}\\r'], b'{}')
    """

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Raises LineTooLong."""
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > MAX_LINE_BYTES:
            raise LineTooLong
        return [line for line in lines if line]


class DataLines:
    """Feed bytes, get the contents of `data:` lines. Both line ends are known; everything else is skipped.

    >>> lines = DataLines()
    >>> lines.feed(b": hello\\r\\ndata: {}\\r\\n\\r\\nda"), lines.feed(b"ta:[DONE]\\n")
    ([b'{}'], [b'[DONE]'])
    """

    def __init__(self) -> None:
        self._lines = JsonLines()

    def feed(self, data: bytes) -> list[bytes]:
        """Raises LineTooLong."""
        return [line[5:].strip() for line in self._lines.feed(data) if line.startswith(b"data:")]
