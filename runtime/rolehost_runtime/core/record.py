"""The records of a session's log: what was said, what changed, and how it is shown.

A TurnRecord is one turn, durable whole or not at all. An Amend says later that less of the
newest turn's reply was heard. The log is a list of them, and everything else is computed
from it: the state by folding patches, the transcript by reading, the frames that clients
see by `render`.

A record is written in the oldest version that can say it, so that a gateway of the release
before reads all that it could have written itself. Every version ever written is read.
"""

import zlib
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import (
    DegradedHook,
    FinishReason,
    HeardPart,
    Metrics,
    ResponseAmended,
    ResponseDone,
    ServerFrame,
    StateDelta,
    Usage,
)
from rolehost_runtime.core.merge import ALONE

TURN_VERSION, AMEND_VERSION = 1, 2
"""Version 1 is a turn; version 2 is what is no turn, an Amend so far."""
MAX_EVENTS = 3
"""Of one turn, as `event_count` counts them. An amend is one event."""

Position = tuple[int, int]
"""A record's place in its log: the turn, and 0 for the turn itself or the number of the amend that came after it."""


class CorruptRecord(RolehostError):
    """A record of the log whose checksum or shape is wrong; it is said, never skipped."""

    code = "corrupt_record"


class UnknownVersion(CorruptRecord):
    """One that a newer release wrote, most likely: it is not broken, but cannot be read here."""


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
    heard: HeardPart | None = None
    """Where the reply of a cancelled turn was cut."""
    given_anew: bool = False
    """Its answer was begun by a gateway that died in it, and given by another one."""
    joined: tuple[str, ...] = ()
    """Ids of the messages that joined the turn's own while it was answered; their text is part of `input`."""
    user_patch: tuple[PatchOp, ...] = ()
    """What it changed of user-scope state, as `core.merge` has it."""
    user_base: int = 0
    """The version of user-scope state that it had read."""
    user_version: int = 0
    """The one that its change got: the store says it, beside the body."""
    urgent: bool = False
    """Its change of the state is to be noticed at once."""

    @property
    def position(self) -> Position:
        return self.turn, 0

    @property
    def mark(self) -> str:
        """Of the version of user-scope state that it makes: no other turn of any log has the same."""
        return f"{self.log_id}/{self.turn}"


class Amend(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="amend"):
    """How much was heard of the newest turn's reply, said after it was durable. It only ever makes it shorter."""

    log_id: str
    epoch: int
    turn: int
    """The turn that it amends."""
    number: Annotated[int, Meta(ge=1)]
    """Its number among the log's amends."""
    seq_first: int
    """Of its one event."""
    at_ms: int
    response_id: str
    reply: str
    """What was heard."""
    heard: HeardPart

    @property
    def seq_count(self) -> int:
        return 1

    @property
    def position(self) -> Position:
        return self.turn, self.number


Record = TurnRecord | Amend

_encoder = msgspec.msgpack.Encoder()
_decode: dict[bytes, Callable[[bytes], Record]] = {
    str(TURN_VERSION).encode(): msgspec.msgpack.Decoder(TurnRecord).decode,
    str(AMEND_VERSION).encode(): msgspec.msgpack.Decoder(Amend).decode,
}


def encode(record: Record) -> dict[str, bytes]:
    """The record as fields of a Redis stream entry: v, crc32 (hex) and an opaque body. `user_version` is the store's to
    add, as `uv`."""
    body, version = _body(record), AMEND_VERSION if isinstance(record, Amend) else TURN_VERSION
    return {"v": str(version).encode(), "crc32": f"{zlib.crc32(body):08x}".encode(), "body": body}


def size_of(record: Record) -> int:
    """Bytes of its body in the log."""
    return len(_body(record))


def _body(record: Record) -> bytes:
    if isinstance(record, TurnRecord) and record.user_version:
        record = msgspec.structs.replace(record, user_version=0)
    return _encoder.encode(record)


