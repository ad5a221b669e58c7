"""What an opened session is made of: its newest good snapshot and the log from there on, or the whole log.

One that cannot be used is said and set aside, and the one before it is taken; where none is good, the log itself is.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from rolehost_runtime.core.record import CorruptRecord, Position, Record, UnknownVersion
from rolehost_runtime.core.snapshot import Snapshot, decode
from rolehost_runtime.gateway.ports import Head, Kept

log = logging.getLogger(__name__)

MAX_COPIES = 4
"""Of what is corrupt, per session."""
MAX_COPY_BYTES = 1 << 20
"""Of each; what is longer is cut."""
COPIES_SECONDS = 604_800


class Doubt(StrEnum):
    """Why something is set aside: the code in the log, and the label of the metric."""

    CORRUPT_RECORD = "corrupt_record"
    UNKNOWN_RECORD = "unknown_record_version"
    CORRUPT_SNAPSHOT = "corrupt_snapshot"
    UNKNOWN_SNAPSHOT = "unknown_snapshot_version"
    """A newer release wrote it, and may need it: it stays where it is as well."""
    STRAY_SNAPSHOT = "stray_snapshot"
    """Of turns that this log does not have."""


def of_record(error: CorruptRecord) -> Doubt:
    return Doubt.UNKNOWN_RECORD if isinstance(error, UnknownVersion) else Doubt.CORRUPT_RECORD


class Found(NamedTuple):
    """A snapshot as it stands there."""

    seq: bytes
    data: bytes


class Shelves(Protocol):
    """A store, as restoring sees it."""

    async def page(self, key: str, start: Position, count: int) -> list[Record]: ...

    async def read(self, key: str, start: Position = (1, 0)) -> list[Record]: ...

    async def snapshots(self, key: str) -> list[bytes]:
        """The seqs of all that are kept, the newest first."""

    async def snapshot(self, key: str, seq: bytes) -> Found | None:
        """What stands there; None where it went meanwhile."""

    async def doubt(self, key: str, found: Found, why: Doubt) -> None:
        """Set it aside, and say so."""


async def restore(store: Shelves, key: str, head: Head, newest: Found | None) -> tuple[Head, list[Record]]:
    """The session of that head, with the records that its snapshot does without, or all. Raises CorruptRecord."""
    left, looked = [newest] if newest is not None else [], False
    while left:
        found = left.pop(0)
        snapshot = await _readable(store, key, found)
        if snapshot is not None:
            records = await store.read(key, (snapshot.past_from, 0))
            foreign = snapshot.log_id != head.log_id and snapshot.epoch >= head.epoch
            if not foreign and snapshot.ends_with(records):
                return replace(head, kept=Kept(snapshot, len(found.data))), records
            await store.doubt(key, found, Doubt.STRAY_SNAPSHOT)
        if not looked:
            looked, left = True, [other async for other in _found(store, key) if other.seq != found.seq]
    return head, await store.read(key)


async def good(store: Shelves, key: str) -> AsyncIterator[Kept]:
    """Those of them that are good, the newest first. Raises CorruptRecord."""
    async for found in _found(store, key):
        snapshot = await _readable(store, key, found)
        if snapshot is None:
            continue
        ends = [await store.page(key, (snapshot.turn, number), 1) for number in {0, snapshot.amends}]
        if snapshot.ends_with(record for page in ends for record in page):
            yield Kept(snapshot, len(found.data))
        else:
            await store.doubt(key, found, Doubt.STRAY_SNAPSHOT)


async def newest(store: Shelves, key: str) -> Kept | None:
    async for kept in good(store, key):
        return kept
    return None


async def older_of_two(store: Shelves, key: str) -> Snapshot | None:
    both = [kept.snapshot async for kept in good(store, key)]
    return both[1] if len(both) > 1 else None


async def _found(store: Shelves, key: str) -> AsyncIterator[Found]:
    """One after the other, as they are asked for: each may be some 300 KiB."""
    for seq in await store.snapshots(key):
        if (found := await store.snapshot(key, seq)) is not None:
            yield found


async def _readable(store: Shelves, key: str, found: Found) -> Snapshot | None:
    try:
        return decode(found.data)
    except UnknownVersion:
        await store.doubt(key, found, Doubt.UNKNOWN_SNAPSHOT)
    except CorruptRecord:
        await store.doubt(key, found, Doubt.CORRUPT_SNAPSHOT)
    return None


def said(key: str, name: str, why: Doubt, kept: str) -> None:
    """In the log: what, where and why; never what it says."""
    log.error("%s: %s of session %s; its copy is %s", why, name, key, kept)
