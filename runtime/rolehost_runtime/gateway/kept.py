"""What is kept of whom: which sessions there are, how one begins as another's beginning, and how all of it goes.

A row of the register is written before a session's first turn is durable, so that nothing is kept that could not be
found, listed and forgotten. It holds no conversation text: a user's id, the session's id, and when it began.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import Struct

from rolehost_api import identity
from rolehost_api.crd.role import RETENTION_SECONDS as RETENTION_SECONDS
from rolehost_api.errors import Overloaded
from rolehost_api.wire import ForkedFrom
from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.record import Record

MAX_OF_USER = 10_000
"""Sessions of one end user with one Role that are kept; the next one is refused, so that none is out of reach of
forgetting."""
MAX_KEPT = 100_000
"""Sessions of one tenant that are kept, where the platform team does not say; the next one is refused. None is taken off
the list for another one: what is not on it could be neither forgotten nor swept."""
FORGOTTEN_SECONDS = 86_400
"""How long a forgotten session's id is remembered: as long as a message's, which a client may still send again."""
RECEIPT_SECONDS = 90 * 86_400
ROWS_SECONDS = 400 * 86_400
"""Of a register that nobody writes in any more, for its Role is gone: longer than any session may be kept."""
DRAFT_SECONDS = 3_600
"""For a log that is being copied, and whose copying ended in the middle."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Sessions of one principal with one Role."""

    tenant_uid: str
    role: str
    user: str = ""
    """The end user; empty for the tenant itself."""

    @property
    def principal(self) -> str:
        if self.user:
            return identity.user_principal(self.tenant_uid, self.user)
        return identity.service_principal(self.tenant_uid)

    def key(self, session_id: str) -> str:
        """Of a session of theirs, in the store."""
        return identity.session_key(self.tenant_uid, self.role, self.principal, session_id)


@dataclass(frozen=True, slots=True)
class Row:
    """One session in the register."""

    user: str
    session_id: str
    began_ms: int

    @property
    def member(self) -> str:
        """Neither part holds a space.

        >>> Row("u-17", "abc", 5).member, Row.of("u-17 abc", 5), Row.of(" abc", 5).user
        ('u-17 abc', Row(user='u-17', session_id='abc', began_ms=5), '')
        """
        return f"{self.user} {self.session_id}"

    @classmethod
    def of(cls, member: str, began_ms: int) -> "Row":
        user, _, session_id = member.partition(" ")
        return cls(user, session_id, began_ms)

    def after(self, other: "Row | None") -> bool:
        """Whether it comes later in a list: newest first, and those of one millisecond by name.

        >>> old, new = Row("", "a", 1), Row("", "b", 2)
        >>> old.after(new), new.after(old), new.after(new), new.after(None)
        (True, False, False, True)
        """
        return other is None or (self.began_ms, self.member) < (other.began_ms, other.member)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a log stands that begins as another's beginning."""

    log_id: str
    epoch: int
    """Of the other one: no copied record has a higher one."""
    turn: int
    seq: int
    version: int
    revision: str
    at_ms: int
    amends: int
    origin: ForkedFrom
    log_bytes: int = 0
    """Of the records that were copied."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What one place held and deleted."""

    receipt: str
    """Under which it was deleted: an earlier one, where nothing came after that."""
    counts: Mapping[str, int]
    names: tuple[str, ...] = ()


class Register(Protocol):
    """Which sessions there are. Every method: Unavailable `state_unavailable` in ≤2 s where the store is away."""

    async def enlist(
        self, whose: Whose, session_id: str, began_ms: int, active: Active | None = None, *, promised: bool = True
    ) -> None:
        """This session is kept from now on. Idempotent, and the first `began_ms` counts. Raises Overloaded
        `too_many_kept`.

        `active`: what is known of it, in place of whatever was said of an earlier moment. Without it a new row is one
        that nobody knows this of. Not `promised`: it was only looked at, and what was promised before stands.
        """

    async def delist(self, whose: Whose, session_id: str) -> None:
        """It is not any more. Harmless where it was not."""

    async def claim(self, tenant_uid: str, role: str, seconds: int) -> bool:
        """Whether the register of this Role is the caller's to sweep, for so long; nobody else is told so meanwhile."""

    async def claim_unit(self, unit: str, seconds: int) -> bool:
        """Whether the caller is the first to name this unit of a rollout's evidence; nobody else is for so long."""

    async def activity(self, tenant_uid: str, role: str, rows: Sequence[Row]) -> Sequence[Active | None]:
        """What was last said of each of them, in order; None where nothing was."""

    async def sample(self, tenant_uid: str, role: str, count: int) -> tuple[int, Sequence[Row]]:
        """How many there are, and at most `count` of them at random. When they began is not told: 0."""

    async def rows(self, tenant_uid: str, role: str, user: str | None, after: Row | None, count: int) -> Sequence[Row]:
        """At most `count`, newest first, of one user (empty: of the tenant itself) or of everybody (None)."""