def decode(fields: dict[bytes, bytes]) -> Record:
    """The record out of a stream entry's fields. Raises CorruptRecord."""
    body, version = fields.get(b"body", b""), fields.get(b"v", b"")
    if version not in _decode:
        raise UnknownVersion("a record has a schema version that is not known here", hint="Upgrade the gateway")
    if fields.get(b"crc32") != f"{zlib.crc32(body):08x}".encode():
        raise CorruptRecord("a record's checksum is wrong")
    try:
        record = _decode[version](body)
        if isinstance(record, TurnRecord) and (told := fields.get(b"uv")):
            return msgspec.structs.replace(record, user_version=int(told))
        return record
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise CorruptRecord("a record cannot be read") from None


def event_count(patch: tuple[PatchOp, ...], user_patch: tuple[PatchOp, ...] = ()) -> int:
    """How many events `render` makes of a turn with these patches: one for each that is not empty, and done."""
    return bool(patch) + bool(user_patch) + 1


def last_seq(record: Record) -> int:
    """Number of the record's last event."""
    return record.seq_first + record.seq_count - 1


def following(record: Record) -> Position:
    """The first place after this record's."""
    turn, number = record.position
    return turn, number + 1


def place_after(after_seq: int, turn: int, seq: int, amends: int) -> Position:
    """A place before which every event has a number up to `after_seq`, for sure: who heard up to there reads on from it.

    `turn`, `seq` and `amends` are the log's: its last turn and event, and how many amends it has in all. A turn has one
    to three events, so turn 3 ends at 9 or before where there are no amends, and each amend may be one more. The other
    way round, as many of the newest turns as there are events after `after_seq` may be unheard, whatever was amended.
    In a log of 10 turns and 15 events, without amends and with 4:

    >>> [place_after(heard, 10, 15, 0) for heard in (0, 6, 7, 14, 15)]
    [(1, 0), (3, 0), (3, 0), (10, 0), (10, 1)]
    >>> [place_after(heard, 10, 15, 4) for heard in (0, 6, 8, 14, 15)]
    [(1, 0), (2, 0), (4, 0), (10, 0), (10, 5)]

    Who heard all reads on after the newest record, where an amend of the newest turn would come.
    """
    turns = max(0, (after_seq - amends) // MAX_EVENTS, turn - (seq - after_seq))
    return min((turns + 1, 0), (turn, amends + 1))


def render(record: Record, session_id: str, *, replay: bool = False) -> list[ServerFrame]:
    """The events of a record as clients see them, the same live and on replay."""
    if isinstance(record, Amend):
        return [
            ResponseAmended(
                session_id=session_id,
                seq=record.seq_first,
                ts=record.at_ms,
                response_id=record.response_id,
                message=record.reply,
                truncated_at=record.heard,
                replay=replay,
            )
        ]
    frames: list[ServerFrame] = []
    if record.patch:
        frames.append(
            StateDelta(
                session_id=session_id,
                seq=record.seq_first,
                ts=record.at_ms,
                version=record.version,
                is_urgent=record.urgent,
                patch=record.patch,
            )
        )
    if record.user_patch:
        frames.append(
            StateDelta(
                session_id=session_id,
                seq=last_seq(record) - 1,
                ts=record.at_ms,
                scope="user",
                version=record.user_version,
                is_urgent=False,
                patch=record.user_patch,
            )
        )
    frames.append(
        ResponseDone(
            session_id=session_id,
            seq=last_seq(record),
            ts=record.at_ms,
            response_id=record.response_id,
            status="cancelled" if record.status == "cancelled" else "completed",
            message=record.reply,
            finish_reason=record.finish_reason,
            truncated_at=record.heard if record.status == "cancelled" else None,
            given_anew=record.given_anew,
            client_msg_id=record.client_msg_id,
            revision=record.revision,
            usage=record.usage,
            metrics=record.metrics,
            degraded=tuple(DegradedHook(hook=d.hook, code=d.code, where=d.where) for d in record.degraded) or None,
            user_state=_kept(record),
            replay=replay,
        )
    )
    return frames


def _kept(record: TurnRecord) -> Literal["user", "session"] | None:
    """Where the turn's change of user-scope state is kept; nothing is said where it made none."""
    if record.user_patch:
        return "user"
    return "session" if any(f"{one.path}/".startswith(f"/{ALONE}/") for one in record.patch) else None
