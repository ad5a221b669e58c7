"""When which session's timers are due, as a store has it. The contract: tests/contract/broker/test_contract_timers.py.

One list for each Role, beside its register; a session is in it from before its first turn with timers is durable until its
row leaves the register. It holds no conversation text: hooks' names and times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rolehost_api.errors import Overloaded
from rolehost_runtime.gateway.kept import Row, Whose

MAX_TIMED = 100_000
"""Sessions of one Role that have timers, where the platform team does not say."""
KNOWN_SECONDS = 40 * 86_400
"""A Role of which nobody said for so long that it has timers has none any more: longer than the longest timer."""


@dataclass(frozen=True, slots=True)
class Due:
    """A session whose timers are to be looked at."""

    row: Row
    at_ms: int


class TimerStore(Protocol):
    """Every method: Unavailable `state_unavailable` in ≤2 s where the store is away."""

    async def timers(self, whose: Whose, session_id: str) -> bytes:
        """The session's schedule; empty where it has none."""

    async def set_timers(
        self, whose: Whose, session_id: str, before: bytes, body: bytes, at_ms: int | None, most: int = MAX_TIMED
    ) -> bool:
        """Keep this schedule in place of `before`, and have it looked at then; without a time it is kept nowhere. False,
        and nothing is done, where another one is there. Raises Overloaded `too_many_timers` for one session more than
        `most` of the Role's."""

    async def due_timers(self, tenant_uid: str, role: str, now_ms: int, count: int) -> Sequence[Due]:
        """At most `count` that are due by then, the one that has waited longest first."""

    async def claim_timers(self, whose: Whose, due: Due, until_ms: int) -> bool:
        """They are the caller's to look at; to others they are due again at `until_ms`. False where somebody was faster."""

    async def drop_timers(self, whose: Whose, session_id: str) -> bool:
        """It has none any more. False where it had none."""

    async def timed_roles(self) -> Mapping[tuple[str, str], int]:
        """Tenant's UID and Role's name of those whose sessions may have timers, and when that was said last."""

    async def note_timed(self, tenant_uid: str, role: str, now_ms: int) -> None:
        """Sessions of this Role may have timers."""


def too_many_timers(most: int) -> Overloaded:
    return Overloaded(
        f"{most} sessions of this Role have timers already",
        hint="Sessions that have timers keep them; forget some, or lower sessions.retentionSeconds",
        code="too_many_timers",
        retryable=False,
    )


def place_word(tenant_uid: str, role: str) -> str:
    """
    >>> place_word("uid-1", "cat"), role_place("uid-1 cat"), role_place("?")
    ('uid-1 cat', ('uid-1', 'cat'), None)
    """
    return f"{tenant_uid} {role}"


def role_place(word: str) -> tuple[str, str] | None:
    tenant_uid, blank, role = word.partition(" ")
    return (tenant_uid, role) if blank else None
