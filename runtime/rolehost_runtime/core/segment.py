"""A segment: records that left a session's log for the object store, as they were in it.

Each carries its own schema version and checksum already; the segment adds one over all of them. Its name says whose
it is, which log and epoch wrote it, from where to where it goes, and the digest of its bytes: two owners that believe
different things never write the same name, and nobody can put other bytes in its place unnoticed.
"""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from rolehost_api.identity import session_of, tag_of
from rolehost_runtime.core.record import CorruptRecord, Position, Record, decode, last_seq

MAGIC = b"rolehost-segment-1 "
ENOUGH_BYTES = 1 << 20
"""Of records: a segment with so many is closed. A reader holds one segment at a time."""
MAX_ENTRIES = 512
MAX_BYTES = 1 << 24
"""Of records in one segment, unpacked; more is never unpacked. The largest single record is far below."""
DIGEST = 32
"""Hex characters of SHA-256 in a name."""
_NAME = re.compile(r"(?P<whose>[a-zA-Z0-9-]+(?:/[a-zA-Z0-9-]+){3})/(\d+)-(\d+)\.(\d+)-(\d+)\.(\d+)-([0-9a-f]{32})")
_WORD = re.compile(r"[a-zA-Z0-9-]{1,64}")


class Entry(Struct, frozen=True, array_like=True):
    """One record as the log has it."""

    turn: int
    number: int
    v: bytes
    crc32: bytes
    body: bytes
    uv: bytes = b""
    """The version that the turn's change of user-scope state got; empty where it changed none."""

    @property
    def position(self) -> Position:
        return self.turn, self.number

    @property
    def size(self) -> int:
        return len(self.body)

    def record(self) -> Record:
        """Raises CorruptRecord, also where the record says that its place is another one."""
        record = decode({b"v": self.v, b"crc32": self.crc32, b"body": self.body, b"uv": self.uv})
        if record.position != self.position:
            raise CorruptRecord("a record is not where its number says")
        return record


def entry(position: Position, fields: Mapping[bytes, bytes]) -> Entry:
    """A stream's entry: a field that is missing is empty, and the record corrupt when it is read."""
    return Entry(*position, *(fields.get(name, b"") for name in (b"v", b"crc32", b"body", b"uv")))


class Segment(Struct, frozen=True, kw_only=True):
    log_id: str
    epoch: int
    entries: tuple[Entry, ...]
    """In order, at least one."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """What a segment's name says."""

    name: str
    epoch: int
    first: Position
    last: Position
    digest: str

    @classmethod
    def of(cls, name: str) -> "Shelved":
        """Raises CorruptRecord for what is no segment's name.

        >>> Shelved.of("9f3c-uid/t5/s7/l1/3-1.0-64.2-" + 32 * "a").last
        (64, 2)
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise CorruptRecord("a segment's name cannot be read")
        _, epoch, *places, digest = found.groups()
        turn, number, last_turn, last_number = map(int, places)
        return cls(name, int(epoch), (turn, number), (last_turn, last_number), digest)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Segment)


def folder(tenant_uid: str, key: str) -> str:
    """Where all segments of one session are. Nothing in it is a word that a client chose; ValueError for one that
    could not be.

    What is one person's with one Role lies in one folder, by its tag.

    >>> folder("9f3c-uid", "t5:s7")
    '9f3c-uid/t5/s7/'
    """
    words = (tenant_uid, tag_of(key), session_of(key))
    if not all(_WORD.fullmatch(word) for word in words):
        raise ValueError("a segment's folder is made of a tenant's UID and a session's key")
    return "/".join(words) + "/"


def log_folder(tenant_uid: str, key: str, log_id: str) -> str:
    """Where those of one of its logs are.

    >>> log_folder("9f3c-uid", "t5:s7", "l1")
    '9f3c-uid/t5/s7/l1/'
    """
    return f"{folder(tenant_uid, key)}{log_id}/"


def pack(tenant_uid: str, key: str, segment: Segment) -> tuple[str, bytes]:
    """Its name and its bytes: magic, then the records compressed. The checksum over all of it is in the name."""
    packed = MAGIC + zlib.compress(_encoder.encode(segment))
    (turn, number), (last_turn, last_number) = segment.entries[0].position, segment.entries[-1].position
    places = f"{turn}.{number}-{last_turn}.{last_number}"
    return f"{log_folder(tenant_uid, key, segment.log_id)}{segment.epoch}-{places}-{_digest(packed)}", packed


def unpack(name: str, data: bytes) -> Segment:
    """The segment of that name. Raises CorruptRecord where it is not what was written, whole."""
    says = Shelved.of(name)
    if _digest(data) != says.digest:
        raise CorruptRecord("a segment's checksum is wrong")
    if not data.startswith(MAGIC):
        raise CorruptRecord("a segment has a schema version that is not known here", hint="Upgrade the gateway")
    unpacking = zlib.decompressobj()
    try:
        body = unpacking.decompress(data[len(MAGIC) :], MAX_BYTES)
        if not unpacking.eof:
            raise CorruptRecord("a segment is larger than segments are")
        segment = _decoder.decode(body)
    except (zlib.error, msgspec.MsgspecError):
        raise CorruptRecord("a segment cannot be read") from None
    places = [one.position for one in segment.entries]
    if not places or (places[0], places[-1]) != (says.first, says.last) or sorted(set(places)) != places:
        raise CorruptRecord("a segment does not hold what its name says")
    return segment


def room_for(size: int, count: int, more: int) -> bool:
    """Whether a segment of `count` records and `size` bytes takes one more of `more` bytes; the first always fits.

    >>> room_for(0, 0, 5_000_000), room_for(1_000_000, 9, 100_000), room_for(1_000, 512, 10)
    (True, False, False)
    """
    return not count or (size + more <= ENOUGH_BYTES and count < MAX_ENTRIES)


def readable(entries: Sequence[Entry], after_seq: int | None) -> int:
    """The last event's number of records that follow each other, after that one (None: whatever it is).

    Raises CorruptRecord where one of them cannot be read or is missing: such a log is not touched.
    """
    for one in entries:
        record = one.record()
        if after_seq is not None and record.seq_first != after_seq + 1:
            raise CorruptRecord("a session's log has a gap")
        after_seq = last_seq(record)
    return after_seq or 0


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST]
