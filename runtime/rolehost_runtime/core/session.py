"""One session as its log says it is: folded from records, moved by turns. Sans-IO.

A turn is proposed as a record, and the session moves only when somebody says that the
record is durable. A wrong move is a KeyError: a bug of our own shell, never a client's.
"""

import hashlib
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

import msgspec
from msgspec.structs import replace as edited

from rolehost_api.errors import NotFound
from rolehost_api.link.messages import Degraded, Emitted, PatchOp, Remember, Transition
from rolehost_api.wire import FinishReason, HeardPart, Metrics, ToldLore, Usage, UsedTool
from rolehost_runtime.core.lorebook.telling import remembered
from rolehost_runtime.core.memory.atoms import Source, made
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.patch import InvalidPatch, apply, encoded_size
from rolehost_runtime.core.prompt import Exchange, Told
from rolehost_runtime.core.record import (
    Amend,
    CorruptRecord,
    JournalEntry,
    Record,
    TurnRecord,
    event_count,
    last_seq,
)
from rolehost_runtime.core.safety.guards import Decision
from rolehost_runtime.core.schema import anew, folded, left_of
from rolehost_runtime.core.snapshot import Snapshot, due

MAX_SEEN = 4096
"""Ids of client messages that are remembered per session."""
SEEN_MS = 86_400_000
"""How long: what comes with an id that was answered a day ago is another message."""
MAX_PAST_CHARS = 524_288
"""Characters of the newest turns that are held for prompts; the log itself keeps all."""
MAX_PAST_TURNS = 512
"""As many of them, however short they are: what is read beside a snapshot is bounded by it."""
MAX_COUNTED = 4096
"""Values of a state that are counted when it is weighed; past them every encoded byte counts as a value."""
_SEEN = struct.Struct(">8sI")
"""One remembered id in a snapshot: its digest, and the turn that answered it."""
RECORD_BYTES = 256
"""What a record takes beside its texts and its patch, more or less."""
FOLD_BYTES, TEXT_BYTES, ENTRY_BYTES, VALUE_BYTES = 2048, 64, 128, 128
"""What Python itself takes for an empty fold, and for each text, each entry of a list of ours and each value of
a state, at most."""


class Phase(Enum):
    IDLE = "idle"
    OPEN = "open"
    """A turn runs."""
    COMMITTING = "committing"
    """Its record is on its way to the store."""
    GONE = "gone"
    """Fenced, or the outcome of a commit is unknown: the session must be opened anew."""


class Move(Enum):
    BEGIN = "begin"
    PROPOSE = "propose"
    COMMITTED = "committed"
    GIVE_UP = "give up"
    LOSE = "lose"


MOVES: Mapping[Phase, Mapping[Move, Phase]] = {
    Phase.IDLE: {Move.BEGIN: Phase.OPEN, Move.LOSE: Phase.GONE},
    Phase.OPEN: {Move.PROPOSE: Phase.COMMITTING, Move.GIVE_UP: Phase.IDLE, Move.LOSE: Phase.GONE},
    Phase.COMMITTING: {Move.COMMITTED: Phase.IDLE, Move.LOSE: Phase.GONE},
    Phase.GONE: {},
}


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """What is fixed about a turn when it begins; a re-run on another pod has the same."""

    turn: int
    response_id: str
    input: str
    client_msg_id: str | None
    user: str | None
    now_ms: int
    rng_seed: int
    revision: str
    deadline_at_ms: int | None = None
    """When it is given up, by the clock of `now_ms`; None: the client set no deadline."""
    joined: tuple[str, ...] = ()
    """Ids of the messages that joined it while it was answered."""
    occasion: Occasion | None = None
    """Why there is a turn though nobody said anything."""
    absent_ms: int = 0
    """Since the user's turn before; 0 where there was none."""
    greeting: int = 0
    """Of the first turn: the greeting that the user was shown."""

    def steered(self, message: str, client_msg_id: str | None) -> "OpenTurn":
        """The turn with one more message in it.

        >>> opened = OpenTurn(1, "r1", "A story!", "c1", None, 0, 7, "cat-1")
        >>> steered = opened.steered("With dragons.", "c2")
        >>> steered.input, steered.joined
        ('A story!\\n\\nWith dragons.', ('c2',))
        """
        ids = self.joined if client_msg_id is None else (*self.joined, client_msg_id)
        return replace(self, input=f"{self.input}\n\n{message}", joined=ids)


