"""The fake of timers: the same rules in this process's memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rolehost_runtime.gateway.kept import Row, Whose
from rolehost_runtime.gateway.timers import MAX_TIMED, Due, too_many_timers

if TYPE_CHECKING:
    from rolehost_runtime.gateway.broker.state.memory_store import Shelf


class MemoryTimers:
    """Implements timers.TimerStore."""

    @property
    def shelf(self) -> "Shelf":
        """As it is now."""
        raise NotImplementedError

    async def timers(self, whose: Whose, session_id: str) -> bytes:
        return self._timed(whose).get(_member(whose, session_id), (b"", 0))[0]

    async def set_timers(
        self, whose: Whose, session_id: str, before: bytes, body: bytes, at_ms: int | None, most: int = MAX_TIMED
    ) -> bool:
        timed, member = self._timed(whose), _member(whose, session_id)
        there = timed.get(member, (b"", 0))[0]
        if there == body and at_ms is not None:
            timed[member] = (body, at_ms)
            return True
        if there != before:
            return False
        if at_ms is None:
            timed.pop(member, None)
            return True
        if not there and len(timed) >= most:
            raise too_many_timers(most)
        timed[member] = (body, at_ms)
        return True

    async def due_timers(self, tenant_uid: str, role: str, now_ms: int, count: int) -> Sequence[Due]:
        timed = self._timed(Whose(tenant_uid, role))
        found = sorted((at_ms, member) for member, (_, at_ms) in timed.items() if at_ms <= now_ms)
        return [Due(Row.of(member, 0), at_ms) for at_ms, member in found[:count]]

    async def claim_timers(self, whose: Whose, due: Due, until_ms: int) -> bool:
        timed, member = self._timed(whose), _member(whose, due.row.session_id)
        body, at_ms = timed.get(member, (b"", -1))
        if at_ms != due.at_ms:
            return False
        timed[member] = (body, until_ms)
        return True

    async def drop_timers(self, whose: Whose, session_id: str) -> bool:
        return self._timed(whose).pop(_member(whose, session_id), None) is not None

    async def timed_roles(self) -> Mapping[tuple[str, str], int]:
        return dict(self.shelf.books.timed_roles)

    async def note_timed(self, tenant_uid: str, role: str, now_ms: int) -> None:
        self.shelf.books.timed_roles[tenant_uid, role] = now_ms

    def _timed(self, whose: Whose) -> dict[str, tuple[bytes, int]]:
        return self.shelf.books.timed.setdefault((whose.tenant_uid, whose.role), {})


def _member(whose: Whose, session_id: str) -> str:
    return Row(whose.user, session_id, 0).member
