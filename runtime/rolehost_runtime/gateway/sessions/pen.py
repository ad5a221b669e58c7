"""The one hand that writes in a session's log: a record at a time, each durable before the next is numbered."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from rolehost_api.errors import Conflict, Unavailable
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.memory.atoms import MemoryFull
from rolehost_runtime.core.record import Record, TurnRecord, render, size_of
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.ports import Shared
from rolehost_runtime.gateway.sessions.audience import Audience
from rolehost_runtime.gateway.sessions.listing import Listing
from rolehost_runtime.gateway.sessions.notes import Notes
from rolehost_runtime.gateway.sessions.remembered import Remembered
from rolehost_runtime.gateway.sessions.world import World

FIRST = (1, 0)
"""The place of a session's first record: before it is durable the session is in the register."""
R = TypeVar("R", bound=Record)
WRITE_SECONDS = 2.0
"""After which nothing is tried again: a client is told that the store is away before it wonders."""


class Pen:
    def __init__(
        self,
        world: World,
        audience: Audience,
        key: str,
        session_id: str,
        remembered: Remembered,
        listing: Listing,
        rests: Callable[[], None],
        keep_seconds: Callable[[], int],
    ) -> None:
        """`rests` is called whenever no note is left to write. `keep_seconds`: for how long what is written is kept."""
        self._world, self._audience, self._remembered = world, audience, remembered
        self._listing, self._keep_seconds = listing, keep_seconds
        self._key, self._session_id = key, session_id
        self.notes = Notes(world.store, key, rests)
        self.shared: Shared | None = None
        """What the newest record changed of user-scope state, where it did."""
        self.log_bytes = 0
        """What the log takes, or took when it was read, and what was written since."""
        self.held = asyncio.Lock()
        """By whoever proposes a record, until it is durable or lost."""

    async def write(self, fold: SessionFold, record: R) -> R:
        """Durable, or lost; as it was written. A commit without an answer is sent again as it is: its text was
        streamed already, and the store takes the same record once, for WRITE_SECONDS in all. A store that went back in
        time is mended first, once, and memory that is full is tidied, once."""
        pauses, mended, tidied = iter(self._world.commit_pauses), False, False
        loop = asyncio.get_running_loop()
        until, trouble = loop.time() + WRITE_SECONDS, None
        try:
            while True:
                try:
                    async with asyncio.timeout_at(until if trouble else None):
                        if record.position == FIRST:
                            await self._listing.listed(record.at_ms)
                        await self._world.memories.before_commit(self._key, record)
                        self.shared = await self._world.store.commit(self._key, record, self._keep_seconds())
                    break
                except TimeoutError:
                    raise trouble or Unavailable("the platform's store does not answer") from None
                except MemoryFull:
                    if tidied:
                        raise
                    await self._world.memories.tidy(self._key)
                    tidied = True
                except Conflict as refusal:
                    if mended:
                        raise
                    again = await self._remembered.refence(fold, refusal)
                    self._listing.forgotten()  # what the store does not know any more may be swept already
                    self._listing.spoke(record.at_ms)
                    record, mended = replace(record, log_id=again.log_id, epoch=again.epoch), True
                except Unavailable as away:
                    pause = next(pauses, None)
                    if pause is None or not away.retryable or loop.time() + pause >= until:
                        raise
                    trouble = away
                    await asyncio.sleep(pause)
        except BaseException:
            fold.lose()  # fenced, or nobody knows whether it went through: the log is read again
            raise
        self._remembered.committed(record)
        self._world.memories.after_commit(self._key, record, self._keep_seconds())
        if not isinstance(record, TurnRecord) or record.occasion is None:  # a timer keeps nothing longer
            self._listing.spoke(record.at_ms)
        self.log_bytes += size_of(record)
        return record

    async def amend(self, fold: SessionFold, response_id: str, heard: HeardPart | None) -> None:
        """Keep how much was heard of the newest response, and tell everybody. Nothing where that is known.

        Only with the pen held. Raises NotFound for another response, or what the commit failed with.
        """
        amend = fold.amend(response_id, heard, now_ms=self._world.now_ms())
        if amend is None:
            return
        self._audience.amending = amend.seq_first
        try:
            amend = await self.write(fold, amend)
            fold.amended()
            for event in render(amend, self._session_id):
                self._audience.broadcast(event)
        finally:
            self._audience.amending = None
