"""What a check found, and what was seen to find it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, and deserves a look."""
    FAIL = "FAIL"
    SKIPPED = "skipped"
    """It could not be seen; `what` says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: State
    what: str
    fix: str = ""
    """The command or the step that mends it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody answered: a value (None: there is no such thing), or why there is no answer."""

    value: Any = None
    refused: str = ""
    """A sentence; empty where there is an answer."""
    forbidden: bool = False
    """It is the user's rights that do not reach."""


def ok(check: str, what: str) -> Finding:
    return Finding(check, State.OK, what)


def warn(check: str, what: str, fix: str) -> Finding:
    return Finding(check, State.WARN, what, fix)


def fail(check: str, what: str, fix: str) -> Finding:
    return Finding(check, State.FAIL, what, fix)


def skipped(check: str, why: str) -> Finding:
    return Finding(check, State.SKIPPED, why)


def unseen(check: str, seen: Seen) -> Finding:
    """The finding where there was no answer.

    >>> unseen("lease", Seen(refused="leases are forbidden", forbidden=True)).what
    "your rights do not reach: leases are forbidden. A platform administrator's do"
    >>> unseen("lease", Seen(refused="no answer in 5 s")).state
    <State.WARN: 'warn'>
    """
    if seen.forbidden:
        return skipped(check, f"your rights do not reach: {seen.refused}. A platform administrator's do")
    return warn(
        check,
        f"could not be seen: {seen.refused}",
        "Run `rolehost doctor` again; if it stays, kubectl get --raw /readyz?verbose",
    )