_open_encode = msgspec.msgpack.Encoder().encode
_open_decode = msgspec.msgpack.Decoder(OpenTurn).decode


def encode_open(opened: OpenTurn) -> bytes:
    """A turn as the session's head notes it while it is open. Conversation text, as a record is."""
    return _open_encode(opened)


def decode_open(note: bytes) -> OpenTurn | None:
    """The turn out of such a note. None for one that cannot be read: it is a help, and the log does without it.

    >>> opened = OpenTurn(3, "r3", "hello", "c-7", None, 1_730_000_000_000, 42, "cat-1")
    >>> decode_open(encode_open(opened)) == opened, decode_open(b"?")
    (True, None)
    """
    try:
        return _open_decode(note)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn came to, before it is durable."""

    reply: str
    """What was sent. Of a cancelled turn the record keeps what was heard of it."""
    patch: tuple[PatchOp, ...] = ()
    user_patch: tuple[PatchOp, ...] = ()
    user_base: int = 0
    degraded: tuple[Degraded, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """`backend/model` that gave the (last part of the) reply."""
    metrics: Metrics = field(default_factory=Metrics)
    finish_reason: FinishReason = "stop"
    given_anew: bool = False
    status: Literal["completed", "cancelled", "filtered"] = "completed"
    heard: HeardPart | None = None
    """Of a cancelled turn; None: all that was sent."""
    urgent: bool = False
    transitions: tuple[Transition, ...] = ()
    session_id: str = ""
    """The client's word for the session: where what is remembered comes from."""
    atoms: tuple[Remember, ...] = ()
    forgotten: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    tools: tuple[UsedTool, ...] = ()
    emitted: tuple[Emitted, ...] = ()
    lore: tuple[ToldLore, ...] = ()
    lore_began: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    schema: int = 1
    """Version of the State class of the logic that ran."""
    reset: bool = False
    """It ran on a state that began anew: see `core.schema`."""


def cut(reply: str, heard: HeardPart | None) -> HeardPart:
    """Where a reply ends for a user who heard so much of it: never past what was sent.

    >>> cut("从前，有一条龙", HeardPart(chars=3, audio_ms=640))
    HeardPart(chars=3, audio_ms=640)
    >>> cut("从前", HeardPart(chars=118)), cut("从前", None)
    (HeardPart(chars=2, audio_ms=None), HeardPart(chars=2, audio_ms=None))
    """
    if heard is None:
        return HeardPart(chars=len(reply))
    return HeardPart(chars=min(heard.chars, len(reply)), audio_ms=heard.audio_ms)


