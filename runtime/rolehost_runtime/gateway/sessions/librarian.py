"""What a tenant asks of sessions that are kept: which there are, where one stands, a fork, an export, forgetting."""

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from rolehost_api import identity
from rolehost_api.errors import BadRequest, NotFound, Overloaded, RolehostError
from rolehost_runtime.core.export import (
    ExportBegin,
    ExportEnd,
    ExportError,
    ExportSession,
    ExportShared,
    Line,
    Overridden,
    exported,
)
from rolehost_runtime.core.merge import version_of, view_of
from rolehost_runtime.core.record import following, last_seq
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.keeping import SessionDetails, SessionRow
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, Forgettable, Receipt, Row, Whose
from rolehost_runtime.gateway.ports import Head, SessionStore
from rolehost_runtime.gateway.sessions.forgetting import Forgetting
from rolehost_runtime.gateway.sessions.forking import fork, trimmed
from rolehost_runtime.gateway.sessions.history import History

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
            return await fork(self.store, past, whose, session_id, at_seq, self.now_ms(), keep_seconds, name)
        finally:
            self._forks -= 1

    async def forget(self, whose: Whose, session_id: str) -> Receipt:
        return await self._forgetting.session(whose, session_id)

    async def forget_user(self, whose: Whose) -> Receipt:
        return await self._forgetting.user(whose)

    async def receipt(self, tenant_uid: str, receipt: str, user: str = "") -> Receipt:
        return await self._forgetting.read(tenant_uid, receipt, user)

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
            async for sid in self._ids(whose, session_id):
                head = await self.store.head(whose.key(sid))
                if head is None or head.void:
                    continue
                sessions += 1
                origin = head.origin.session_id if head.origin else ""
                yield ExportSession(session_id=sid, turns=head.turn, seq=head.seq, forked_from=origin)
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
            state=view_of(stored),
            overridden=tuple(Overridden(one.version, one.field, one.written, one.value) for one in overridden),
        )

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
