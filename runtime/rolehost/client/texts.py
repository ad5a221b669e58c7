"""What was shown of each response so far: a prefix of the truth, never doubled and without a hole. Pure."""

from collections import deque
from dataclasses import dataclass, field

MAX_TEXT = 1 << 20
"""Characters of one response that are held; servers stop at a quarter of it."""
MAX_OPEN = 8
MAX_ENDED = 256


class Hole(Exception):
    """A delta begins after what was shown: something before it never came."""


@dataclass(slots=True)
class Text:
    """One response whose end has not been told."""

    response_id: str
    client_msg_id: str | None = None
    length: int = 0
    """Code points that were shown."""
    stale: bool = False
    """Heard on a connection that is gone; nobody said yet that it goes on."""
    _pieces: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return "".join(self._pieces)

    def add(self, offset: int, delta: str) -> str:
        """What of a delta is new. Offsets count code points. Raises Hole.

        >>> text = Text("r1")
        >>> text.add(0, "从前，"), text.add(0, "从前，有"), text.add(1, "前"), text.shown
        ('从前，', '有', '', '从前，有')
        """
        self.stale = False
        if self.length >= MAX_TEXT:
            return ""  # its end tells the whole
        if offset > self.length:
            raise Hole
        new = delta[self.length - offset :][: MAX_TEXT - self.length]
        if new:
            self._pieces.append(new)
            self.length += len(new)
        return new

    def clear(self) -> None:
        """It starts over."""
        self._pieces.clear()
        self.length = 0


class Texts:
    """The open responses of one session, and which ended: nothing that comes late opens those again."""

    def __init__(self) -> None:
        self.open: dict[str, Text] = {}
        self._ended: deque[str] = deque(maxlen=MAX_ENDED)
        self._void: deque[str] = deque(maxlen=MAX_ENDED)

    def ended(self, response_id: str) -> bool:
        """Its end was told."""
        return response_id in self._ended

    def over(self, response_id: str) -> bool:
        """Nothing more of it is to be shown, but its end if that was not told."""
        return response_id in self._ended or response_id in self._void

    def begin(self, response_id: str, client_msg_id: str | None) -> tuple[Text, bool]:
        """The response by that id, and whether it is new."""
        known = self.open.get(response_id)
        if known is not None:
            known.stale = False
            known.client_msg_id = known.client_msg_id or client_msg_id
            return known, False
        while len(self.open) >= MAX_OPEN:
            self.open.pop(next(iter(self.open)))
        made = self.open[response_id] = Text(response_id, client_msg_id)
        return made, True

    def outdated(self, response_id: str, client_msg_id: str | None, *, begun: bool) -> list[Text]:
        """Take out what can only be over now that `response_id` is heard of: a message is answered once, and a
        session answers one at a time, so what was open on a lost connection is replaced by what is `begun` now."""
        gone = [
            text
            for text in self.open.values()
            if text.response_id != response_id
            and ((begun and text.stale) or (client_msg_id is not None and text.client_msg_id == client_msg_id))
        ]
        for text in gone:
            del self.open[text.response_id]
            self._void.append(text.response_id)
        return gone

    def end(self, response_id: str, *, durable: bool) -> None:
        """A response is over. What failed may be in the log after all, so it is not remembered as ended."""
        self.open.pop(response_id, None)
        if durable:
            self._ended.append(response_id)

    def lost(self) -> None:
        """The connection is gone; what is open may go on, or may be begun again elsewhere."""
        for text in self.open.values():
            text.stale = True
