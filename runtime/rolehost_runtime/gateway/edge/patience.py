"""How many frames that say nothing a socket may send: pings, pongs and the pieces of a message."""

from rolehost_api.errors import BadRequest

MAX_FRAGMENTS = 1024
"""Of one message: a full one in pieces of 64 bytes."""
BURST, PER_SECOND = 128, 32.0
"""Pings and pongs at once, and in the long run. Who keeps its connection alive sends one in seconds."""


class Flooded(BadRequest):
    """More than anybody needs: the socket is closed, with 1008."""

    code = "frame_flood"
    status = 429
    close_code = 1008


class Patience:
    """Pure: the moment is an argument, in seconds of a clock that only goes forward.

    >>> patience = Patience(0.0)
    >>> sum(patience.control(0.0) for _ in range(10_000)), patience.control(1.0)
    (128, True)
    >>> sum(patience.fragment(last=False) for _ in range(10_000)), patience.fragment(last=True)
    (1024, False)
    """

    __slots__ = ("_at", "_fragments", "_left")

    def __init__(self, now: float) -> None:
        self._left, self._at = float(BURST), now
        self._fragments = 0

    def control(self, now: float) -> bool:
        """One more ping or pong came. False: it is one too many."""
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def fragment(self, *, last: bool) -> bool:
        """One more piece of the message came. False: it is one too many."""
        self._fragments += 1
        enough = self._fragments <= MAX_FRAGMENTS
        if last and enough:
            self._fragments = 0
        return enough
