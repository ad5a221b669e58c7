"""Revisions that lost their new sessions: what becomes of those that they have. Pure.

MigrateAtTurn  they move to the stable revision at the boundary of a turn
Drain          they stay; from `until` on they move
Terminate      their sockets are closed; whoever comes back is on the stable revision
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rolehost_api.crd.rollout import SessionPolicy


class Fate(Enum):
    """What becomes of a session just now."""

    STAYS = "stays"
    MOVES = "moves"
    ENDS = "ends"
    """Its sockets are closed. A session without any moves."""


@dataclass(frozen=True, slots=True)
class Departing:
    """One such revision, as the operator says it."""

    revision: str
    policy: SessionPolicy
    reason: str = "rollback"
    """rollback, promotion or experiment: clients are told."""
    until_ms: int = 0
    """Of a drain, Unix time; 0: they end where they are."""

    def fate(self, now_ms: int) -> Fate:
        """
        >>> drained = Departing("cat-2", SessionPolicy.DRAIN, until_ms=5_000)
        >>> drained.fate(4_999).value, drained.fate(5_000).value
        ('stays', 'moves')
        >>> Departing("cat-2", SessionPolicy.DRAIN).fate(9_999_999).value
        'stays'
        """
        if self.policy is SessionPolicy.DRAIN:
            return Fate.MOVES if self.until_ms and now_ms >= self.until_ms else Fate.STAYS
        return Fate.ENDS if self.policy is SessionPolicy.TERMINATE else Fate.MOVES


def departing(from_all: Sequence[Departing], revision: str) -> Departing | None:
    """How that revision is left; None: it is not."""
    return next((one for one in from_all if one.revision == revision), None)


def next_change_ms(from_all: Sequence[Departing], now_ms: int) -> int | None:
    """When a drain ends that has not ended yet; None: none will.

    >>> left = [Departing(name, SessionPolicy.DRAIN, until_ms=at) for name, at in (("a", 500), ("b", 900), ("c", 700))]
    >>> next_change_ms(left, 600), next_change_ms(left, 900)
    (700, None)
    """
    return min((one.until_ms for one in from_all if one.fate(now_ms) is Fate.STAYS and one.until_ms), default=None)
