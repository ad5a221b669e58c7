"""Which sessions run apart from the others, because their turns ended workers. Sans-IO; time is an argument."""

from collections import OrderedDict
from dataclasses import dataclass

LOSSES = 2
"""Workers that a session may cost before it is served apart."""
GOOD_TURNS = 3
"""In a row without a loss; then the session is one like any other again."""
FORGET_SECONDS = 600.0
"""After the last loss, whatever came of the session."""
MAX_SESSIONS = 1024
"""Remembered; of more the one whose last loss is the longest ago is forgotten."""


@dataclass(slots=True)
class _Record:
    losses: int
    good: int
    last: float
    """When the last worker was lost, in seconds of whatever clock the caller has."""


class Quarantine:
    """
    >>> quarantine = Quarantine()
    >>> quarantine.lost("a", 0); quarantine.holds("a", 0)
    False
    >>> quarantine.lost("a", 5); quarantine.holds("a", 5)
    True

    A session leaves by good turns, or by time:

    >>> quarantine.ended_well("a"); quarantine.ended_well("a"); quarantine.holds("a", 9)
    True
    >>> quarantine.holds("a", 605)
    False
    >>> quarantine.lost("b", 0); quarantine.lost("b", 0)
    >>> for _ in range(3): quarantine.ended_well("b")
    >>> quarantine.holds("b", 0)
    False
    """

    def __init__(self, max_sessions: int = MAX_SESSIONS) -> None:
        self._max_sessions = max_sessions
        self._records: OrderedDict[str, _Record] = OrderedDict()
        """By time of the last loss, oldest first."""

    def __len__(self) -> int:
        return len(self._records)

    def lost(self, session: str, now: float) -> None:
        """A worker was lost while it ran a hook of this session."""
        self._forget(now)
        record = self._records.setdefault(session, _Record(0, 0, now))
        self._records.move_to_end(session)
        record.losses, record.good, record.last = record.losses + 1, 0, now
        while len(self._records) > self._max_sessions:
            self._records.popitem(last=False)

    def ended_well(self, session: str) -> None:
        """A turn of this session ended and cost no worker."""
        record = self._records.get(session)
        if record is None:
            return
        record.good += 1
        if record.good >= GOOD_TURNS:
            del self._records[session]

    def holds(self, session: str, now: float) -> bool:
        self._forget(now)
        record = self._records.get(session)
        return record is not None and record.losses >= LOSSES

    def _forget(self, now: float) -> None:
        while self._records:
            session, oldest = next(iter(self._records.items()))
            if now - oldest.last < FORGET_SECONDS:
                return
            del self._records[session]