class SessionFold:
    """The session after its log: where it stands, what its state is, what was said last."""

    def __init__(self, log_id: str, epoch: int) -> None:
        self.phase = Phase.IDLE
        self.log_id, self.epoch = log_id, epoch
        self.turn = self.seq = self.version = self.last_at_ms = self.amends = 0
        self.revision = self.response_id = ""
        """Of the newest turn."""
        self.spoke_ms = 0
        """When the user's newest turn was durable: turns that have no message do not count."""
        self.state: dict[str, Any] = {}
        self.schema = 1
        """Version of the State class that wrote it."""
        self.urgent = False
        """The state's newest change was marked so."""
        self.unstarted = True
        """The logic has seen no turn of it so far."""
        self.past: deque[Exchange] = deque()
        self.told: Told | None = None
        """The past as the client tells it, in a session that no log keeps; it goes before `past`."""
        self.lore: dict[str, int] = {}
        """Entries of the lorebook that later turns must know of, each with the turn that told it."""
        self.greeting = 0
        """The one that the session began with."""
        self._past_chars = 0
        self._held_bytes = FOLD_BYTES
        """What `past` and `_seen` take."""
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        """By digests of the ids: as short as they may be, and nothing that a client wrote."""
        self._tail_turns = self._tail_bytes = self._snapshot_bytes = 0
        """Since the last snapshot."""
        self._proposed: tuple[TurnRecord, dict[str, Any]] | None = None
        self._amend: Amend | None = None

    @classmethod
    def of(cls, log_id: str, epoch: int, records: Iterable[Record]) -> "SessionFold":
        """The session that these records make. Raises CorruptRecord where one is missing or does not fit."""
        fold = cls(log_id, epoch)
        for record in records:
            fold.replay(record)
        return fold

    @classmethod
    def restored(cls, log_id: str, epoch: int, snapshot: Snapshot, size: int) -> "SessionFold":
        """The session as this snapshot of `size` bytes has it; `recall` gives it its past. Raises CorruptRecord.

        As with records, one of an earlier epoch may carry an earlier name of the log.
        """
        foreign = snapshot.log_id != log_id and snapshot.epoch >= epoch
        if foreign or len(snapshot.seen) % _SEEN.size:
            raise CorruptRecord("a snapshot does not belong to its session's log")
        fold = cls(log_id, epoch)
        fold.turn, fold.seq, fold.version = snapshot.turn, snapshot.seq, snapshot.version
        fold.last_at_ms, fold.revision, fold.state = snapshot.at_ms, snapshot.revision, snapshot.state
        fold.response_id, fold.amends, fold.urgent = snapshot.response_id, snapshot.amends, snapshot.urgent
        fold.spoke_ms = snapshot.spoke_ms or snapshot.at_ms
        for digest, turn in _SEEN.iter_unpack(snapshot.seen):
            fold._remember(digest, turn)
        fold._snapshot_bytes = size
        fold.lore, fold.greeting = dict(snapshot.lore), snapshot.greeting
        fold.unstarted, fold.schema = snapshot.unstarted, snapshot.schema
        return fold

    def recall(self, record: Record) -> None:
        """One more record of before the snapshot, in order from a turn on: what was said then, for prompts."""
        if self._foreign(record) or last_seq(record) > self.seq or (isinstance(record, Amend) and not self.past):
            raise CorruptRecord("a session's log does not fit its snapshot")
        if isinstance(record, Amend):
            self._cut(record.reply)
        else:
            self._say(record)

    def snapshot(self) -> Snapshot:
        """The session as it is now. Not before its first turn."""
        return Snapshot(
            log_id=self.log_id,
            epoch=self.epoch,
            turn=self.turn,
            seq=self.seq,
            version=self.version,
            at_ms=self.last_at_ms,
            revision=self.revision,
            state=self.state,
            urgent=self.urgent,
            response_id=self.response_id,
            amends=self.amends,
            past_from=max(1, self.turn - len(self.past) + 1),
            seen=b"".join(_SEEN.pack(digest, turn) for digest, turn in self._seen.items()),
            spoke_ms=self.spoke_ms,
            lore=self.lore,
            greeting=self.greeting,
            unstarted=self.unstarted,
            schema=self.schema,
        )

    def needs_snapshot(self) -> bool:
        return self.phase is Phase.IDLE and due(self._tail_turns, self._tail_bytes, self._snapshot_bytes)

    def snapshotted(self, turn: int, size: int) -> None:
        """A snapshot of that turn is kept, or it was given up: the next one is due after as much again."""
        self._tail_turns, self._tail_bytes, self._snapshot_bytes = self.turn - turn, 0, size

    def replay(self, record: Record) -> None:
        """One more record of the log that the session is read from. Raises CorruptRecord.

        One of an earlier epoch may carry an earlier name of the log: it gets another one where a store forgot what it
        had acknowledged.
        """
        foreign = self._foreign(record)
        if isinstance(record, Amend):
            whose = (record.turn, record.response_id, record.number, record.seq_first)
            if foreign or whose != (self.turn, self.response_id, self.amends + 1, self.seq + 1):
                raise CorruptRecord("a session's log has an amend that amends nothing")
            self._take_amend(record)
            return
        if foreign or record.turn != self.turn + 1 or record.seq_first != self.seq + 1:
            raise CorruptRecord("a session's log has a gap")
        try:
            state = folded(self.state, record.patch) if record.patch else self.state
        except InvalidPatch:
            raise CorruptRecord("a record's patch does not fit the state before it") from None
        self._take(record, state)

    def _foreign(self, record: Record) -> bool:
        return record.log_id != self.log_id and record.epoch >= self.epoch

    def weight(self) -> int:
        """Bytes of memory that this fold takes, at most: what a bound over many of them adds up.

        Nothing said                                -> 2,048, and 132 for the empty state
        512 Ki characters of English, one turn      -> half a MiB more; of Chinese, 2 MiB
        `{"turns": 1}`, eight bytes and 3 values    -> 416 for the state
        """
        return self._held_bytes + state_weight(self.state) + len(self.lore) * (ENTRY_BYTES + TEXT_BYTES)

    def turn_of(self, client_msg_id: str | None) -> int | None:
        """The turn that already answered this message, if it is one of the last MAX_SEEN. How long ago, its record
        knows: see `same_message`."""
        return self._seen.get(_digest(client_msg_id)) if client_msg_id is not None else None

    def had(self, occasion: Occasion) -> bool:
        """Whether there was a turn for it already."""
        return occasion.digest in self._seen

    def begin(
        self,
        message: str,
        *,
        revision: str,
        response_id: str,
        rng_seed: int,
        now_ms: int,
        client_msg_id: str | None = None,
        user: str | None = None,
        deadline_at_ms: int | None = None,
        occasion: Occasion | None = None,
        greeting: int = 0,
    ) -> OpenTurn:
        """A turn begins. Time never runs backwards in a log: it is at least one past the last record's."""
        self._move(Move.BEGIN)
        began_ms = max(self.last_at_ms + 1, now_ms)
        return OpenTurn(
            turn=self.turn + 1,
            response_id=response_id,
            input=message,
            client_msg_id=client_msg_id,
            user=user,
            now_ms=began_ms,
            rng_seed=rng_seed,
            revision=revision,
            deadline_at_ms=deadline_at_ms,
            occasion=occasion,
            absent_ms=max(0, began_ms - self.spoke_ms) if self.spoke_ms else 0,
            greeting=self.greeting if self.turn else greeting,
        )

    def begin_again(self, opened: OpenTurn) -> OpenTurn:
        """A turn that another owner began and did not end, with all that was fixed about it. KeyError where it is not the next one of this log."""
        if opened.turn != self.turn + 1:
            raise KeyError("this turn does not follow the log")
        self._move(Move.BEGIN)
        return opened

    def propose(self, opened: OpenTurn, outcome: Outcome, *, now_ms: int, max_bytes: int) -> TurnRecord:
        """The record that would make the turn durable. Raises InvalidPatch or InvalidMemory; nothing has moved then."""
        if self._amend is not None:
            raise KeyError("an amend is on its way to the store")
        cancelled = outcome.status == "cancelled"
        heard = cut(outcome.reply, outcome.heard) if cancelled else None
        removed = anew(self.state) if outcome.reset else ()
        state, patch = left_of(self.state) if removed else self.state, (*removed, *outcome.patch)
        state = apply(state, outcome.patch, max_bytes=max_bytes) if outcome.patch else state
        at_ms = max(opened.now_ms, self.last_at_ms + 1, now_ms)
        source = Source(self.log_id, outcome.session_id, opened.turn, opened.revision, at_ms)
        record = TurnRecord(
            log_id=self.log_id,
            epoch=self.epoch,
            turn=opened.turn,
            seq_first=self.seq + 1,
            seq_count=event_count(
                patch,
                outcome.user_patch,
                len(outcome.transitions),
                remembers=bool(outcome.atoms or outcome.forgotten or outcome.confirmed),
                emitted=len(outcome.emitted),
            ),
            version=self.version + (1 if patch else 0),
            now_ms=opened.now_ms,
            at_ms=at_ms,
            revision=opened.revision,
            response_id=opened.response_id,
            input=opened.input,
            reply=outcome.reply if heard is None else outcome.reply[: heard.chars],
            finish_reason=outcome.finish_reason,
            given_anew=outcome.given_anew,
            status=outcome.status,
            heard=heard,
            joined=opened.joined,
            client_msg_id=opened.client_msg_id,
            user=opened.user,
            patch=patch,
            user_patch=outcome.user_patch,
            user_base=outcome.user_base if outcome.user_patch else 0,
            degraded=outcome.degraded,
            journal=outcome.journal,
            rng_seed=opened.rng_seed,
            usage=outcome.usage,
            model=outcome.model,
            metrics=outcome.metrics,
            urgent=outcome.urgent and bool(patch),
            transitions=outcome.transitions,
            atoms=made(outcome.atoms, source),
            forgotten=outcome.forgotten,
            confirmed=outcome.confirmed,
            tools=outcome.tools,
            occasion=opened.occasion,
            absent_ms=opened.absent_ms,
            emitted=outcome.emitted,
            lore=outcome.lore,
            lore_began=outcome.lore_began,
            greeting=0 if self.turn else opened.greeting,
            decisions=outcome.decisions,
            schema=outcome.schema if patch and outcome.schema != self.schema else 0,
            reset=bool(removed),
        )
        self._move(Move.PROPOSE)
        self._proposed = (record, state)
        return record

    def committed(self) -> None:
        """The proposed record is durable: the session is now what it says."""
        self._move(Move.COMMITTED)
        if self._proposed is None:
            raise KeyError("no record was proposed")
        (record, state), self._proposed = self._proposed, None
        self._take(record, state)

    def refence(self, log_id: str, epoch: int) -> Record:
        """The record that is on its way, under a new fence: the log is this owner's anew, and says again what it said."""
        self.log_id, self.epoch = log_id, epoch
        if self._amend is not None:
            self._amend = edited(self._amend, log_id=log_id, epoch=epoch)
            return self._amend
        if self._proposed is None:
            raise KeyError("no record was proposed")
        record, state = self._proposed
        self._proposed = (edited(record, log_id=log_id, epoch=epoch), state)
        return self._proposed[0]

    def amend(self, response_id: str, heard: HeardPart | None, *, now_ms: int) -> Amend | None:
        """The record that would cut the newest turn's reply to what was heard of it.

        None where that is said already, or all of it was heard: nothing is to be done. Raises
        NotFound for any other response: what later answers were built on stays as it is.
        """
        if self.phase in (Phase.COMMITTING, Phase.GONE) or self._amend is not None:
            raise KeyError("a record is on its way to the store, or the session is gone")
        if not self.turn or response_id != self.response_id:
            raise NotFound(
                "this response neither runs nor is the session's newest",
                hint="Only the newest response can still be cut to what was heard of it",
                code="response_not_found",
            )
        reply = self.past[-1].reply
        if heard is None or heard.chars >= len(reply):
            return None
        self._amend = Amend(
            log_id=self.log_id,
            epoch=self.epoch,
            turn=self.turn,
            number=self.amends + 1,
            seq_first=self.seq + 1,
            at_ms=max(self.last_at_ms + 1, now_ms),
            response_id=response_id,
            reply=reply[: heard.chars],
            heard=heard,
        )
        return self._amend

    def amended(self) -> None:
        """The amend is durable."""
        if self._amend is None or self.phase is Phase.GONE:
            raise KeyError("no amend was proposed")
        amend, self._amend = self._amend, None
        self._take_amend(amend)

    def give_up(self) -> None:
        """The turn failed before its commit; it never was."""
        self._move(Move.GIVE_UP)

    def lose(self) -> None:
        """Somebody else owns the session now, or nobody knows whether the commit went through."""
        self.phase = MOVES[self.phase].get(Move.LOSE, Phase.GONE)
        self._proposed = self._amend = None

    def _move(self, move: Move) -> None:
        self.phase = MOVES[self.phase][move]

    def _take(self, record: TurnRecord, state: dict[str, Any]) -> None:
        self.turn, self.version, self.state = record.turn, record.version, state
        self.seq, self.schema = last_seq(record), record.schema or self.schema
        self.urgent = record.urgent if record.patch else self.urgent
        self.unstarted = self.unstarted and record.status == "filtered"
        self.last_at_ms, self.revision, self.response_id = record.at_ms, record.revision, record.response_id
        if record.occasion is None:
            self.spoke_ms = record.at_ms
        else:
            self._remember(record.occasion.digest, record.turn)
        if record.turn == 1:
            self.greeting = record.greeting
        if record.lore_began:
            self.lore = remembered(self.lore, record.lore_began, record.turn)
        self._tail_turns += 1
        self._tail_bytes += RECORD_BYTES + text_weight(record.input) + text_weight(record.reply)
        self._tail_bytes += encoded_size(record.patch) if record.patch else 0
        self._say(record)
        for client_msg_id in record.joined if record.client_msg_id is None else (record.client_msg_id, *record.joined):
            self._remember(_digest(client_msg_id), record.turn)

    def _say(self, record: TurnRecord) -> None:
        self.past.append(Exchange(record.input, record.reply, record.withheld))
        self._past_chars += len(record.input) + len(record.reply)
        self._held_bytes += _exchange_weight(self.past[-1])
        while len(self.past) > MAX_PAST_TURNS or (self._past_chars > MAX_PAST_CHARS and len(self.past) > 1):
            oldest = self.past.popleft()
            self._past_chars -= len(oldest.input) + len(oldest.reply)
            self._held_bytes -= _exchange_weight(oldest)

    def _remember(self, digest: bytes, turn: int) -> None:
        if digest not in self._seen:
            self._held_bytes += ENTRY_BYTES + TEXT_BYTES
        self._seen[digest] = turn
        self._seen.move_to_end(digest)
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
            self._held_bytes -= ENTRY_BYTES + TEXT_BYTES

    def _take_amend(self, amend: Amend) -> None:
        self.amends, self.seq, self.last_at_ms = amend.number, amend.seq_first, amend.at_ms
        self._tail_bytes += RECORD_BYTES + text_weight(amend.reply)
        self._cut(amend.reply)

    def _cut(self, reply: str) -> None:
        """Less of the newest reply was heard."""
        before = self.past.pop()
        self.past.append(before._replace(reply=reply))
        self._past_chars += len(reply) - len(before.reply)
        self._held_bytes += _exchange_weight(self.past[-1]) - _exchange_weight(before)


