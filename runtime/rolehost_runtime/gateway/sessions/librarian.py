"""What a tenant asks of sessions that are kept: which there are, where one stands, a fork, an export, forgetting."""

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from rolehost_api import identity
from rolehost_api.errors import BadRequest, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import MAX_QUERY_CHARS, MAX_RECALLED, Recall
from rolehost_runtime.core.export import (
    ExportBegin,
    ExportEnd,
    ExportError,
    ExportMemory,
    ExportSession,
    ExportShared,
    Line,
    Overridden,
    exported,
)
from rolehost_runtime.core.memory.atoms import Changes, edited
from rolehost_runtime.core.memory.partition import Held
from rolehost_runtime.core.merge import version_of
from rolehost_runtime.core.merge import view_of as state_of
from rolehost_runtime.core.record import following, last_seq
from rolehost_runtime.core.timers import encode, ending
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.keeping import SessionDetails, SessionRow
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, Forgettable, Receipt, Row, Whose
from rolehost_runtime.gateway.ports import Head, SessionStore
from rolehost_runtime.gateway.remembered import MemoryView, view_of
from rolehost_runtime.gateway.sessions.arming import TRIES
from rolehost_runtime.gateway.sessions.forgetting import Forgetting
from rolehost_runtime.gateway.sessions.forking import fork, trimmed
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.memories import Memories

