"""One session as its log says it is: folded from records, moved by turns. Sans-IO.

A turn is proposed as a record, and the session moves only when somebody says that the
record is durable. A wrong move is a KeyError: a bug of our own shell, never a client's.
"""

import hashlib
import struct
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from msgspec.structs import replace

from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import Metrics, Usage
from rolehost_runtime.core.patch import MAX_STATE_BYTES, InvalidPatch, apply, encoded_size
from rolehost_runtime.core.prompt import Exchange
from rolehost_runtime.core.record import CorruptRecord, JournalEntry, TurnRecord, event_count
from rolehost_runtime.core.snapshot import Snapshot, due

MAX_SEEN = 4096
"""Ids of client messages that are remembered per session."""
MAX_PAST_CHARS = 524_288
"""Characters of the newest turns that are held for prompts; the log itself keeps all."""
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn came to, before it is durable."""

    reply: str
    patch: tuple[PatchOp, ...] = ()
    degraded: tuple[Degraded, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    usage: Usage = field(default_factory=Usage)
    metrics: Metrics = field(default_factory=Metrics)


class SessionFold:
    """The session after its log: where it stands, what its state is, what was said last."""

    def __init__(self, log_id: str, epoch: int) -> None:
        self.phase = Phase.IDLE
        self.log_id, self.epoch = log_id, epoch
        self.turn = self.seq = self.version = self.last_at_ms = 0
        self.revision = ""
        self.state: dict[str, Any] = {}
        self.past: deque[Exchange] = deque()
        self._past_chars = 0
        self._held_bytes = FOLD_BYTES
        """What `past` and `_seen` take."""
        self._seen: OrderedDict[bytes, int] = OrderedDict()
        """By digests of the ids: as short as they may be, and nothing that a client wrote."""
        self._tail_turns = self._tail_bytes = self._snapshot_bytes = 0
        """Since the last snapshot."""
        self._proposed: tuple[TurnRecord, dict[str, Any]] | None = None

    @classmethod
    def of(cls, log_id: str, epoch: int, records: Iterable[TurnRecord]) -> "SessionFold":
        """The session that these records make. Raises CorruptRecord where one is missing or does not fit."""
        fold = cls(log_id, epoch)
        for record in records:
            fold.replay(record)
        return fold

    @classmethod
    def restored(cls, log_id: str, epoch: int, snapshot: Snapshot, size: int) -> "SessionFold":
        """The session as this snapshot of `size` bytes has it; `recall` gives it its past. Raises CorruptRecord."""
        if snapshot.log_id != log_id or len(snapshot.seen) % _SEEN.size:
            raise CorruptRecord("a snapshot does not belong to its session's log")
        fold = cls(log_id, epoch)
        fold.turn, fold.seq, fold.version = snapshot.turn, snapshot.seq, snapshot.version
        fold.last_at_ms, fold.revision, fold.state = snapshot.at_ms, snapshot.revision, snapshot.state
        for digest, turn in _SEEN.iter_unpack(snapshot.seen):
            fold._remember(digest, turn)
        fold._snapshot_bytes = size
        return fold

    def recall(self, record: TurnRecord) -> None:
        """One more record of before the snapshot, in order: what was said then, for prompts."""
        if record.log_id != self.log_id or record.turn > self.turn:
            raise CorruptRecord("a session's log does not fit its snapshot")
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
            past_from=max(1, self.turn - len(self.past) + 1),
            seen=b"".join(_SEEN.pack(digest, turn) for digest, turn in self._seen.items()),
        )

    def needs_snapshot(self) -> bool:
        return self.phase is Phase.IDLE and due(self._tail_turns, self._tail_bytes, self._snapshot_bytes)

    def snapshotted(self, turn: int, size: int) -> None:
        """A snapshot of that turn is kept, or it was given up: the next one is due after as much again."""
        self._tail_turns, self._tail_bytes, self._snapshot_bytes = self.turn - turn, 0, size

    def replay(self, record: TurnRecord) -> None:
        """One more record of the log that the session is read from. Raises CorruptRecord.

        One of an earlier epoch may carry an earlier name of the log: it gets another one where a store forgot what it
        had acknowledged.
        """
        foreign = record.log_id != self.log_id and record.epoch >= self.epoch
        if record.turn != self.turn + 1 or record.seq_first != self.seq + 1 or foreign:
            raise CorruptRecord("a session's log has a gap")
        try:
            state = apply(self.state, record.patch, max_bytes=MAX_STATE_BYTES) if record.patch else self.state
        except InvalidPatch:
            raise CorruptRecord("a record's patch does not fit the state before it") from None
        self._take(record, state)

    def weight(self) -> int:
        """Bytes of memory that this fold takes, at most: what a bound over many of them adds up.

        Nothing said                                -> 2,048, and 132 for the empty state
        512 Ki characters of English, one turn      -> half a MiB more; of Chinese, 2 MiB
        `{"turns": 1}`, eight bytes and 3 values    -> 416 for the state
        """
        return self._held_bytes + state_weight(self.state)

    def turn_of(self, client_msg_id: str | None) -> int | None:
        """The turn that already answered this message, if it is one of the last MAX_SEEN."""
        return self._seen.get(_digest(client_msg_id)) if client_msg_id is not None else None

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
    ) -> OpenTurn:
        """A turn begins. Time never runs backwards in a log: it is at least one past the last turn's."""
        self._move(Move.BEGIN)
        return OpenTurn(
            turn=self.turn + 1,
            response_id=response_id,
            input=message,
            client_msg_id=client_msg_id,
            user=user,
            now_ms=max(self.last_at_ms + 1, now_ms),
            rng_seed=rng_seed,
            revision=revision,
        )

    def propose(self, opened: OpenTurn, outcome: Outcome, *, now_ms: int, max_bytes: int) -> TurnRecord:
        """The record that would make the turn durable. Raises InvalidPatch; nothing has moved then."""
        state = apply(self.state, outcome.patch, max_bytes=max_bytes) if outcome.patch else self.state
        record = TurnRecord(
            log_id=self.log_id,
            epoch=self.epoch,
            turn=opened.turn,
            seq_first=self.seq + 1,
            seq_count=event_count(outcome.patch),
            version=self.version + (1 if outcome.patch else 0),
            now_ms=opened.now_ms,
            at_ms=max(opened.now_ms, now_ms),
            revision=opened.revision,
            response_id=opened.response_id,
            input=opened.input,
            reply=outcome.reply,
            client_msg_id=opened.client_msg_id,
            user=opened.user,
            patch=outcome.patch,
            degraded=outcome.degraded,
            journal=outcome.journal,
            rng_seed=opened.rng_seed,
            usage=outcome.usage,
            metrics=outcome.metrics,
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

    def refence(self, log_id: str, epoch: int) -> TurnRecord:
        """The proposed record under a new fence: the log is this owner's anew, and says again what it said."""
        if self._proposed is None:
            raise KeyError("no record was proposed")
        record, state = self._proposed
        self.log_id, self.epoch = log_id, epoch
        self._proposed = (replace(record, log_id=log_id, epoch=epoch), state)
        return self._proposed[0]

    def give_up(self) -> None:
        """The turn failed before its commit; it never was."""
        self._move(Move.GIVE_UP)

    def lose(self) -> None:
        """Somebody else owns the session now, or nobody knows whether the commit went through."""
        self.phase = MOVES[self.phase].get(Move.LOSE, Phase.GONE)
        self._proposed = None

    def _move(self, move: Move) -> None:
        self.phase = MOVES[self.phase][move]

    def _take(self, record: TurnRecord, state: dict[str, Any]) -> None:
        self.turn, self.version, self.state = record.turn, record.version, state
        self.seq = record.seq_first + record.seq_count - 1
        self.last_at_ms, self.revision = record.at_ms, record.revision
        self._tail_turns += 1
        self._tail_bytes += RECORD_BYTES + text_weight(record.input) + text_weight(record.reply)
        self._tail_bytes += encoded_size(record.patch) if record.patch else 0
        self._say(record)
        if record.client_msg_id is not None:
            self._remember(_digest(record.client_msg_id), record.turn)

    def _say(self, record: TurnRecord) -> None:
        self.past.append(Exchange(record.input, record.reply))
        self._past_chars += len(record.input) + len(record.reply)
        self._held_bytes += _exchange_weight(self.past[-1])
        while self._past_chars > MAX_PAST_CHARS:
            oldest = self.past.popleft()
            self._past_chars -= len(oldest.input) + len(oldest.reply)
            self._held_bytes -= _exchange_weight(oldest)

    def _remember(self, digest: bytes, turn: int) -> None:
        if digest not in self._seen:
            self._held_bytes += ENTRY_BYTES + TEXT_BYTES
        self._seen[digest] = turn
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
            self._held_bytes -= ENTRY_BYTES + TEXT_BYTES


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