def same_message(answered_ms: int, now_ms: int) -> bool:
    """Whether what comes with an id that was answered then is the same message, said again.

    >>> same_message(1_000, 1_000 + SEEN_MS - 1), same_message(1_000, 1_000 + SEEN_MS), same_message(1_000, 0)
    (True, False, True)
    """
    return now_ms - answered_ms < SEEN_MS


def _digest(client_msg_id: str) -> bytes:
    """8 bytes that stand for the id. Two ids of a session that meet are one client's own misfortune: it chose both."""
    return hashlib.blake2b(client_msg_id.encode(errors="surrogatepass"), digest_size=8).digest()


def text_weight(text: str) -> int:
    """Bytes that Python takes for `text`, at most: four a character once one of them is not ASCII.

    >>> text_weight("dragon"), text_weight("龙")
    (70, 68)
    """
    return TEXT_BYTES + len(text) * (1 if text.isascii() else 4)


def _exchange_weight(exchange: Exchange) -> int:
    return ENTRY_BYTES + text_weight(exchange.input) + text_weight(exchange.reply)


def state_weight(state: Mapping[str, Any]) -> int:
    """Bytes that Python takes for a state, at most: its text fourfold and 128 for every key and value.

    Counting stops at MAX_COUNTED, as a state of 256 KiB may be as many empty maps, 18 MiB in all; it counts as 33.

    >>> state_weight({"turns": 1})     # 4 x 8 and 3 x 128: the state, the key, the number
    416
    """
    encoded, values = encoded_size(state), 0
    left: list[Any] = [state]
    while left and values <= MAX_COUNTED:
        value = left.pop()
        values += 1
        if isinstance(value, Mapping):
            values += len(value)
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return 4 * encoded + VALUE_BYTES * (encoded if left else values)
