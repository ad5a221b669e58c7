"""How a revision is named by people, and how an attempt is named for machines."""

import hashlib
from collections.abc import Iterable

from rolehost_operator.rollout.scene import Runs

SHORTEST = 6
"""Of a hash's beginning: less may fit by chance."""


def resolve(word: str, revisions: Iterable[Runs]) -> str:
    """The revision that `word` names: a name, @r3, or the beginning of its hash; empty for none, or more than one.

    >>> two = [Runs(name="cat-9c1f", sequence=3, digest="9c1f22aa"), Runs(name="cat-9c77", sequence=4, digest="9c77bb")]
    >>> [resolve(word, two) for word in ("cat-9c1f", "@r4", "9c1f22", "9c", "@r9", "")]
    ['cat-9c1f', 'cat-9c77', 'cat-9c1f', '', '', '']
    """
    if not word:
        return ""
    found = [
        one.name
        for one in revisions
        if word in (one.name, f"@r{one.sequence}") or (len(word) >= SHORTEST and one.digest.startswith(word))
    ]
    return found[0] if len(found) == 1 else ""


def attempt_id(uid: str, revision: str, attempt: int, started_at: str) -> str:
    """Of one attempt of one Role's life: buckets are salted with it, so two must never be alike.

    >>> attempt_id("role-uid", "cat-9c1f", 3, "2030-01-01T12:00:00Z")
    '3-4c676236'
    """
    return f"{attempt}-{hashlib.sha256('|'.join((uid, revision, str(attempt), started_at)).encode()).hexdigest()[:8]}"
