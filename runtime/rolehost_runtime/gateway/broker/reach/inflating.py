"""Bodies as they travel to bodies as they are, as far as there is room: a bomb is given up where it grows past it."""

import zlib

from rolehost_runtime.gateway.broker.reach import failures


class Inflating:
    """One body. `encoding` is what the answer's Content-Encoding says.

    >>> import gzip
    >>> Inflating("gzip", 100).feed(gzip.compress(b"meow"))
    b'meow'
    >>> Inflating("", 100).feed(b"meow")
    b'meow'
    """

    def __init__(self, encoding: str, most: int) -> None:
        """Raises Unavailable `http_failed` for an encoding that nobody asked for."""
        named = encoding.strip().lower()
        if named not in ("", "identity", "gzip", "x-gzip"):
            raise failures.broken()
        self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if named.endswith("gzip") else None
        self._travelled = self._left = self._most = most

    def feed(self, data: bytes) -> bytes:
        """Raises Unavailable `http_too_large` or `http_failed`."""
        self._travelled -= len(data)
        if self._gzip is not None and not self._gzip.eof:
            try:
                data = self._gzip.decompress(data, self._left + 1)
            except zlib.error:
                raise failures.broken() from None
        elif self._gzip is not None:
            data = b""
        self._left -= len(data)
        if self._left < 0 or self._travelled < 0:
            raise failures.too_large()
        return data

    def close(self) -> None:
        """Raises Unavailable `http_failed` where the body ends in its middle; none at all is no half."""
        if self._gzip is not None and not self._gzip.eof and self._travelled < self._most:
            raise failures.broken()
