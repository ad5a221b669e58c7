"""A session's log as its user may take it away: lines of JSON, each a thing that was kept. Pure.

    {"kind": "begin", "v": 1, …}      what this is, of whom, and when it was made
    {"kind": "shared", …}             what the user's sessions share, where it is all of a user's
    {"kind": "memory", …}             one thing that is remembered; as many lines as there are
    {"kind": "session", …}            a session, and then its records in order:
    {"kind": "turn", …}                 a message and its answer, with all that was kept about it
    {"kind": "amend", …}                how much of the answer before was heard
    {"kind": "end", …}                how many there were; an export without it is not whole
    {"kind": "error", …}              in place of `end`: why it ends here

`v` is raised when a field changes its meaning or goes; new fields and kinds may come without that.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from rolehost_api.link.messages import Degraded, Emitted, PatchOp, Transition
from rolehost_api.wire import FinishReason, HeardPart, Metrics, ToldLore, Usage, UsedTool
from rolehost_runtime.core.memory.atoms import Atom
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.record import Amend, JournalEntry, Record, TurnRecord, last_seq
from rolehost_runtime.core.safety.guards import Decision

VERSION = 1


class ExportBegin(Struct, frozen=True, kw_only=True, tag_field="kind", tag="begin"):
    v: int = VERSION
    at_ms: int
    tenant: str
    role: str
    user: str
    """Empty: the tenant's own sessions."""


class Overridden(Struct, frozen=True):
    """A value that another session overrode without having seen it."""

    version: int
    """The one that overrode it."""
    field: str
    written: int
    """The version that had written it."""
    value: Any


class ExportShared(Struct, frozen=True, kw_only=True, tag_field="kind", tag="shared"):
    """User-scope state: what the user's sessions share."""

    version: int
    state: dict[str, Any]
    overridden: tuple[Overridden, ...] = ()
    """Newest first; the store keeps the last 1,024."""


class ExportMemory(Struct, frozen=True, kw_only=True, tag_field="kind", tag="memory"):
    """One thing that is remembered, as it stands: of the user, or of the session where no end user is named."""

    atom: Atom
    quarantined: bool = False
    """The user asserted it, and nobody confirmed it."""
    until_ms: int | None = None
    """Of a relation that does not hold any more: since when."""


class ExportSession(Struct, frozen=True, kw_only=True, tag_field="kind", tag="session"):
    session_id: str
    turns: int
    seq: int
    """Of its last event."""
    forked_from: str = ""


class ExportTurn(Struct, frozen=True, kw_only=True, tag_field="kind", tag="turn"):
    session_id: str
    turn: int
    seq_first: int
    seq_last: int
    began_ms: int
    """What the logic knew as the time."""
    at_ms: int
    """When it was durable."""
    user: str | None
    input: str
    reply: str
    status: Literal["completed", "cancelled", "filtered"]
    finish_reason: FinishReason
    heard: HeardPart | None
    client_msg_id: str | None
    joined: tuple[str, ...]
    response_id: str
    revision: str
    version: int
    """Of the state after it."""
    patch: tuple[PatchOp, ...]
    degraded: tuple[Degraded, ...]
    journal: tuple[JournalEntry, ...]
    rng_seed: int
    given_anew: bool
    usage: Usage
    model: str
    metrics: Metrics
    transitions: tuple[Transition, ...] = ()
    atoms: tuple[Atom, ...] = ()
    forgotten: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    """What it did to memory."""
    tools: tuple[UsedTool, ...] = ()
    occasion: Occasion | None = None
    """The timer that was due, where nobody said anything."""
    absent_ms: int = 0
    emitted: tuple[Emitted, ...] = ()
    lore: tuple[ToldLore, ...] = ()
    """Entries of the lorebook that the model was told."""
    lore_began: tuple[str, ...] = ()
    """Ids of those that later turns must know of."""
    greeting: int = 0
    """Of the first turn: the greeting that the user was shown."""
    decisions: tuple[Decision, ...] = ()
    """What guards decided of it."""
    reset: bool = False
    """The typed state began anew with it: its patch begins with what went."""


