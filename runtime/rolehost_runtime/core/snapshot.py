"""A snapshot of a session: its fold at one turn, so that opening it reads the tail of its log and not the whole.

It holds no conversation: what prompts need of the past is in the records, from `past_from` on. So a snapshot
is as large as the state and the ids that are remembered, whatever was said.
"""

import zlib
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from rolehost_runtime.core.record import CorruptRecord, Record, UnknownVersion, last_seq

SNAPSHOT_VERSION = 1
EVERY_TURNS = 64
EVERY_BYTES = 262_144
"""Of records since the last snapshot: so many of either bound what a restore reads."""
MOST_TURNS = 256
"""However large the state is: a turn that changes the largest is folded in some milliseconds, so many in a second."""


class Snapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    log_id: str
    epoch: int
    turn: Annotated[int, Meta(ge=1)]
    seq: int
    version: int
    at_ms: int
    """When that turn was committed."""
    revision: str
    state: dict[str, Any]
    urgent: bool = False
    """The state's newest change was marked so."""
    response_id: str = ""
    """Of that turn: the one that may still be amended."""
    amends: int = 0
    """In the log so far."""
    past_from: Annotated[int, Meta(ge=1)]
    """The first turn whose words prompts may still need; the log keeps what is from there on."""
    seen: bytes = b""
    """Ids of client messages, oldest first: twelve bytes each, a digest and the turn that answered it."""
    spoke_ms: int = 0
    """When the user's newest turn was committed; 0: with this one."""
    lore: dict[str, int] = {}
    """Entries of the lorebook that later turns must know of, each with the turn that told it."""
    greeting: int = 0
    """The one that the session began with."""
    unstarted: bool = False
    """The logic has seen no turn so far: guards answered them all."""
    schema: int = 1
    """Version of the State class that wrote the state."""

    def ends_with(self, records: Iterable[Record]) -> bool:
        """Whether the log has, among these records, the turn that this snapshot was taken after, and ends there as it did.

        A store may have gone back in time and on from there: a position is not enough to know a turn by.
        """
        last = [record for record in records if record.turn == self.turn and last_seq(record) == self.seq]
        return bool(last) and last[0].response_id == self.response_id


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode(snapshot: Snapshot) -> bytes:
    """Version, a checksum in hex, and the body, with blanks between them."""
    body = _encoder.encode(snapshot)
    return b"%d %08x " % (SNAPSHOT_VERSION, zlib.crc32(body)) + body


def decode(data: bytes) -> Snapshot:
    """Raises CorruptRecord."""
    version, _, rest = data.partition(b" ")
    checksum, _, body = rest.partition(b" ")
    if version != b"%d" % SNAPSHOT_VERSION:
        raise UnknownVersion("a snapshot has a schema version that is not known here", hint="Upgrade the gateway")
    if checksum != b"%08x" % zlib.crc32(body):
        raise CorruptRecord("a snapshot's checksum is wrong")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CorruptRecord("a snapshot cannot be read") from None


def due(turns: int, size: int, last_size: int) -> bool:
    """Whether a session needs a snapshot: `turns` and `size` bytes of records after the last one, which had `last_size`.

    A large state is not written again before the records weigh as much, or there are MOST_TURNS of them, so that
    what is written per turn does not grow with the session.

    >>> due(64, 20_000, 300), due(63, 20_000, 300), due(3, 262_144, 300)
    (True, False, True)
    >>> due(64, 20_000, 250_000), due(90, 250_000, 250_000), due(256, 80_000, 250_000)
    (False, True, True)
    """
    return (turns >= EVERY_TURNS or size >= EVERY_BYTES) and (size >= last_size or turns >= MOST_TURNS)
