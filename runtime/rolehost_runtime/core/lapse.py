"""When what is left of a session may go: only once its register itself proves that it has lasted its time. Pure.

That a session's head is not there proves nothing: Redis may have lost it. So the register says of each session when
somebody spoke in it last and for how long it is kept after that, and both must agree before anything is deleted.
"""

from dataclasses import dataclass
from enum import Enum

REFRESH_MS = 86_400_000
"""The register hears of a session's turns so late at most, so that turns do not pay for it."""
MARGIN_MS = 2 * REFRESH_MS
"""A day for the word that has not come yet, and one for clocks and for a look before anything is lost."""
CLOCKS_MS = 600_000
"""A head that is gone so little too early is put down to clocks."""


@dataclass(frozen=True, slots=True)
class Active:
    """When somebody was last heard in a session, and what was promised then."""

    at_ms: int
    keep_seconds: int
    """For how long it is kept after that, as its Role said then: a change of the Role counts from the next turn on."""

    @classmethod
    def begun(cls, at_ms: int) -> "Active":
        """Nothing is durable yet, and nothing is promised: it is not missed, and goes with the margin."""
        return cls(at_ms, 0)

    def as_promised(self, before: "Active | None") -> "Active":
        """Of the same moment, with what was promised before, where it was.

        >>> Active(9, 7_200).as_promised(Active(5, 3_600)), Active(9, 7_200).as_promised(None)
        (Active(at_ms=9, keep_seconds=3600), Active(at_ms=9, keep_seconds=7200))
        """
        return self if before is None else Active(self.at_ms, before.keep_seconds)

    @property
    def until_ms(self) -> int:
        return self.at_ms + 1000 * self.keep_seconds

    @property
    def words(self) -> str:
        """
        >>> Active(5_000, 3_600).words, Active.of(b"5000 3600"), Active.of(None), Active.of(b"soon"), Active.of(b"5 -1")
        ('5000 3600', Active(at_ms=5000, keep_seconds=3600), None, None, None)
        """
        return f"{self.at_ms} {self.keep_seconds}"

    @classmethod
    def of(cls, words: bytes | None) -> "Active | None":
        """None: nothing is said, or nothing that can be read."""
        at, _, keep = (words or b"").partition(b" ")
        readable = at.isdigit() and keep.isdigit() and len(at) < 16 and len(keep) < 12
        return cls(int(at), int(keep)) if readable else None


class Left(Enum):
    """What the register and Redis say together of one session."""

    KEPT = "kept"
    """It is there; or it went when it was to go, and what is left waits for its margin."""
    UNDATED = "undated"
    """Nobody knows how long it has been silent: it counts from now on as if somebody had just spoken."""
    MISSING = "missing"
    """It was to be there and is not. Redis lost it; nothing of it is deleted."""
    LAPSED = "lapsed"
    """It is gone, and was to be: the rest may go."""


def left_of(active: Active | None, there: bool, now_ms: int) -> Left:
    """`there`: its head is. Kept for an hour after a turn at noon (times in hours after it):

    >>> hour = 3_600_000
    >>> noon = Active(0, 3_600)
    >>> [left_of(noon, True, now * hour).value for now in (0, 1, 49, 1_000)]    # who is there is never touched
    ['kept', 'kept', 'kept', 'kept']
    >>> left_of(noon, False, hour // 2).value                                   # too early: that was not its time
    'missing'
    >>> [left_of(noon, False, now * hour).value for now in (1, 24, 48)]         # it may have spoken up to a day later
    ['kept', 'kept', 'kept']
    >>> left_of(noon, False, 49 * hour - 1).value, left_of(noon, False, 49 * hour).value
    ('kept', 'lapsed')
    >>> [left_of(Active.begun(0), False, now * hour).value for now in (0, 1, 48)]     # it never had a turn
    ['kept', 'kept', 'lapsed']
    >>> left_of(None, False, 1_000 * hour).value, left_of(None, True, 0).value
    ('undated', 'undated')
    """
    if active is None:
        return Left.UNDATED
    if there:
        return Left.KEPT
    if now_ms >= active.until_ms + MARGIN_MS:
        return Left.LAPSED
    return Left.MISSING if now_ms < active.until_ms - CLOCKS_MS else Left.KEPT


def to_be_told(told: Active | None, now: Active) -> bool:
    """Whether the register is to hear that somebody spoke: once a day, and where the promise is another one.

    >>> told = Active(0, 3_600)
    >>> to_be_told(told, Active(REFRESH_MS - 1, 3_600)), to_be_told(told, Active(REFRESH_MS, 3_600))
    (False, True)
    >>> to_be_told(told, Active(1, 7_200)), to_be_told(None, told)
    (True, True)
    """
    return told is None or told.keep_seconds != now.keep_seconds or now.at_ms - told.at_ms >= REFRESH_MS
