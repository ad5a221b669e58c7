"""What this process knows to be durable of one session, held against a store that forgets it."""

from collections.abc import Callable
from dataclasses import replace as with_changes

from msgspec.structs import replace

from rolehost_api.errors import Conflict
from rolehost_runtime.core.record import Amend, Record, last_seq, size_of
from rolehost_runtime.core.rewind import (
    MAX_RECORDS,
    Again,
    Fence,
    Fine,
    Lost,
    Standing,
    Tail,
    after_rewind,
    forgot,
    mark,
)
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.ports import Head, SessionStore
from rolehost_runtime.gateway.sessions.history import History


class Remembered:
    def __init__(
        self,
        store: SessionStore,
        key: str,
        history: Callable[[], History] | None = None,
        keep_seconds: Callable[[], int] = lambda: RETENTION_SECONDS,
    ) -> None:
        """`keep_seconds`: for how long what is written again is kept."""
        self._keep_seconds = keep_seconds
        self._store, self._key = store, key
        self._history = history or (lambda: History(store, None, key))
        self._tail = Tail()
        self._epoch = 0
        """Of the newest record that it knows of."""

    @property
    def weight(self) -> int:
        """Bytes that the records take which are held, beside the fold."""
        return self._tail.weight

    @property
    def weight_alone(self) -> int:
        """The same where there is no fold."""
        return self._tail.weight_alone

    @property
    def nothing(self) -> bool:
        """It knows of nothing that a store could have forgotten."""
        return self._tail.standing is None

    def since(self, seq: int) -> list[Record] | None:
        """The records with events after that one, as they were read; None where more of them may be in the log."""
        return self._tail.since(seq)

    def forget(self) -> None:
        """Let go of the records; where the session stood is still known."""
        self._tail.let_go()

    def took(self, stands: SessionFold | Head, records: list[Record]) -> None:
        """The log, or its newest records, were read, and it is this process's now."""
        self._tail, self._epoch = Tail(Standing(stands.log_id, 0)), stands.epoch
        for record in records[-MAX_RECORDS - 1 :]:
            self.committed(record)

    def committed(self, record: Record) -> None:
        self._tail.acknowledged(record)
        self._epoch = max(self._epoch, record.epoch)

    def heed(self, head: Head) -> bool:
        """Let go of everything that was before the session was forgotten; whether that was just now."""
        if not self._epoch or self._epoch >= head.forgotten:
            return False
        self._tail, self._epoch = Tail(), 0
        return True

    async def mend(self, head: Head, records: list[Record]) -> tuple[Head, list[Record], bool]:
        """A log that was just taken over, with what it forgot written again; True where that is lost for good.

        Then it has a new name, so that a position in what was lost is not taken for one in what is to come. Raises
        what `commit` does; it may be tried again. What was forgotten meanwhile is not written again.
        """
        self.heed(head)
        mine = self._tail.standing
        match await self._after_rewind(head, records):
            case Fine():
                return head, records, False
            case Again(missing):
                for old in missing:
                    record = replace(old, log_id=head.log_id, epoch=head.epoch)
                    await self._store.commit(self._key, record, self._keep_seconds())
                    records = [*records, record]
                    head = _after(head, record)
                return head, records, False
        if mine is not None and head.log_id == mine.log_id:
            head = await self._store.rename(self._key, head)
        return head, records, True

    async def refence(self, fold: SessionFold, refusal: Conflict) -> Record:
        """The record that was refused, to be sent once more: the store had gone back in time, and is mended.

        Raises `refusal` where that is not why, or where what was acknowledged is lost.
        """
        if not forgot(await self._store.fence(self._key), Fence(fold.log_id, fold.epoch, True, fold.seq)):
            raise refusal
        head, records = await self._store.open(self._key)
        if self.heed(head):
            raise refusal
        if isinstance(await self._after_rewind(head, records), Lost):
            raise refusal  # whoever opens it next tells everybody
        head, _, _ = await self.mend(head, records)
        if (head.turn, head.seq, head.amends) != (fold.turn, fold.seq, fold.amends):
            raise refusal
        return fold.refence(head.log_id, head.epoch)

    async def _after_rewind(self, head: Head, records: list[Record]) -> Fine | Again | Lost:
        """Where it was remembered from before what was read, the one record is read that both know or that differs."""
        mine, place = self._tail.standing, self._tail.place
        before: list[Record] = []
        if mine is not None and place is not None and records and mine.seq < records[0].seq_first:
            before = await self._history().page(place, 1)
        standing = Standing(head.log_id, head.seq)
        return after_rewind(standing, self._tail, [mark(record) for record in (*before, *records)])


def _after(head: Head, record: Record) -> Head:
    """The head once that record is in the log again."""
    size = head.log_bytes + size_of(record)
    head = with_changes(head, seq=last_seq(record), last_at_ms=record.at_ms, log_bytes=size)
    if isinstance(record, Amend):
        return with_changes(head, amends=record.number)
    return with_changes(head, turn=record.turn, version=record.version, revision=record.revision, open=None, deaths=0)
