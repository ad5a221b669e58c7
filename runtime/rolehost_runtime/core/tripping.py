"""When a gateway stops giving a candidate new sessions by itself, before anybody has the numbers. Pure.

It only ever holds back: it promotes nothing, moves nobody, and ends with the evidence that it rests on.
"""

from dataclasses import dataclass, replace

from rolehost_api.crd.rollout import Arm
from rolehost_runtime.core.assignment import Assignment

IN_A_ROW = 20
"""Bad sessions of the candidate, one after the other. With evidence at hand the operator rolls back after fewer, whatever
the weight: a gateway that holds back sooner would keep from it the very sessions that it decides by.

    at 5 % each bad session speaks up to 20 times for "worse": 4 to 6 decide      at 50 % up to twice: 13 to 16
"""
USERS = 5
"""Distinct users among them. Sessions of nobody in particular are in the row and count for none: they cost whoever
makes them nothing."""
BASELINE = 8
"""Newest sessions of the other side that are looked at: where more than half of them are bad, it is not the candidate."""


@dataclass(frozen=True, slots=True)
class Tripping:
    """Of one Role, on one gateway."""

    rollout: str = ""
    epoch: int = 0
    row: int = 0
    users: frozenset[str] = frozenset()
    """Units of the row that are users."""
    baseline: tuple[bool, ...] = ()
    """Whether each of the newest was bad."""
    tripped: bool = False

    def holds_for(self, rollout: str, epoch: int) -> bool:
        """Whether it keeps that rollout's candidate from new sessions."""
        return self.tripped and (self.rollout, self.epoch) == (rollout, epoch)


def scored(before: Tripping, of: Assignment, *, bad: bool) -> Tripping:
    """After one more session got its score.

    >>> seen = Tripping()
    >>> def one(n, arm=Arm.CANDIDATE): return Assignment("r", 1, "cat-2", arm, 5, True, f"u{n}", 0)
    >>> for n in range(19): seen = scored(seen, one(n), bad=True)
    >>> seen.tripped, scored(seen, one(19), bad=True).tripped, scored(seen, one(0), bad=True).tripped
    (False, True, True)
    >>> scored(scored(seen, one(19), bad=False), one(20), bad=True).tripped
    False
    """
    if (before.rollout, before.epoch) != (of.rollout, of.epoch):
        before = Tripping(of.rollout, of.epoch)
    if of.arm is Arm.BASELINE:
        return replace(before, baseline=(*before.baseline, bad)[-BASELINE:])
    if not bad:
        return replace(before, row=0, users=frozenset())
    users = before.users | {of.unit} if of.known and len(before.users) < USERS else before.users
    row = min(before.row + 1, IN_A_ROW)
    shared = 2 * sum(before.baseline) > len(before.baseline)
    tripped = before.tripped or (row >= IN_A_ROW and len(users) >= USERS and not shared)
    return replace(before, row=row, users=users, tripped=tripped)
