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
from rolehost_api.link.messages import MAX_EMITTED, MAX_TRANSITIONS, Degraded, Emitted, PatchOp, Transition
from rolehost_api.link.tools import ToolCall
from rolehost_api.wire import (
    BehaviorTransition,
    CustomEvent,
    DegradedHook,
    FinishReason,
    HeardPart,
    MemoryAtom,
    MemoryCommitted,
    Metrics,
    ResponseAmended,
    ResponseDone,
    ServerFrame,
    StateDelta,
    TakenEdge,
    ToldLore,
    Usage,
    UsedTool,
)
from rolehost_runtime.core.memory.atoms import Atom, Changes
from rolehost_runtime.core.merge import ALONE
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.safety.guards import Decision
from rolehost_runtime.core.shown import shown_patch

TURN_VERSION, AMEND_VERSION = 1, 2
"""Version 1 is a turn; version 2 is what is no turn, an Amend so far."""
MAX_EVENTS = 4 + MAX_TRANSITIONS + MAX_EMITTED
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
    calls: tuple[ToolCall, ...] = ()
    """Of a model's answer: the tools that it called."""


MODEL, TOOL = "model", "tool"
"""In place of a hook's name in `degraded`: what the platform did otherwise than it was asked to. A tool's is `tool:NAME`."""
GUARD = "guard"
"""The same for a guard that failed; which, `where` says."""


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
    transitions: Annotated[tuple[Transition, ...], Meta(max_length=MAX_TRANSITIONS)] = ()
    """Of the behaviour graph; where it stands since is a part of the state."""
    model: str = ""
    """`backend/model` that gave the (last part of the) reply."""
    atoms: tuple[Atom, ...] = ()
    """What it remembers."""
    forgotten: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    """Ids of what it forgets, and of what users asserted and it vouches for."""
    tools: tuple[UsedTool, ...] = ()
    """That the model called, and what came of it. Their arguments are in the journal."""
    occasion: Occasion | None = None
    """Why there was a turn though nobody said anything: `input` is empty then, and it keeps the session no longer."""
    absent_ms: int = 0
    """Since the user's turn before; 0 where there was none."""
    emitted: tuple[Emitted, ...] = ()
    lore: tuple[ToldLore, ...] = ()
    """Entries of the lorebook that the model was told."""
    lore_began: tuple[str, ...] = ()
    """Ids of those that later turns must know of."""
    greeting: int = 0
    """Of the first turn: the greeting that the user was shown."""
    decisions: tuple[Decision, ...] = ()
    """What guards decided of it. Of a `filtered` turn the input was not let in: its reply is the platform's."""

    schema: int = 0
    """Version of the State class that wrote the state which this turn left; 0: the one before still did."""
    reset: bool = False
    """The typed state began anew with this turn: its revision could not read it. The patch begins with what went."""

    @property
    def withheld(self) -> bool:
        """Whether the model is never told of it. What a crisis reply answered it is told of: it must not go on as if
        nothing had been said."""
        return any(one.stage == "input" and one.action == "block" for one in self.decisions)

    @property
    def memory(self) -> Changes:
        """What becomes of what is remembered."""
        return Changes(self.atoms, self.forgotten, self.confirmed, self.at_ms)

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


def event_count(
    patch: tuple[PatchOp, ...],
    user_patch: tuple[PatchOp, ...] = (),
    transitions: int = 0,
    *,
    remembers: bool = False,
    emitted: int = 0,
) -> int:
    """How many events `render` makes of a turn: one for each transition, for each patch that is not empty, for what it
    did to memory and for each frame of the Role's own, and done."""
    return transitions + bool(patch) + bool(user_patch) + remembers + emitted + 1


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
    to 24 events, so turn 1 ends at 24 or before where there are no amends, and each amend may be one more. The other
    way round, as many of the newest turns as there are events after `after_seq` may be unheard, whatever was amended.
    In a log of 10 turns and 15 events, without amends and with 4:

    >>> [place_after(heard, 10, 15, 0) for heard in (0, 6, 7, 14, 15)]
    [(1, 0), (2, 0), (3, 0), (10, 0), (10, 1)]
    >>> [place_after(heard, 10, 15, 4) for heard in (0, 6, 8, 14, 15)]
    [(1, 0), (2, 0), (4, 0), (10, 0), (10, 5)]

    Who heard all reads on after the newest record, where an amend of the newest turn would come.
    """
    turns = max(0, (after_seq - amends) // MAX_EVENTS, turn - (seq - after_seq))
    return min((turns + 1, 0), (turn, amends + 1))


def render(record: Record, session_id: str, *, replay: bool = False, trace_id: str = "") -> list[ServerFrame]:
    """The events of a record as clients see them, the same live and on replay; but `trace_id`, which no log has."""
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
    frames: list[ServerFrame] = [
        BehaviorTransition(
            session_id=session_id,
            seq=record.seq_first + number,
            ts=record.at_ms,
            subgraph=step.subgraph,
            from_=step.source,
            to=step.target,
            edge=TakenEdge(weight=step.weight, of=step.of, why=step.why),
            response_id=record.response_id,
            replay=replay,
        )
        for number, step in enumerate(record.transitions)
    ]
    if record.patch:
        frames.append(
            StateDelta(
                session_id=session_id,
                seq=record.seq_first + len(record.transitions),
                ts=record.at_ms,
                version=record.version,
                is_urgent=record.urgent,
                patch=shown_patch(record.patch),
            )
        )
    if record.user_patch:
        frames.append(
            StateDelta(
                session_id=session_id,
                seq=record.seq_first + len(frames),
                ts=record.at_ms,
                scope="user",
                version=record.user_version,
                is_urgent=False,
                patch=record.user_patch,
            )
        )
    if record.memory:
        frames.append(
            MemoryCommitted(
                session_id=session_id,
                seq=record.seq_first + len(frames),
                ts=record.at_ms,
                atoms=tuple(
                    MemoryAtom(
                        id=atom.id, kind=atom.kind, text=atom.said, source_turn=atom.turn, asserted=atom.asserted
                    )
                    for atom in record.atoms
                ),
                forgotten=record.forgotten,
                confirmed=record.confirmed,
                replay=replay,
            )
        )
    first = record.seq_first + len(frames)
    frames += (
        CustomEvent(
            session_id=session_id,
            seq=first + number,
            ts=record.at_ms,
            name=own.name,
            data=own.data,
            response_id=record.response_id,
            replay=replay,
        )
        for number, own in enumerate(record.emitted)
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
            model=record.model,
            metrics=record.metrics,
            degraded=tuple(DegradedHook(hook=d.hook, code=d.code, where=d.where) for d in record.degraded) or None,
            user_state=_kept(record),
            tools=record.tools or None,
            timer=record.occasion.hook if record.occasion is not None else None,
            lore=record.lore or None,
            trace_id=trace_id,
            replay=replay,
        )
    )
    return frames


def _kept(record: TurnRecord) -> Literal["user", "session"] | None:
    """Where the turn's change of user-scope state is kept; nothing is said where it made none."""
    if record.user_patch:
        return "user"
    return "session" if any(f"{one.path}/".startswith(f"/{ALONE}/") for one in record.patch) else None
