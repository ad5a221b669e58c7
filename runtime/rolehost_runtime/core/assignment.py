"""Which revision a new session opens on: a salted bucket of its unit, and the shares of the moment. Pure.

    unit ── HMAC(secret, rollout ‖ 0 ‖ unit) mod 10,000 ──▶ bucket ── shares ──▶ revision, and its side of the comparison

A unit is the user where one is known, else the session. Every gateway has the secret, so all of them and all
channels give the same answer and remember nothing for it; clients have it not, so nobody chooses their bucket. A
raised percentage only adds units; another rollout's buckets have nothing to do with this one's.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from rolehost_api.crd.rollout import Arm, Share
from rolehost_api.slo import BUCKETS

STABLE = "stable"
"""Tag of the share that takes whoever is in none of the others."""
_WORD = b"rolehost assignment 1\n"
_OF_ONE_PERCENT = BUCKETS // 100


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where a Role's new sessions go."""

    rollout: str = ""
    """RolloutStatus.id: the salt."""
    epoch: int = 0
    """RolloutStatus.epoch."""
    shares: tuple[Share, ...] = ()


TO_STABLE = Traffic()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A unit's side of a comparison, as it was when its session opened; it never changes while the session lives."""

    rollout: str
    epoch: int
    revision: str
    """Name of the revision that it was given, whatever becomes of its session later."""
    arm: Arm
    """Candidate or Baseline."""
    percent: int
    """Of its share then."""
    known: bool
    """The unit is a user; else a session of nobody in particular."""
    unit: str
    """Tells units of this rollout apart and says nothing of who they are: 32 hexadecimal digits."""
    at_ms: int
    """When, Unix time."""


def assignment_key(root: bytes) -> bytes:
    """The key of all buckets, 32 bytes, out of the platform's root secret.

    >>> assignment_key(bytes(32)).hex()[:16]
    '171baacb9b1f8919'
    """
    return hmac.digest(root, _WORD, "sha256")


def bucket(secret: bytes, rollout: str, unit: str) -> int:
    """Below slo.BUCKETS; the same for a unit as long as the rollout lasts.

    >>> bucket(bytes(32), "cat-1", "u-17"), bucket(bytes(32), "cat-1", "u-17"), bucket(bytes(32), "cat-2", "u-17")
    (9402, 9402, 9450)
    """
    return int.from_bytes(hmac.digest(secret, _text(rollout, unit), "sha256")) % BUCKETS


def unit_id(secret: bytes, rollout: str, unit: str) -> str:
    """The unit's name in that rollout's evidence: another one than in any other rollout's."""
    return hmac.digest(secret, b"unit\0" + _text(rollout, unit), "sha256").hex()[:32]


def assigned(shares: Sequence[Share], bucket: int) -> Share | None:
    """The share that the bucket falls in: they take the buckets in their order, from the lowest; the rest is the stable one's.

    >>> shares = [Share(revision="cat-2", percent=5, tag="canary"), Share(revision="cat-1", percent=95)]
    >>> assigned(shares, 499).revision, assigned(shares, 500).revision
    ('cat-2', 'cat-1')

    Once promoted it stands first, and who was on it while it was a canary is on it still:

    >>> watched = [Share(revision="cat-2", percent=95), Share(revision="cat-1", percent=5, tag="previous")]
    >>> assigned(watched, 499).revision, assigned(watched, 9_500).revision
    ('cat-2', 'cat-1')

    None where no share is the stable one's and it falls in none: the Role's stable revision takes it, uncompared.

    >>> assigned(shares[:1], 500) is None
    True
    """
    edge, stable = 0, None
    for share in shares:
        if share.tag == STABLE:
            stable = stable or share
        edge += share.percent * _OF_ONE_PERCENT
        if bucket < edge:
            return share
    return stable


def _text(rollout: str, unit: str) -> bytes:
    return rollout.encode() + b"\0" + unit.encode()
