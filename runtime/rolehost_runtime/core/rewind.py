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
    response_id: str = ""
    """Of that turn, where the owner remembers it."""


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
    """Turns are missing that nobody holds: the history after the head is gone."""


class Tail:
    """The last records that an owner knows to be durable, bounded in number and in size."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing
        """None: it knows of nothing yet."""
        self._held: deque[tuple[TurnRecord, int, int]] = deque()
        self._texts = self._rest = 0

    def let_go(self) -> None:
        """Of the records; where the log stood is still known."""
        self._held.clear()
        self._texts = self._rest = 0

    def acknowledged(self, record: TurnRecord) -> None:
        """One more turn is durable."""
        seq = record.seq_first + record.seq_count - 1
        self.standing = Standing(record.log_id, record.turn, seq, record.response_id)
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


def after_rewind(
    head: Standing, mine: Standing | None, held: Iterable[TurnRecord], log: Sequence[TurnRecord] = ()
) -> Fine | Again | Lost:
    """What is to be done about a head that this owner has taken over, and the log that it heads.

    >>> head, mine = Standing("l", 4, 4), Standing("l", 4, 4)
    >>> after_rewind(head, mine, []), after_rewind(head, None, [])
    (Fine(), Fine())
    >>> after_rewind(Standing("l", 3, 3), mine, [])                     # turn 4 is missing, and nobody has it
    Lost()
    >>> after_rewind(Standing("l", 5, 5), mine, [])                     # an answer was lost, or another one went on
    Fine()

    That another one went on *from before* shows in the log: it answered our turn's number with something else.

    Another log than the one that it knew, with turns in it, was begun by somebody who knew of none; with none in it, it
    is the head that was made just now because there was none any more:

    >>> after_rewind(Standing("new", 2, 2), mine, []), after_rewind(Standing("new", 0, 0), mine, [])
    (Lost(), Lost())
    """
    if mine is None or mine.turn == 0:
        return Fine()
    if head.log_id == mine.log_id and head.turn >= mine.turn:
        there = log[mine.turn - 1].response_id if len(log) >= mine.turn else mine.response_id
        return Fine() if there == mine.response_id else Lost()
    if head.log_id != mine.log_id and head.turn > 0:
        return Lost()
    missing = [record for record in held if record.turn > head.turn]
    whole = bool(missing) and missing[0].turn == head.turn + 1 and missing[0].seq_first == head.seq + 1
    return Again(missing) if whole and missing[-1].turn == mine.turn else Lost()
