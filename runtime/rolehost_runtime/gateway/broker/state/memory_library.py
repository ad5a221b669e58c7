"""The library's fake: the same rules in this process's memory."""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.record import Amend, Record, encode
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.memory_memories import held as held_atoms
from rolehost_runtime.gateway.kept import (
    FORGOTTEN_SECONDS,
    MAX_KEPT,
    MAX_OF_USER,
    RETENTION_SECONDS,
    Beginning,
    Gone,
    Row,
    Whose,
    too_many_kept,
    too_many_of_tenant,
)
from rolehost_runtime.gateway.ports import Head, Superseded

if TYPE_CHECKING:
    from rolehost_runtime.gateway.broker.state.memory_store import Shelf


@dataclass
class Books:
    """What Redis would hold beside the logs."""

    rows: dict[tuple[str, str], dict[str, Row]] = field(default_factory=dict)
    """By tenant and Role, then by member."""
    active: dict[tuple[str, str], dict[str, Active]] = field(default_factory=dict)
    claims: dict[tuple[str, str], int] = field(default_factory=dict)
    """By tenant and Role: until when, in ms."""
    units: dict[str, int] = field(default_factory=dict)
    """Of rollouts' evidence: until when each is claimed, in ms."""
    drafts: dict[str, list[Record]] = field(default_factory=dict)
    told: dict[str, Gone] = field(default_factory=dict)
    """By session: what its forgetting was told."""
    receipts: dict[str, bytes] = field(default_factory=dict)
    timed: dict[tuple[str, str], dict[str, tuple[bytes, int]]] = field(default_factory=dict)
    """By tenant and Role, then by member: schedules, and when they are looked at."""
    timed_roles: dict[tuple[str, str], int] = field(default_factory=dict)


