"""A store that forgot: what an owner does where the log's head is older than what it was told is durable.

A failover may promote a replica that lacks the last writes. Whoever answered the session
last may still hold them; then they are written again, as they were. Where they are gone
the log goes on under a new name, so that no position in the old one is taken for one in it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from rolehost_runtime.core.record import TurnRecord, encode
from rolehost_runtime.core.session import text_weight

MAX_RECORDS, MAX_BYTES = 8, 1 << 17
"""What a session holds of its own last turns, for a store that forgets them."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a log stands, as its head says or as an owner remembers."""

    log_id: str
    turn: int
    seq: int


@dataclass(frozen=True, slots=True)
class Fence:
    """Who may write to a log, and where it stands."""

    log_id: str
    epoch: int
    ours: bool
    """This process wrote the owner's name."""
    turn: int


@dataclass(frozen=True, slots=True)
class Fine:
    """Nothing that was acknowledged is missing."""


@dataclass(frozen=True, slots=True)
class Again:
    """These turns are missing, and held."""

    records: Sequence[TurnRecord]


@dataclass(frozen=True, slots=True)
class Lost:
    """Turns are missing that nobody holds, or others stand in their place: what was told of them is not so any more."""


class Tail:
    """The last turns that an owner knows to be durable, bounded in number and in size."""

    def __init__(self, standing: Standing | None = None, ids: Iterable[tuple[int, str]] = ()) -> None:
        self.standing = standing
        """None: it knows of nothing yet."""
        self._ids = deque(ids, MAX_RECORDS + 1)
        """Turn and response of one more than is held: what was forgotten begins after one that both know."""
        self._held: deque[tuple[TurnRecord, int, int]] = deque()
        self._texts = self._rest = 0

    def let_go(self) -> None:
        """Of the records; where the log stood is still known."""
        self._held.clear()
        self._texts = self._rest = 0

    def acknowledged(self, record: TurnRecord) -> None:
        """One more turn is durable."""
        self.standing = Standing(record.log_id, record.turn, record.seq_first + record.seq_count - 1)
        self._ids.append((record.turn, record.response_id))
        texts = text_weight(record.input) + text_weight(record.reply)
        rest = len(encode(replace(record, input="", reply=""))["body"])
        self._held.append((record, texts, rest))
        self._texts += texts
        self._rest += rest
        while self._held and (len(self._held) > MAX_RECORDS or self._texts + self._rest > MAX_BYTES):
            _, texts, rest = self._held.popleft()
            self._texts -= texts
            self._rest -= rest

    @property
    def records(self) -> list[TurnRecord]:
        return [record for record, _, _ in self._held]

    @property
    def weight(self) -> int:
        """Bytes that it takes beside a fold of the same turns, which holds the same texts."""
        return self._rest

    def knows_otherwise(self, turn: int, response_id: str) -> bool:
        """Whether that turn was another one."""
        return any(number == turn and response != response_id for number, response in self._ids)

    def knows(self, turn: int, response_id: str) -> bool:
        return (turn, response_id) in self._ids


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
    return found.epoch == mine.epoch and found.ours and found.turn < mine.turn


def after_rewind(head: Standing, tail: Tail, responses: Sequence[str]) -> Fine | Again | Lost:
    """What is to be done about a log that this owner has taken over: its head, and the response of each of its turns.

    >>> tail = Tail(Standing("l", 2, 2), [(1, "r1"), (2, "r2")])       # it holds no record any more
    >>> after_rewind(Standing("l", 2, 2), tail, ["r1", "r2"]), after_rewind(Standing("l", 0, 0), Tail(), [])
    (Fine(), Fine())
    >>> after_rewind(Standing("l", 3, 3), tail, ["r1", "r2", "r3"])    # an answer was lost, or another one went on
    Fine()
    >>> after_rewind(Standing("l", 1, 1), tail, ["r1"])                # turn 2 is missing
    Lost()
    >>> after_rewind(Standing("l", 3, 3), tail, ["r1", "x2", "x3"])    # another one went on from before it
    Lost()

    A head with another log id was made anew, because there was none any more: by this owner just now, or by this
    owner before, in an attempt to mend it that did not come to its end, or by somebody who knew of nothing:

    >>> after_rewind(Standing("new", 0, 0), tail, []), after_rewind(Standing("new", 2, 2), tail, ["r1", "r2"])
    (Lost(), Fine())
    >>> after_rewind(Standing("new", 1, 1), tail, ["x1"])
    Lost()
    """
    mine = tail.standing
    if mine is None or mine.turn == 0 or len(responses) != head.turn:
        return Fine()  # a log that does not fit its head is said to be corrupt by whoever folds it
    last = min(head.turn, mine.turn)
    if last and tail.knows_otherwise(last, responses[last - 1]):
        return Lost()
    related = head.log_id == mine.log_id or not head.turn or tail.knows(last, responses[last - 1])
    if head.turn >= mine.turn:
        return Fine() if related else Lost()
    missing = [record for record in tail.records if record.turn > head.turn]
    whole = bool(missing) and missing[0].turn == head.turn + 1 and missing[0].seq_first == head.seq + 1
    return Again(missing) if whole and related else Lost()
