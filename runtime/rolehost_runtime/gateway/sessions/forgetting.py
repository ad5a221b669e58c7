"""Deletion, for good: of one session, or of all that is kept of a user, over a list of places, with a receipt.

Whoever holds a session is fenced before anything else is deleted, and its row in the register goes last. So a deletion
that ended in the middle is found again, and running it once more finishes it.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from rolehost_api.errors import Conflict, NotFound
from rolehost_api.identity import tag_of
from rolehost_runtime.core.memory.atoms import Changes
from rolehost_runtime.core.memory.recalling import of_sessions
from rolehost_runtime.core.segment import folder
from rolehost_runtime.gateway.kept import (
    Forgettable,
    Gone,
    KeptReceipt,
    Receipt,
    Subject,
    Whose,
    names_digest,
    summed,
)
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.memories import Memories

ROWS, AT_ONCE = 64, 8
MAX_ROUNDS = 1_000
"""Pages of rows of one user; more than may be kept of one, with room for those that come meanwhile."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeptReceipt).decode


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A session's log and all that stands beside it in the store. Implements kept.Forgettable."""

    store: SessionStore

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        return await self.store.forget(subject.key, receipt) if subject.session_id else None


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """What a person's sessions share, with the values that were overridden. Implements kept.Forgettable."""

    store: SessionStore

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        if subject.session_id or not subject.whose.user:
            return None
        tag = tag_of(subject.key)
        gone = await self.store.forget_user(tag)
        return Gone(receipt, {"shared": gone}, (tag,)) if gone else None


@dataclass(frozen=True, slots=True)
class MemoryPlace:
    """What is remembered of a person: all of it, or what one of their sessions remembered. Implements kept.Forgettable.

    A session without an end user has a memory of its own, which goes with its log.
    """

    memories: Memories
    now_ms: Callable[[], int]

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        if not subject.whose.user:
            return None
        known = await self.memories.newest(subject.key)
        if not subject.session_id:
            count = await self.memories.drop(subject.key)
            names: tuple[str, ...] = tuple(known.partition.held)
        else:
            names = tuple(of_sessions(known.partition, (subject.session_id,)))
            count = (
                await self.memories.change(subject.key, Changes(forgotten=names, at_ms=self.now_ms())) if names else 0
            )
        return (
            Gone(receipt, {"memories": count}, tuple(f"{tag_of(subject.key)}:{name}" for name in names))
            if count
            else None
        )


@dataclass(frozen=True, slots=True)
class TimerPlace:
    """When a session's timers are due. Implements kept.Forgettable."""

    store: SessionStore

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        if not subject.session_id or not await self.store.drop_timers(subject.whose, subject.session_id):
            return None
        return Gone(receipt, {"timers": 1}, (f"{subject.key}:timers",))


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """What left a session's log for the object store. Implements kept.Forgettable."""

    archive: Archive

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        if not subject.session_id:
            return None
        gone = await self.archive.clear(subject.whose.tenant_uid, subject.key)
        return Gone(receipt, {"segments": gone}, (folder(subject.whose.tenant_uid, subject.key),)) if gone else None


@dataclass(frozen=True, slots=True)
class Forgetting:
    store: SessionStore
    now_ms: Callable[[], int]
    tell: Callable[[str], None]
    """Lets go of a session, by its key, in this process and in every other gateway."""
    places: Sequence[Forgettable] = field(default=())
    """Where anything is kept beside the log."""

    async def session(self, whose: Whose, session_id: str) -> Receipt:
        """Raises NotFound where nothing is kept of such a session; forgotten again, it is the same receipt."""
        asked = _new_receipt()
        parts = await self._session(Subject(whose, session_id), asked)
        if not parts:
            raise NotFound("there is no such session", code="session_not_found")
        receipt = parts[0].receipt
        earlier = await self.store.receipt(receipt) if receipt != asked else None
        if earlier is not None:
            return _decode(earlier).receipt
        return await self._receipted(whose, session_id, receipt, 1, parts)

    async def user(self, whose: Whose) -> Receipt:
        """All of a user's sessions with the Role, and what is kept of them beside. Nothing kept is no error."""
        receipt, parts, sessions = _new_receipt(), list[Gone](), 0
        for _ in range(MAX_ROUNDS):
            rows = await self.store.rows(whose.tenant_uid, whose.role, whose.user, None, ROWS)
            if not rows:
                break
            subjects = [Subject(whose, row.session_id) for row in rows]
            for start in range(0, len(subjects), AT_ONCE):
                erased = await asyncio.gather(
                    *(self._session(subject, receipt) for subject in subjects[start : start + AT_ONCE])
                )
                sessions += sum(map(bool, erased))
                parts += [part for found in erased for part in found]
        else:
            raise Conflict(
                "this user begins sessions faster than they are forgotten",
                hint="Revoke their tokens, then ask again",
                code="forget_unfinished",
                retryable=True,
            )
        parts += await self._erase(self.places, Subject(whose), receipt)
        return await self._receipted(whose, "", receipt, sessions, parts)

    async def memory(self, memories: Memories, whose: Whose, session_id: str, name: str) -> Receipt:
        """One thing that is remembered, which is there."""
        receipt, key = _new_receipt(), whose.key(session_id)
        gone = await memories.change(key, Changes(forgotten=(name,), at_ms=self.now_ms()))
        part = Gone(receipt, {"memories": gone}, (f"{tag_of(key)}:{name}",))
        return await self._receipted(whose, session_id, receipt, 0, [part])

    async def read(self, tenant_uid: str, receipt: str, user: str = "") -> Receipt:
        """A receipt of this tenant's; where the user asks, of their own. Raises NotFound `receipt_not_found`."""
        raw = await self.store.receipt(receipt)
        kept = _decode(raw) if raw is not None else None
        if kept is None or kept.tenant_uid != tenant_uid or user not in ("", kept.receipt.user):
            raise NotFound("there is no such receipt", hint="Receipts are kept for 90 days", code="receipt_not_found")
        return kept.receipt

    async def _session(self, subject: Subject, receipt: str) -> list[Gone]:
        parts = await self._erase([LogPlace(self.store)], subject, receipt)
        self.tell(subject.key)
        parts += await self._erase(self.places, subject, receipt)
        await self.store.delist(subject.whose, subject.session_id)
        return parts

    @staticmethod
    async def _erase(places: Sequence[Forgettable], subject: Subject, receipt: str) -> list[Gone]:
        erased = [await place.erase(subject, receipt) for place in places]
        return [gone for gone in erased if gone is not None]

    async def _receipted(
        self, whose: Whose, session_id: str, receipt: str, sessions: int, parts: Sequence[Gone]
    ) -> Receipt:
        made = Receipt(
            receipt=receipt,
            at_ms=self.now_ms(),
            role=whose.role,
            user=whose.user,
            session_id=session_id,
            sessions=sessions,
            deleted=summed(parts),
            sha256=names_digest(name for part in parts for name in part.names),
        )
        await self.store.keep_receipt(receipt, _encode(KeptReceipt(whose.tenant_uid, made)))
        return made


def _new_receipt() -> str:
    return f"f-{secrets.token_hex(16)}"
