"""The record of a turn: what was said, what changed, and how it is shown.

One record is one turn, durable whole or not at all. The log is a list of records, and
everything else is computed from it: the state by folding patches, the transcript by
reading, the frames that clients see by `render`.
"""

import zlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import DegradedHook, FinishReason, Metrics, ResponseDone, ServerFrame, StateDelta, Usage

RECORD_VERSION = 1
MAX_EVENTS = 2
"""Of one turn, as `event_count` counts them."""


class CorruptRecord(RolehostError):
    """A record of the log whose checksum or shape is wrong; it is said, never skipped."""

    code = "corrupt_record"


class JournalEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One effect and its outcome, as needed to run the hooks again."""

    index: Annotated[int, Meta(ge=0)]
    kind: str
    outcome: str = ""
    error: str = ""


class TurnRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    log_id: str
    epoch: int
    turn: int
    seq_first: int
    seq_count: int
    version: int
    """Of the state after this turn."""
    now_ms: int
    """When the turn began: what its hooks knew as the time."""
    at_ms: int
    """When it was committed."""
    revision: str
    response_id: str
    input: str
    reply: str
    status: Literal["completed", "cancelled", "filtered"] = "completed"
    finish_reason: FinishReason = "stop"
    client_msg_id: str | None = None
    user: str | None = None
    patch: tuple[PatchOp, ...] = ()
    degraded: tuple[Degraded, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    rng_seed: int = 0
    usage: Usage = Usage()
    metrics: Metrics = Metrics()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TurnRecord)


def encode(record: TurnRecord) -> dict[str, bytes]:
    """The record as fields of a Redis stream entry: v, crc32 (hex) and an opaque body."""
    body = _encoder.encode(record)
    return {"v": str(RECORD_VERSION).encode(), "crc32": f"{zlib.crc32(body):08x}".encode(), "body": body}


def decode(fields: dict[bytes, bytes]) -> TurnRecord:
    """The record out of a stream entry's fields. Raises CorruptRecord."""
    body = fields.get(b"body", b"")
    if fields.get(b"v") != str(RECORD_VERSION).encode():
        raise CorruptRecord("a record has a schema version that is not known here", hint="Upgrade the gateway")
    if fields.get(b"crc32") != f"{zlib.crc32(body):08x}".encode():
        raise CorruptRecord("a record's checksum is wrong")
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError:
        raise CorruptRecord("a record cannot be read") from None


def event_count(patch: tuple[PatchOp, ...]) -> int:
    """How many events `render` makes of a turn with this patch: the state's change if any, and done."""
    return (1 if patch else 0) + 1


def turns_heard(after_seq: int, turn: int, seq: int) -> int:
    """Turns whose events all have numbers up to `after_seq`, for sure: who heard up to there reads on after them.

    `turn` and `seq` are the log's last. A turn has one or two events, so turn 3 ends at 6 or before, and as many
    turns as there are events after `after_seq` may be unheard. In a log of 10 turns:

    >>> turns_heard(0, 10, 15), turns_heard(6, 10, 15), turns_heard(14, 10, 15), turns_heard(15, 10, 15)
    (0, 3, 9, 10)
    """
    return max(after_seq // MAX_EVENTS, turn - (seq - after_seq))


def render(record: TurnRecord, session_id: str, *, replay: bool = False) -> list[ServerFrame]:
    """The events of a turn as clients see them, the same live and on replay."""
    frames: list[ServerFrame] = []
    if record.patch:
        frames.append(
            StateDelta(
                session_id=session_id,
                seq=record.seq_first,
                ts=record.at_ms,
                version=record.version,
                is_urgent=False,
                patch=record.patch,
            )
        )
    frames.append(
        ResponseDone(
            session_id=session_id,
            seq=record.seq_first + record.seq_count - 1,
            ts=record.at_ms,
            response_id=record.response_id,
            status="cancelled" if record.status == "cancelled" else "completed",
            message=record.reply,
            finish_reason=record.finish_reason,
            client_msg_id=record.client_msg_id,
            revision=record.revision,
            usage=record.usage,
            metrics=record.metrics,
            degraded=tuple(DegradedHook(hook=d.hook, code=d.code, where=d.where) for d in record.degraded) or None,
            replay=replay,
        )
    )
    return frames