class MemoryLibrary:
    """Implements kept.Library."""

    most_kept = MAX_KEPT

    @property
    def shelf(self) -> "Shelf":
        """As it is now."""
        raise NotImplementedError

    async def enlist(
        self, whose: Whose, session_id: str, began_ms: int, active: Active | None = None, *, promised: bool = True
    ) -> None:
        place = (whose.tenant_uid, whose.role)
        rows = self.shelf.books.rows.setdefault(place, {})
        row = Row(whose.user, session_id, began_ms)
        if row.member not in rows:
            if len(rows) >= self.most_kept:
                raise too_many_of_tenant(self.most_kept)
            if whose.user and sum(other.user == whose.user for other in rows.values()) >= MAX_OF_USER:
                raise too_many_kept()
        rows.setdefault(row.member, row)
        said = self.shelf.books.active.setdefault(place, {})
        if active is not None and (row.member not in said or said[row.member].at_ms <= active.at_ms):
            said[row.member] = active if promised else active.as_promised(said.get(row.member))

    async def activity(self, tenant_uid: str, role: str, rows: Sequence[Row]) -> Sequence[Active | None]:
        said = self.shelf.books.active.get((tenant_uid, role), {})
        return [said.get(row.member) for row in rows]

    async def delist(self, whose: Whose, session_id: str) -> None:
        books, place, member = self.shelf.books, (whose.tenant_uid, whose.role), Row(whose.user, session_id, 0).member
        books.rows.get(place, {}).pop(member, None)
        books.active.get(place, {}).pop(member, None)
        books.timed.get(place, {}).pop(member, None)

    async def claim(self, tenant_uid: str, role: str, seconds: int) -> bool:
        claims, now = self.shelf.books.claims, self.shelf.now_ms()
        free = (tenant_uid, role) not in claims or claims[tenant_uid, role] <= now
        if free:
            claims[tenant_uid, role] = now + 1000 * seconds
        return free

    async def claim_unit(self, unit: str, seconds: int) -> bool:
        units, now = self.shelf.books.units, self.shelf.now_ms()
        free = units.get(unit, now) <= now
        if free:
            units[unit] = now + 1000 * seconds
        return free

    async def sample(self, tenant_uid: str, role: str, count: int) -> tuple[int, Sequence[Row]]:
        rows = sorted(self.shelf.books.rows.get((tenant_uid, role), {}))
        picked = random.sample(rows, min(count, len(rows)))
        return len(rows), [Row.of(member, 0) for member in picked] if picked else ()

    async def rows(self, tenant_uid: str, role: str, user: str | None, after: Row | None, count: int) -> Sequence[Row]:
        rows = self.shelf.books.rows.get((tenant_uid, role), {}).values()
        found = [row for row in rows if user in (None, row.user) and row.after(after)]
        return sorted(found, key=lambda row: (row.began_ms, row.member), reverse=True)[:count]

    async def draft(self, key: str, records: Sequence[Record]) -> None:
        if key in self.shelf.heads:
            raise Superseded()
        drafted = self.shelf.books.drafts.setdefault(key, [])
        drafted += [record for record in records if record not in drafted]

    async def found(self, key: str, beginning: Beginning, keep_seconds: int = RETENTION_SECONDS) -> None:
        head = self.shelf.heads.get(key)
        if head is not None and head.log_id == beginning.log_id:
            return
        if head is not None or key not in self.shelf.books.drafts:
            raise Superseded()
        records = self.shelf.books.drafts.pop(key)
        self.shelf.logs[key] = [
            versioned(fields_of(record), 0 if isinstance(record, Amend) else record.user_version) for record in records
        ]
        self.shelf.owners[key] = ""
        self.shelf.heads[key] = Head(
            beginning.log_id, beginning.epoch, beginning.turn, beginning.seq, beginning.version, beginning.revision,
            beginning.at_ms, amends=beginning.amends, origin=beginning.origin,
            log_bytes=beginning.log_bytes,
        )  # fmt: skip
        self.shelf.last(key, keep_seconds)

    async def forget(self, key: str, receipt: str) -> Gone | None:
        head, log = self.shelf.heads.get(key), self.shelf.logs.pop(key, [])
        snaps, aside = self.shelf.snaps.pop(key, {}), self.shelf.aside.pop(key, {})
        segments = self.shelf.segments.pop(key, [])
        remembered = self.shelf.memories.pop(keys.memories_alone(key), {})
        self.shelf.until.pop(keys.memories_alone(key), None)
        if head is None:
            return None
        if head.turn or not head.forgotten:
            held = {
                "records": len(log),
                "snapshots": bool(snaps),
                "quarantined": bool(aside),
                "segment_names": len(segments),
                "memories": held_atoms(remembered),
            }
            counts = {kind: int(count) for kind, count in held.items() if count}
            self.shelf.books.told[key] = Gone(receipt, counts, (f"{key}:head", f"{key}:log"))
        epoch = head.epoch + 1
        self.shelf.heads[key] = Head(secrets.token_hex(16), epoch, 0, 0, 0, "", forgotten=epoch)
        self.shelf.owners[key] = ""
        self.shelf.last(key, FORGOTTEN_SECONDS)
        return self.shelf.books.told[key]

    async def forget_user(self, tag: str) -> int:
        found = (self.shelf.users.pop(tag, {}), self.shelf.kept.pop(tag, []))
        return sum(map(bool, found))

    async def keep_receipt(self, receipt: str, body: bytes) -> None:
        self.shelf.books.receipts[receipt] = body

    async def receipt(self, receipt: str) -> bytes | None:
        return self.shelf.books.receipts.get(receipt)


def fields_of(record: Record) -> dict[bytes, bytes]:
    """A record as a log has it."""
    return {name.encode(): value for name, value in encode(record).items()}


def versioned(fields: dict[bytes, bytes], user_version: int) -> dict[bytes, bytes]:
    """With the version that its change of user-scope state got; 0: it made none."""
    return fields | ({b"uv": str(user_version).encode()} if user_version else {})