ROWS = 200
"""Of an export, read at once."""
MAX_LOOKS = 4
"""Pages of rows that are looked at for one answer, where many of their sessions never had a turn."""
MAX_FORKS = 4
"""At once in one gateway: each reads and writes a whole log."""
MAX_OVERRIDDEN = 1024
"""As many as the store keeps."""
PAGE = 4
"""Records of an export that are held at once: each may be over 1 MiB."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Librarian:
    """Implements keeping.Keeping."""

    store: SessionStore
    now_ms: Callable[[], int]
    tell: Callable[[str], None]
    history: Callable[[str], History]
    """One reading of a session's log by its key, with what left it for the archive."""
    remembered: Memories
    places: Sequence[Forgettable] = ()
    keep_seconds: Callable[[str, str], int] = lambda tenant_uid, role: RETENTION_SECONDS
    """For how long a session of that Role is kept, by the tenant's UID and the Role's name."""
    admit: Callable[[str, str | None], Awaitable[None]] | None = None
    """As Admission.admit; None: as many sessions as there may be."""
    _forks: int = 0

    @property
    def _forgetting(self) -> Forgetting:
        return Forgetting(self.store, self.now_ms, self.tell, self.places)

    # ── looking ─────────────────────────────────────────────────────────────────────

    async def sessions(
        self, tenant_uid: str, role: str, user: str | None, after: str, limit: int
    ) -> tuple[list[SessionRow], str]:
        """Newest first: of one user, of the tenant itself (empty), or of everybody (None); and what to ask for next,
        empty at the end. Sessions without a turn are left out, so an answer may be shorter than `limit`.
        """
        at = read_cursor(after)
        found: list[SessionRow] = []
        for _ in range(MAX_LOOKS):
            wanted = limit - len(found)
            rows = await self.store.rows(tenant_uid, role, user, at, wanted)
            heads = await asyncio.gather(
                *(self.store.head(_whose(tenant_uid, role, row).key(row.session_id)) for row in rows)
            )
            found += [shown for row, head in zip(rows, heads, strict=True) if (shown := _shown(row, head)) is not None]
            at = rows[-1] if rows else at
            if len(rows) < wanted:
                return found, ""
            if len(found) == limit:
                break
        return found, cursor(at) if at is not None else ""

    async def details(self, whose: Whose, session_id: str) -> SessionDetails:
        head, fence = await asyncio.gather(self._head(whose, session_id), self.store.fence(whose.key(session_id)))
        return SessionDetails(
            session_id=session_id,
            user=whose.user,
            turns=head.turn,
            amends=head.amends,
            seq=head.seq,
            version=head.version,
            revision=head.revision,
            last_at_ms=head.last_at_ms,
            epoch=head.epoch,
            answered_here=fence is not None and fence.ours,
            open_turn=head.open.turn if head.open is not None else None,
            open_since_ms=head.open.now_ms if head.open is not None else None,
            deaths=head.deaths,
            forked_from=head.origin,
        )

    # ── changing ────────────────────────────────────────────────────────────────────

    async def fork(self, whose: Whose, session_id: str, at_seq: int | None, name: str | None = None) -> str:
        """The new session's id. Raises as `forking.fork` and `Admission.admit`, and Overloaded `too_many_forks`."""
        if self._forks >= MAX_FORKS:
            raise Overloaded(f"{MAX_FORKS} sessions are being forked already", hint="Try again", code="too_many_forks")
        self._forks += 1
        try:
            if self.admit is not None:
                await self.admit(whose.tenant_uid, None)
            past, keep_seconds = self.history(whose.key(session_id)), self.keep_seconds(whose.tenant_uid, whose.role)

            async def memory(fresh: str, turns: int) -> None:
                await self._fork_memory(whose, session_id, fresh, turns, keep_seconds)

            beside = None if whose.user else memory
            return await fork(self.store, past, whose, session_id, at_seq, self.now_ms(), keep_seconds, name, beside)
        finally:
            self._forks -= 1

    async def _fork_memory(self, whose: Whose, session_id: str, fresh: str, turns: int, keep_seconds: int) -> None:
        """Of a session that names no user: the new one remembers what the copied turns did, and nobody forgot since."""
        known = await self.remembered.newest(whose.key(session_id))
        held = [one for one in known.partition.held.values() if one.atom.turn <= turns]
        if held:
            atoms = tuple(replace(one.atom, session_id=fresh) for one in held)
            confirmed = tuple(one.atom.id for one in held if one.atom.asserted and not one.quarantined)
            changes = Changes(added=atoms, confirmed=confirmed, at_ms=self.now_ms())
            await self.remembered.change(whose.key(fresh), changes, keep_seconds)

    async def end(self, whose: Whose, session_id: str) -> None:
        """Whoever owns the session finds it in the list of what is due."""
        head, now = await self._head(whose, session_id), self.now_ms()
        if not head.turn:
            raise NotFound("there is no such session", code="session_not_found")
        await self.store.note_timed(whose.tenant_uid, whose.role, now)
        body = encode(ending(head.revision, now))
        for _ in range(TRIES):
            before = await self.store.timers(whose, session_id)
            if await self.store.set_timers(whose, session_id, before, body, now):
                return
        raise Unavailable("the session's timers are being changed", hint="Try again", code="session_moving")

    async def forget(self, whose: Whose, session_id: str) -> Receipt:
        return await self._forgetting.session(whose, session_id)

    async def forget_user(self, whose: Whose) -> Receipt:
        return await self._forgetting.user(whose)

    async def receipt(self, tenant_uid: str, receipt: str, user: str = "") -> Receipt:
        return await self._forgetting.read(tenant_uid, receipt, user)

    # ── memory ──────────────────────────────────────────────────────────────────────

    async def memories(
        self, whose: Whose, session_id: str, query: str, after: str, limit: int
    ) -> tuple[list[MemoryView], str]:
        """As keeping.Keeping has it; a question is answered with one page."""
        known = await self.remembered.newest(whose.key(session_id))
        if query.strip():
            asked = Recall(index=0, query=query[:MAX_QUERY_CHARS], k=min(limit, MAX_RECALLED), asserted=True)
            found = [held for held in known.found(asked, self.now_ms()) if _within(held, session_id)]
            return [view_of(held) for held in found], ""
        held = [one for one in known.partition.held.values() if _within(one, session_id)]
        held.sort(key=lambda one: (-one.atom.at_ms, one.atom.id))
        start = next((place for place, one in enumerate(held, 1) if one.atom.id == after), 0)
        page = held[start : start + limit]
        return [view_of(one) for one in page], page[-1].atom.id if len(held) > start + limit else ""

    async def edit_memory(self, whose: Whose, session_id: str, name: str, text: str, *, asserted: bool) -> MemoryView:
        before = await self._memory(whose, session_id, name)
        after = edited(before.atom, text, self.now_ms(), asserted=asserted)
        changes = Changes(added=(after,), forgotten=(name,) if after.id != name else (), at_ms=self.now_ms())
        await self.remembered.change(whose.key(session_id), changes)
        return view_of(Held(after, quarantined=asserted, until_ms=None))

    async def confirm_memory(self, whose: Whose, session_id: str, name: str) -> MemoryView:
        await self._memory(whose, session_id, name)
        await self.remembered.change(whose.key(session_id), Changes(confirmed=(name,), at_ms=self.now_ms()))
        return view_of(await self._memory(whose, session_id, name))

    async def _memory(self, whose: Whose, session_id: str, name: str) -> Held:
        known = await self.remembered.newest(whose.key(session_id))
        held = known.partition.held.get(name)
        if held is None or not _within(held, session_id):
            raise NotFound("there is no such memory", code="memory_not_found")
        return held

    async def forget_memory(self, whose: Whose, session_id: str, name: str) -> Receipt:
        await self._memory(whose, session_id, name)
        return await self._forgetting.memory(self.remembered, whose, session_id, name)

    # ── taking away ─────────────────────────────────────────────────────────────────

    async def export(self, tenant: str, whose: Whose, session_id: str | None) -> AsyncIterator[Line]:
        """One session's lines, or those of all sessions. Raises NotFound before the first line; an error after that is
        the last line. Sessions that are made meanwhile may be missing."""
        if session_id is not None:
            await self._head(whose, session_id)
        yield ExportBegin(at_ms=self.now_ms(), tenant=tenant, role=whose.role, user=whose.user)
        sessions = records = 0
        try:
            if whose.user and session_id is None:
                yield await self._shared(whose)
                for line in await self._memories(whose.key("")):
                    yield line
            async for sid in self._ids(whose, session_id):
                head = await self.store.head(whose.key(sid))
                if head is None or head.void:
                    continue
                sessions += 1
                origin = head.origin.session_id if head.origin else ""
                yield ExportSession(session_id=sid, turns=head.turn, seq=head.seq, forked_from=origin)
                for line in [] if whose.user else await self._memories(whose.key(sid)):
                    yield line
                place, following_seq, past = (1, 0), 1, self.history(whose.key(sid))
                while page := await past.page(place, PAGE):
                    for record in page:
                        if record.seq_first != following_seq:
                            raise trimmed()
                        following_seq = last_seq(record) + 1
                        records += 1
                        yield exported(record, sid)
                    place = following(page[-1])
        except Exception as error:
            told = error if isinstance(error, RolehostError) else faults.internal(log, "exporting", error)
            yield ExportError(code=told.code, message=told.message)
            return
        yield ExportEnd(sessions=sessions, records=records)

    async def _shared(self, whose: Whose) -> ExportShared:
        """What the user's sessions share."""
        tag = identity.tag_of(whose.key(""))
        stored = await self.store.user(tag, {})
        overridden = await self.store.compensations(tag, MAX_OVERRIDDEN)
        return ExportShared(
            version=version_of(stored),
            state=state_of(stored),
            overridden=tuple(Overridden(one.version, one.field, one.written, one.value) for one in overridden),
        )

    async def _memories(self, key: str) -> list[ExportMemory]:
        known = await self.remembered.newest(key)
        return [
            ExportMemory(atom=held.atom, quarantined=held.quarantined, until_ms=held.until_ms)
            for held in known.partition.held.values()
        ]

    async def _ids(self, whose: Whose, session_id: str | None) -> AsyncIterator[str]:
        if session_id is not None:
            yield session_id
            return
        at: Row | None = None
        while rows := await self.store.rows(whose.tenant_uid, whose.role, whose.user, at, ROWS):
            for row in rows:
                yield row.session_id
            at = rows[-1]

    async def _head(self, whose: Whose, session_id: str) -> Head:
        head = await self.store.head(whose.key(session_id))
        if head is None or head.void:
            raise NotFound("there is no such session", code="session_not_found")
        return head


