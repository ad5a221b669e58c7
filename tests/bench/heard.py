"""What one client of a herd was told since it came back. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Heard:
    """Events of one session after `after_seq`, in the order in which they came.

    >>> heard = Heard(after_seq=3)
    >>> heard.promised(5)
    >>> [(heard.event(seq), heard.whole) for seq in (4, 5)]
    [(None, False), (None, True)]
    >>> heard.event(5); heard.event(8); (heard.doubled, heard.skipped, heard.last)
    (1, 2, 8)
    """

    after_seq: int
    to_seq: int | None = None
    """Where the log stood when the server said so; None until then."""
    last: int = field(init=False)
    doubled: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        self.last = self.after_seq

    def promised(self, to_seq: int) -> None:
        self.to_seq = to_seq

    def event(self, seq: int) -> None:
        if seq <= self.last:
            self.doubled += 1
            return
        self.skipped += seq - self.last - 1
        self.last = seq

    @property
    def whole(self) -> bool:
        """All that was missed is there: from here on the session is live."""
        return self.to_seq is not None and self.last >= self.to_seq