class ExportAmend(Struct, frozen=True, kw_only=True, tag_field="kind", tag="amend"):
    session_id: str
    turn: int
    seq_first: int
    seq_last: int
    at_ms: int
    response_id: str
    reply: str
    heard: HeardPart


class ExportEnd(Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    sessions: int
    records: int


class ExportError(Struct, frozen=True, kw_only=True, tag_field="kind", tag="error"):
    code: str
    message: str


Line = ExportBegin | ExportShared | ExportSession | ExportTurn | ExportAmend | ExportEnd | ExportError | ExportMemory
_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode_line(line: Line) -> bytes:
    """With its line's end.

    >>> encode_line(ExportEnd(sessions=1, records=2))
    b'{"kind":"end","sessions":1,"records":2}\\n'
    """
    return _encode(line) + b"\n"


def decode_line(raw: bytes) -> Line:
    """Raises msgspec.ValidationError, msgspec.DecodeError."""
    return _decoder.decode(raw)


def exported(record: Record, session_id: str) -> ExportTurn | ExportAmend:
    """All that a record says, but for the platform's own fence."""
    if isinstance(record, Amend):
        return ExportAmend(
            session_id=session_id,
            turn=record.turn,
            seq_first=record.seq_first,
            seq_last=last_seq(record),
            at_ms=record.at_ms,
            response_id=record.response_id,
            reply=record.reply,
            heard=record.heard,
        )
    return ExportTurn(
        session_id=session_id,
        turn=record.turn,
        seq_first=record.seq_first,
        seq_last=last_seq(record),
        began_ms=record.now_ms,
        at_ms=record.at_ms,
        user=record.user,
        input=record.input,
        reply=record.reply,
        status=record.status,
        finish_reason=record.finish_reason,
        heard=record.heard,
        client_msg_id=record.client_msg_id,
        joined=record.joined,
        response_id=record.response_id,
        revision=record.revision,
        version=record.version,
        patch=record.patch,
        degraded=record.degraded,
        journal=record.journal,
        rng_seed=record.rng_seed,
        given_anew=record.given_anew,
        usage=record.usage,
        model=record.model,
        metrics=record.metrics,
        transitions=record.transitions,
        atoms=record.atoms,
        forgotten=record.forgotten,
        confirmed=record.confirmed,
        tools=record.tools,
        occasion=record.occasion,
        absent_ms=record.absent_ms,
        emitted=record.emitted,
        lore=record.lore,
        lore_began=record.lore_began,
        greeting=record.greeting,
        decisions=record.decisions,
        reset=record.reset,
    )


def recorded(line: ExportTurn) -> TurnRecord:
    """The record out of its line, under no fence: for who runs it again.

    What a line of an export says is all that a record said, whichever record it was.
    """
    return TurnRecord(
        log_id="",
        epoch=0,
        turn=line.turn,
        seq_first=line.seq_first,
        seq_count=line.seq_last - line.seq_first + 1,
        version=line.version,
        now_ms=line.began_ms,
        at_ms=line.at_ms,
        revision=line.revision,
        response_id=line.response_id,
        input=line.input,
        reply=line.reply,
        status=line.status,
        finish_reason=line.finish_reason,
        client_msg_id=line.client_msg_id,
        user=line.user,
        patch=line.patch,
        degraded=line.degraded,
        journal=line.journal,
        rng_seed=line.rng_seed,
        usage=line.usage,
        model=line.model,
        metrics=line.metrics,
        heard=line.heard,
        given_anew=line.given_anew,
        joined=line.joined,
        transitions=line.transitions,
        atoms=line.atoms,
        forgotten=line.forgotten,
        confirmed=line.confirmed,
        tools=line.tools,
        lore=line.lore,
        lore_began=line.lore_began,
        greeting=line.greeting,
        decisions=line.decisions,
        reset=line.reset,
    )