def _within(held: Held, session_id: str) -> bool:
    return session_id in ("", held.atom.session_id)


def cursor(row: Row) -> str:
    """
    >>> row = Row("u-17", "abc", 5)
    >>> read_cursor(cursor(row)) == row, read_cursor("")
    (True, None)
    """
    return base64.urlsafe_b64encode(f"{row.began_ms} {row.member}".encode()).decode().rstrip("=")


def read_cursor(raw: str) -> Row | None:
    """Raises BadRequest `invalid_after`."""
    if not raw:
        return None
    try:
        began, _, member = base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)).decode("ascii").partition(" ")
        if len(raw) > 512 or not began.isdigit() or len(began) > 15 or " " not in member:
            raise ValueError
        return Row.of(member, int(began))
    except (ValueError, binascii.Error, UnicodeError):
        raise BadRequest(
            "`after` is not from an answer", hint="Take the one of the page before", code="invalid_after"
        ) from None


def _whose(tenant_uid: str, role: str, row: Row) -> Whose:
    return Whose(tenant_uid, role, row.user)


def _shown(row: Row, head: Head | None) -> SessionRow | None:
    if head is None or not head.turn:
        return None
    return SessionRow(
        session_id=row.session_id,
        user=row.user,
        turns=head.turn,
        seq=head.seq,
        version=head.version,
        revision=head.revision,
        began_ms=row.began_ms,
        last_at_ms=head.last_at_ms,
        forked_from=head.origin,
    )
