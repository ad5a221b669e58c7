"""A store that forgot: what an owner does where the log's head is older than what it was told is durable.

A failover may promote a replica that lacks the last writes. Whoever answered the session
last may still hold them; then they are written again, as they were. Where they are gone
the log goes on under a new name, so that no position in the old one is taken for one in it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rolehost_runtime.core.record import Amend, Position, Record, last_seq, size_of
from rolehost_runtime.core.session import text_weight

MAX_RECORDS, MAX_BYTES = 8, 1 << 17
"""What a session holds of its own last turns, for a store that forgets them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a log stands, as its head says or as an owner remembers."""

    log_id: str
    seq: int
    """Of its last event."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Who may write to a log, and where it stands."""

    log_id: str
    epoch: int
    ours: bool
    """This process wrote the owner's name."""
    seq: int
    """Of the last event."""
    owner: str = field(default="", compare=False)
    """Whose name was written."""


@dataclass(frozen=True, slots=True)
class Fine:
    """Nothing that was acknowledged is missing."""


@dataclass(frozen=True, slots=True)
class Again:
    """These records are missing, and held."""

    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Lost:
    """Records are missing that nobody holds, or others stand in their place: what was told of them is not so any more."""


Mark = tuple[int, str]
"""A record by its last event and what it says: marks of one record are the same wherever it stands."""


def mark(record: Record) -> Mark:
    """A turn is known by its response, an amend by how much of it was heard."""
    said = f"{record.response_id}|{len(record.reply)}" if isinstance(record, Amend) else record.response_id
    return last_seq(record), said


class Tail:
    """The last records that an owner knows to be durable, bounded in number and in size."""

    def __init__(self, standing: Standing | None = None, marks: Iterable[Mark] = ()) -> None:
        self.standing = standing
        """None: it knows of nothing yet."""
        self.place: Position | None = None
        """Of the newest record that it knows of."""
        self._marks = deque(marks, MAX_RECORDS + 1)
        """Of one more than is held: what was forgotten begins after one that both know."""
        self._held: deque[tuple[Record, int, int]] = deque()
        self._texts = self._rest = 0

    def let_go(self) -> None:
        """Of the records; where the log stood is still known."""
        self._held.clear()
        self._texts = self._rest = 0

    def acknowledged(self, record: Record) -> None:
        """One more record is durable."""
        self.standing, self.place = Standing(record.log_id, last_seq(record)), record.position
        self._marks.append(mark(record))
        texts, rest = _weights(record)
        self._held.append((record, texts, rest))
        self._texts += texts
        self._rest += rest
        while self._held and (len(self._held) > MAX_RECORDS or self._texts + self._rest > MAX_BYTES):
            _, texts, rest = self._held.popleft()
            self._texts -= texts
            self._rest -= rest

    @property
    def records(self) -> list[Record]:
        return [record for record, _, _ in self._held]

    @property
    def weight(self) -> int:
        """Bytes that it takes beside a fold of the same turns, which holds the same texts."""
        return self._rest

    @property
    def weight_alone(self) -> int:
        """Bytes that it takes where no fold holds the texts."""
        return self._texts + self._rest

    def since(self, seq: int) -> list[Record] | None:
        """The records with events after `seq`; None where others, which are not held, may have some."""
        if not self._held or not self._held[0][0].seq_first - 1 <= seq <= last_seq(self._held[-1][0]):
            return None
        return [record for record in self.records if last_seq(record) > seq]

    def knows_otherwise(self, seq: int, found: Mark | None) -> bool:
        """Whether what ended at `seq` was another record, or none did."""
        return bool(self._marks) and self._marks[0][0] <= seq and found not in self._marks

    def knows(self, found: Mark | None) -> bool:
        return found in self._marks


def _weights(record: Record) -> tuple[int, int]:
    """Bytes of its texts, which a fold of the same records holds too, and of the rest."""
    said = (record.reply,) if isinstance(record, Amend) else (record.input, record.reply)
    return sum(map(text_weight, said)), size_of(record) - sum(len(text.encode()) for text in said)


def forgot(found: Fence | None, mine: Fence) -> bool:
    """Whether a refused commit means that the store went back in time; else somebody else took the session over.

    >>> mine = Fence("l", 3, True, 9)
    >>> forgot(None, mine), forgot(Fence("l", 2, False, 9), mine), forgot(Fence("l", 3, True, 7), mine)
    (True, True, True)
    >>> forgot(Fence("l", 4, False, 9), mine), forgot(Fence("l", 3, False, 7), mine), forgot(mine, mine)
    (False, False, False)
    """
    if found is None or found.epoch < mine.epoch:
        return True
    return found.epoch == mine.epoch and found.ours and found.seq < mine.seq


def after_rewind(head: Standing, tail: Tail, log: Sequence[Mark]) -> Fine | Again | Lost:
    """What is to be done about a log that this owner has taken over: its head, and the marks of its records.

    >>> tail = Tail(Standing("l", 2), [(1, "r1"), (2, "r2")])          # it holds no record any more
    >>> one, two, three = [(1, "r1")], [(1, "r1"), (2, "r2")], [(1, "r1"), (2, "r2"), (3, "r3")]
    >>> after_rewind(Standing("l", 2), tail, two), after_rewind(Standing("l", 0), Tail(), [])
    (Fine(), Fine())
    >>> after_rewind(Standing("l", 3), tail, three)                    # an answer was lost, or another one went on
    Fine()
    >>> after_rewind(Standing("l", 1), tail, one)                      # the second is missing
    Lost()
    >>> after_rewind(Standing("l", 3), tail, [*one, (2, "x2"), (3, "x3")])  # another one went on from before it
    Lost()

    A head with another log id was made anew, because there was none any more: by this owner just now, or by this
    owner before, in an attempt to mend it that did not come to its end, or by somebody who knew of nothing:

    >>> after_rewind(Standing("new", 0), tail, []), after_rewind(Standing("new", 2), tail, two)
    (Lost(), Fine())
    >>> after_rewind(Standing("new", 1), tail, [(1, "x1")])
    Lost()
    """
    mine = tail.standing
    if mine is None or mine.seq == 0 or (log[-1][0] if log else 0) != head.seq:
        return Fine()  # a log that does not fit its head is said to be corrupt by whoever folds it
    last = min(head.seq, mine.seq)
    found = next((one for one in reversed(log) if one[0] == last), None)
    if last and tail.knows_otherwise(last, found):
        return Lost()
    related = head.log_id == mine.log_id or not head.seq or tail.knows(found)
    if head.seq >= mine.seq:
        return Fine() if related else Lost()
    missing = [record for record in tail.records if last_seq(record) > head.seq]
    whole = bool(missing) and missing[0].seq_first == head.seq + 1
    return Again(missing) if whole and related else Lost()
