"""The store's fake: the same rules in this process's memory, with the same bytes kept."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec

from rolehost_api.identity import session_of, tag_of
from rolehost_runtime.core.memory import atoms
from rolehost_runtime.core.merge import Stored, changes_of, mark_of, merge, version_of
from rolehost_runtime.core.record import Amend, CorruptRecord, Position, Record, TurnRecord, decode, last_seq
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.segment import Shelved
from rolehost_runtime.core.session import OpenTurn, decode_open, encode_open
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.core.snapshot import encode as encode_snapshot
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.memory_library import Books, MemoryLibrary, fields_of, versioned
from rolehost_runtime.gateway.broker.state.memory_memories import MemoryMemories
from rolehost_runtime.gateway.broker.state.memory_timers import MemoryTimers
from rolehost_runtime.gateway.broker.state.scripts import MARGIN_SECONDS
from rolehost_runtime.gateway.broker.state.snapshots import (
    MAX_COPIES,
    MAX_COPY_BYTES,
    Doubt,
    Found,
    newest,
    of_record,
    older_of_two,
    restore,
    said,
)
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.ports import (
    NEWEST_BYTES,
    NOBODY,
    USER_BYTES,
    Compensation,
    Head,
    HeldElsewhere,
    Kept,
    Shared,
    Superseded,
)

MAX_COMPENSATIONS = 1024


@dataclass
class Shelf:
    """What Redis would hold; several stores on one shelf are several gateways on one Redis."""

    heads: dict[str, Head] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[dict[bytes, bytes]]] = field(default_factory=dict)
    segments: dict[str, list[Shelved]] = field(default_factory=dict)
    snaps: dict[str, dict[int, bytes]] = field(default_factory=dict)
    aside: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """What was corrupt, by what it was."""
    users: dict[str, Stored] = field(default_factory=dict)
    """By tag."""
    kept: dict[str, list[Compensation]] = field(default_factory=dict)
    memories: dict[str, atoms.Stored] = field(default_factory=dict)
    """By the names that Redis has for them."""
    books: Books = field(default_factory=Books)
    now_ms: Callable[[], int] = lambda: 0
    until: dict[str, int] = field(default_factory=dict)
    """By session's key, by tag for what is shared, or by what Redis calls a memory: when it goes, by that clock."""

    def last(self, what: str, seconds: int) -> None:
        if seconds >= 0:
            self.until[what] = self.now_ms() + 1000 * seconds

    def lapse(self) -> None:
        """Let go of what has lasted its time."""
        now = self.now_ms()
        for what in [what for what, at in self.until.items() if at <= now] if now else ():
            del self.until[what]
            for held in (
                self.heads,
                self.owners,
                self.logs,
                self.segments,
                self.snaps,
                self.aside,
                self.users,
                self.kept,
                self.memories,
            ):
                held.pop(what, None)

    raised_ms: dict[str, int] = field(default_factory=dict)
    """When a session was last taken over from an owner that had not given it away."""
    raise_ms: int = 0
    """Between two of those; Redis waits for RAISE_MS."""


