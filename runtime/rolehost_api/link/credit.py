"""Back-pressure of the link: who may still send how many bytes. Sans-IO, one book per end.

Counted are the payload bytes of a message, as `framing.Decoder.feed` reports them, frame
headers not. `Credit` messages themselves are free, or two ends without credit would wait
for each other for ever; everything else costs, on channel 0 too.
"""

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.framing import HEADER, MAX_PAYLOAD, WINDOW


def cost(encoded: bytes) -> int:
    """Payload bytes of one message that `framing.encode` made.

    >>> from rolehost_api.link.framing import encode
    >>> from rolehost_api.link.messages import Draining
    >>> cost(encode(7, Draining())) == len(encode(7, Draining())) - 9
    True
    """
    frames = -(-len(encoded) // (MAX_PAYLOAD + HEADER.size))
    return len(encoded) - frames * HEADER.size


class Credits:
    """Both directions of one end.

    Sending:    `sent(n)` before a message is written; False means wait for `granted`.
    Receiving:  `received(n)` when a message arrives, `worked(n)` when it is dealt with;
                `worked` returns the bytes to grant the peer in a `Credit` now, or 0.
                Grants are gathered up to a quarter of the window, so a burst of small
                messages costs few of them.

    >>> book = Credits(window=100)
    >>> book.sent(80), book.sent(30), book.left
    (True, False, 20)
    >>> book.granted(80); book.sent(30)
    True
    >>> book.received(60); book.worked(10), book.worked(20)
    (0, 30)
    """

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self.left = window
        """Bytes that this end may still send."""
        self._owed = 0
        """Received and not granted back: the peer may not let it grow over the window."""
        self._worked = 0

    def sent(self, size: int) -> bool:
        """Take `size` bytes of credit; False, and nothing taken, where there is too little."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def granted(self, size: int) -> None:
        """The peer's `Credit`. Raises ProtocolViolation where it gives more than was used."""
        if self.left + size > self._window:
            raise ProtocolViolation("the peer granted more credit than was used")
        self.left += size

    def received(self, size: int) -> None:
        """A message arrived. Raises ProtocolViolation where the peer had no credit for it."""
        self._owed += size
        if self._owed > self._window:
            raise ProtocolViolation("the peer sent more than its credit")

    def worked(self, size: int) -> int:
        """A message was dealt with: the grant to send now, or 0 while too little has gathered."""
        self._worked += size
        if self._worked * 4 < self._window:
            return 0
        grant, self._worked = self._worked, 0
        self._owed -= grant
        return grant