class Copies(Protocol):
    """Logs that begin as another's beginning. Both raise Conflict `superseded` where the session is there."""

    async def draft(self, key: str, records: Sequence[Record]) -> None:
        """Put records in a log that has no head yet, in order; nobody sees them. They go by themselves after an hour."""

    async def found(self, key: str, beginning: Beginning, keep_seconds: int = RETENTION_SECONDS) -> None:
        """The drafted log is a session's from now on, and kept for so long. Idempotent."""


class Erasing(Protocol):
    """Deletion, for good."""

    async def forget(self, key: str, receipt: str) -> Gone | None:
        """Delete everything of a session, in one step; whoever holds it is fenced. None where there is none.

        What is left for FORGOTTEN_SECONDS is a higher epoch and the receipt. Forgotten again before anything new was
        said, it is the earlier receipt that is told.
        """

    async def forget_user(self, tag: str) -> int:
        """Delete what a person's sessions with a Role share; how many keys there were."""

    async def keep_receipt(self, receipt: str, body: bytes) -> None:
        """For RECEIPT_SECONDS."""

    async def receipt(self, receipt: str) -> bytes | None:
        """What was kept under that id."""


class Library(Register, Copies, Erasing, Protocol):
    """All of it, as a store has it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be forgotten: one session of somebody's, or (no session) what is kept of them beside their sessions."""

    whose: Whose
    session_id: str = ""

    @property
    def key(self) -> str:
        return self.whose.key(self.session_id)


class Forgettable(Protocol):
    """One place where something of a session, or of a user, is kept.

    Erasing must bear to be done again, after it ended in the middle too.
    """

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        """Delete what is kept there of the subject, all of it. None: nothing was."""


class Receipt(Struct, frozen=True, kw_only=True):
    """What was deleted, without a word of it."""

    receipt: str
    at_ms: int
    role: str
    user: str
    """Empty for the tenant's own."""
    session_id: str
    """Empty: all that was kept of the user with this Role."""
    sessions: int
    deleted: dict[str, int]
    """By kind: how many."""
    sha256: str
    """Over the names of what was deleted: sorted, each with a line's end."""


class KeptReceipt(Struct, frozen=True):
    """As the store has it: with whose it is."""

    tenant_uid: str
    receipt: Receipt


def names_digest(names: Iterable[str]) -> str:
    """
    >>> names_digest(["b", "a", "b"]) == names_digest(["a", "b"]), names_digest(["a"]) == names_digest(["b"])
    (True, False)
    """
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(set(names))).encode()).hexdigest()


def summed(parts: Iterable[Gone]) -> dict[str, int]:
    """
    >>> summed([Gone("r", {"records": 2}), Gone("r", {"records": 1, "segments": 3})])
    {'records': 3, 'segments': 3}
    """
    total: dict[str, int] = {}
    for part in parts:
        for kind, count in part.counts.items():
            total[kind] = total.get(kind, 0) + count
    return total


def too_many_kept() -> Overloaded:
    return Overloaded(
        f"{MAX_OF_USER} sessions of this user are kept with this Role",
        hint="Forget some: DELETE /v1/roles/{name}/sessions/{id}, or go on with one of them",
        code="too_many_kept",
        retryable=False,
    )


def too_many_of_tenant(most: int) -> Overloaded:
    return Overloaded(
        f"{most} sessions of this tenant are kept already",
        hint="Forget some: DELETE /v1/roles/{name}/sessions/{id}, or lower sessions.retentionSeconds; "
        "sessions that are there go on",
        code="tenant_sessions_full",
        retryable=False,
    )


def encode_origin(origin: ForkedFrom) -> bytes:
    return msgspec.msgpack.encode(origin)


def decode_origin(raw: bytes | None) -> ForkedFrom | None:
    """None also for one that cannot be read: it is a word about the past."""
    try:
        return msgspec.msgpack.decode(raw, type=ForkedFrom) if raw else None
    except msgspec.MsgspecError:
        return None