class MemorySessionStore(MemoryLibrary, MemoryMemories, MemoryTimers):
    """Implements ports.SessionStore."""

    user_bytes = USER_BYTES

    def __init__(self, shelf: Shelf | None = None, owner: str = "") -> None:
        self._shelf = shelf or Shelf()
        self._owner = owner or secrets.token_hex(16)
        self.doubted: Callable[[str], None] = lambda why: None

    @property
    def shelf(self) -> Shelf:
        """As it is now."""
        self._shelf.lapse()
        return self._shelf

    async def open(
        self,
        key: str,
        yield_to: Collection[str] = (),
        given: Mapping[str, int] = NOBODY,
        newest: int = 0,
        mine: int = 0,
    ) -> tuple[Head, list[Record]]:
        """As ports.SessionStore has it."""
        while True:
            holder = self.shelf.owners.get(key, "")
            epoch = self.shelf.heads[key].epoch if holder else 0
            handed = bool(holder) and given.get(holder) == epoch
            if holder in yield_to and not handed:
                raise HeldElsewhere(holder, epoch)
            how = "new" if not holder else "own" if holder == self._owner else "takeover"
            how = "handover" if how == "takeover" and handed else how
            if how != "takeover":
                break
            now_ms = time.monotonic_ns() // 1_000_000
            left_ms = self.shelf.raised_ms.get(key, -self.shelf.raise_ms) + self.shelf.raise_ms - now_ms
            if left_ms <= 0:
                self.shelf.raised_ms[key] = now_ms
                break
            await asyncio.sleep(left_ms / 1000)
        if key not in self.shelf.heads:
            self.shelf.memories.pop(keys.memories_alone(key), None)
        head = self.shelf.heads.get(key) or Head(secrets.token_hex(16), 0, 0, 0, 0, "")
        died = head.open is not None and holder != self._owner
        if how == "own" and head.epoch == mine:
            head = replace(head, how="")
        else:
            head = self.shelf.heads[key] = replace(head, epoch=head.epoch + 1, deaths=head.deaths + died, how=how)
        self.shelf.owners[key] = self._owner
        if head.open is None and (kept := self._newest(key, newest)):
            return replace(head, unread=True), list(self._decoded(key, kept))
        found = [Found(b"%d" % seq, data) for seq, data in self.shelf.snaps.get(key, {}).items() if seq <= head.seq]
        return await restore(self, key, head, max(found, key=lambda one: int(one.seq), default=None))

    async def read(self, key: str, start: Position = (1, 0)) -> list[Record]:
        return list(self._records(key, start))

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        return list(islice(self._records(key, start), count))

    def _records(self, key: str, start: Position) -> Iterator[Record]:
        for record in self._decoded(key, self.shelf.logs.get(key, [])):
            if record.position >= start:
                yield record

    def _decoded(self, key: str, log: Iterable[dict[bytes, bytes]]) -> Iterator[Record]:
        for fields in log:
            try:
                record = decode(fields)
            except CorruptRecord as error:
                self._set_aside(key, "wal", b" ".join(fields.values()), of_record(error))
                raise
            yield record

    def _newest(self, key: str, count: int) -> list[dict[bytes, bytes]]:
        """At most so many of the newest records, as far as NEWEST_BYTES go."""
        room, found = NEWEST_BYTES, deque[dict[bytes, bytes]]()
        for fields in self.shelf.logs.get(key, [])[: -count - 1 : -1]:
            room -= sum(len(name) + len(value) for name, value in fields.items())
            if room < 0:
                break
            found.appendleft(fields)
        return list(found)

    async def head(self, key: str) -> Head | None:
        return self.shelf.heads.get(key)

    async def log_bytes(self, key: str) -> int:
        head = self.shelf.heads.get(key)
        return head.log_bytes if head is not None else 0

    async def fence(self, key: str) -> Fence | None:
        head = self.shelf.heads.get(key)
        owner = self.shelf.owners.get(key, "")
        return None if head is None else Fence(head.log_id, head.epoch, owner == self._owner, head.seq, owner)

    async def rename(self, key: str, head: Head) -> Head:
        there = self.shelf.heads.get(key)
        if there is None or not self._ours(key, there, head.log_id, head.epoch):
            raise Superseded()
        self.shelf.heads[key] = replace(there, log_id=secrets.token_hex(16))
        return replace(head, log_id=self.shelf.heads[key].log_id)

    async def commit(self, key: str, record: Record, keep_seconds: int = RETENTION_SECONDS) -> Shared | None:
        head, log = self.shelf.heads.get(key), self.shelf.logs.setdefault(key, [])
        fields = fields_of(record)
        if head is None or not self._ours(key, head, record.log_id, record.epoch):
            raise Superseded()
        next_turn, next_amend = (head.turn + 1, 0), (head.turn, head.amends + 1)
        if record.position in ((head.turn, 0), (head.turn, head.amends)):
            for kept in log:
                if {name: value for name, value in kept.items() if name != b"uv"} == fields:
                    return Shared(int(kept[b"uv"])) if b"uv" in kept else None
        if record.position not in (next_turn, next_amend) or record.seq_first != head.seq + 1:
            raise Superseded()
        memories, where = self.shelf.memories, keys.memories(key)
        remembered: atoms.Stored = {}
        if isinstance(record, TurnRecord) and record.memory:
            remembered = atoms.kept(memories.get(where, {}), record.memory, record.mark)
        shared = self._share(key, record)
        if remembered:
            memories[where] = remembered
            shared = replace(shared or Shared(), memory=atoms.version_of(remembered))
        log.append(versioned(fields, shared.version if shared else 0))
        size = head.log_bytes + len(fields[b"body"])
        of_its_own = isinstance(record, TurnRecord) and record.occasion is not None
        head = replace(head, seq=last_seq(record), log_bytes=size)
        head = head if of_its_own else replace(head, last_at_ms=record.at_ms)
        if isinstance(record, Amend):
            self.shelf.heads[key] = replace(head, amends=record.number)
        else:
            self.shelf.heads[key] = replace(
                head, turn=record.turn, version=record.version, revision=record.revision, open=None, deaths=0
            )
        if of_its_own:
            self._last_as_head(key, tag_of(key), where)
            return shared
        self.shelf.last(key, keep_seconds)
        if isinstance(record, TurnRecord) and record.user_patch:
            self._shared_lasts(tag_of(key), keep_seconds)
        if where in memories:
            self.shelf.last(where, keep_seconds + MARGIN_SECONDS)
        return shared

    def _last_as_head(self, key: str, *others: str) -> None:
        """What stands beside the head, and has no time of its own, goes when it does."""
        for other in others:
            if key in self.shelf.until:
                self.shelf.until.setdefault(other, self.shelf.until[key] + 1000 * MARGIN_SECONDS)

    def _share(self, key: str, record: Record) -> Shared | None:
        if isinstance(record, Amend) or not record.user_patch:
            return None
        tag, session = tag_of(key), session_of(key)
        there, changes = self.shelf.users.get(tag, {}), changes_of(record.user_patch)
        merged = merge(there, changes, base=record.user_base, mark=record.mark, max_bytes=self.user_bytes)
        self.shelf.users[tag] = merged.stored
        self.shelf.kept.setdefault(tag, []).extend(
            Compensation(
                merged.version, lost.field, lost.written, msgspec.msgpack.decode(lost.value), session, record.turn
            )
            for lost in merged.overridden
        )
        del self.shelf.kept[tag][:-MAX_COMPENSATIONS]
        return Shared(merged.version, len(merged.overridden))

    def _shared_lasts(self, tag: str, keep_seconds: int) -> None:
        self.shelf.last(tag, keep_seconds + MARGIN_SECONDS)

    async def user(self, tag: str, known: Stored, keep_seconds: int = 0) -> Stored:
        if keep_seconds:
            self._shared_lasts(tag, keep_seconds)
        there = self.shelf.users.get(tag, {})
        return known if (version_of(there), mark_of(there)) == (version_of(known), mark_of(known)) else dict(there)

    async def compensations(self, tag: str, count: int) -> list[Compensation]:
        return self.shelf.kept.get(tag, [])[::-1][:count]

    async def note(self, key: str, log_id: str, epoch: int, turn: int, opened: OpenTurn | None) -> bool:
        head = self.shelf.heads.get(key)
        if head is None or not self._ours(key, head, log_id, epoch) or head.turn != turn - 1:
            return False
        kept = decode_open(encode_open(opened)) if opened is not None else None
        self.shelf.heads[key] = replace(head, open=kept, deaths=0)
        return True

    async def keep(self, key: str, snapshot: Snapshot) -> int:
        head, data = self.shelf.heads.get(key), encode_snapshot(snapshot)
        if head is None or not self._ours(key, head, snapshot.log_id, snapshot.epoch) or snapshot.seq > head.seq:
            raise Superseded()
        there = {seq: one for seq, one in self.shelf.snaps.get(key, {}).items() if seq <= head.seq}
        there[snapshot.seq] = data
        self.shelf.snaps[key] = {seq: there[seq] for seq in sorted(there)[-2:]}
        return len(data)

    async def kept(self, key: str) -> Kept | None:
        return await newest(self, key)

    async def covered(self, key: str) -> Snapshot | None:
        return await older_of_two(self, key)

    async def snapshots(self, key: str) -> list[bytes]:
        return [b"%d" % seq for seq in sorted(self.shelf.snaps.get(key, {}), reverse=True)]

    async def snapshot(self, key: str, seq: bytes) -> Found | None:
        data = self.shelf.snaps.get(key, {}).get(int(seq))
        return None if data is None else Found(seq, data)

    async def doubt(self, key: str, found: Found, why: Doubt) -> None:
        kept = self._set_aside(key, f"snap:{found.seq.decode()}", found.data, why)
        if kept and why is not Doubt.UNKNOWN_SNAPSHOT:
            del self.shelf.snaps[key][int(found.seq)]

    def _set_aside(self, key: str, name: str, data: bytes, why: Doubt) -> bool:
        self.doubted(why)
        copies = self.shelf.aside.setdefault(key, {})
        kept = name in copies or len(copies) < MAX_COPIES
        if kept:
            copies.setdefault(name, data[:MAX_COPY_BYTES])
        said(key, name, why, "kept" if kept else "not kept: there are enough")
        return kept

    def _ours(self, key: str, head: Head, log_id: str, epoch: int) -> bool:
        return (head.log_id, head.epoch) == (log_id, epoch) and self.shelf.owners[key] == self._owner
