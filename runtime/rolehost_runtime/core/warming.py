"""Which revisions a rollout wants warmed before their first session, and whose words its synthetic turns go by. Pure.

A turn that warms is nobody's: its session has a key that no client's can be, and only the ring decides by it which pod it
comes to. So keys are picked such that every pod has its turn.
"""

from collections.abc import Collection
from dataclasses import dataclass

from rolehost_runtime.core.ring import Ring, place_of

SESSION_ID = "warm-up"
"""What logic reads as `t.session.id` in such a turn."""
MAX_TOKENS = 16
"""Of one answer in such a turn: the prompt is what is to be warm."""
MOST_PODS = 64
"""Of more pods it is not worked out which key comes to which."""
_MOST_TRIES = 4096


@dataclass(frozen=True, slots=True)
class Warming:
    """What the operator asks of gateways just now."""

    rollout: str
    """RolloutStatus.id: what it is done for once."""
    revisions: tuple[str, ...]
    """Names of those that are about to get sessions."""


def keys(stem: str, pods: Collection[str], turns: int, who: str = "") -> tuple[str, ...]:
    """Keys of so many sessions: the first comes to one pod, the next to another, and over again.

    `who` warms: each gateway begins at a pod of its own.

    >>> ring = Ring(["a", "b", "c"])
    >>> [ring.choose(key) for key in keys("1-ab", ["a", "b", "c"], 4)]
    ['c', 'a', 'b', 'c']
    >>> [ring.choose(key) for key in keys("1-ab", ["a", "b", "c"], 2, "gateway-1")]
    ['c', 'a']
    >>> keys("1-ab", [], 1)
    ('warm-up/1-ab/0',)
    """
    names = sorted(pods)
    if not 1 < len(names) <= MOST_PODS:
        return tuple(f"{SESSION_ID}/{stem}/{number}" for number in range(turns))
    ring, begin, found, number = Ring(names), place_of(f"{stem}/{who}") % len(names), list[str](), 0
    while len(found) < turns:
        wanted = names[(begin + len(found)) % len(names)]
        key = f"{SESSION_ID}/{stem}/{number}"
        if ring.choose(key) == wanted or number >= _MOST_TRIES:
            found.append(key)
        number += 1
    return tuple(found)
