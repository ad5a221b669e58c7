"""What a check found, and what was seen to find it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_RBAC = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "[^"]*"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)


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

    >>> unseen("lease", Seen(refused="no answer in 5 s")).state
    <State.WARN: 'warn'>
    """
    if seen.forbidden:
        return skipped(check, without_rights(seen.refused))
    fix = "Run `rolehost doctor` again; if it stays: kubectl get --raw '/readyz?verbose'"
    return warn(check, f"could not be seen: {seen.refused}", fix)


def without_rights(refused: str) -> str:
    """What RBAC said, shortened to what matters.

    >>> without_rights('leases "x" is forbidden: User "u" cannot get resource "leases" in API group "c" in the namespace "p"')
    'you may not get leases in namespace p; a platform administrator may'
    >>> without_rights("Unauthorized")
    'your rights do not reach (Unauthorized); a platform administrator may'
    """
    found = _RBAC.search(refused)
    if found is None:
        return f"your rights do not reach ({refused}); a platform administrator may"
    where = f" in namespace {found['namespace']}" if found["namespace"] else ""
    return f"you may not {found['verb']} {found['resource']}{where}; a platform administrator may"
