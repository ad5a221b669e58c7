"""What is remembered of people, as this process knows it: hot partitions, each validated before it is believed."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from rolehost_api.errors import RolehostError
from rolehost_api.identity import tag_of
from rolehost_runtime.core.memory.atoms import Changes, MemoryFull, Stored, kept, version_of
from rolehost_runtime.core.memory.recalling import Indexed
from rolehost_runtime.core.memory.tidying import is_over, sweep
from rolehost_runtime.core.record import Record, TurnRecord
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.memories import MemoryStore
from rolehost_runtime.gateway.sessions.homed import Homed

log = logging.getLogger(__name__)

MAX_HOT_BYTES = 67_108_864
"""What all of them together may take here: 64 MiB."""
WEIGHT, ENTRY = 12, 600
"""What Python takes for a byte of an atom that is indexed by its words, and for each fact."""
LARGE, FEW = 8_192, 64
"""Bytes past which a partition is read word by word beside the loop, unless so few of its facts are new."""
MAX_TIDYING = 4


class Memories:
    def __init__(
        self,
        store: MemoryStore,
        now_ms: Callable[[], int],
        max_bytes: int = MAX_HOT_BYTES,
        count: Callable[[str, str], None] = lambda what, outcome: None,
    ) -> None:
        """`count` is told what was done with memory, and the outcome: `ok`, or an error's code."""
        self.count = count
        self._store, self._now_ms, self._max_bytes = store, now_ms, max_bytes
        self._homed = store if isinstance(store, Homed) else None
        self._hot: OrderedDict[str, Indexed] = OrderedDict()
        """By partition, the one that was asked longest ago first."""
        self._weight = 0
        self._tidying: dict[str, asyncio.Task[None]] = {}

    async def newest(self, key: str) -> Indexed:
        """The partition of that session's person as the store has it now. Raises Unavailable."""
        where = tag_of(key)
        known = self._hot.get(where)
        stored = await self._store.memories(key, known.stored if known is not None else {})
        if known is not None and stored is known.stored:
            if where in self._hot:
                self._hot.move_to_end(where)
            return known
        if known is not None and len(stored.keys() - known.stored.keys()) <= FEW:
            found = known.after(stored)
        elif _bytes(stored) > LARGE:
            found = await asyncio.to_thread(Indexed.of, stored)
        else:
            found = Indexed.of(stored)
        self._keep(where, found)
        return found

    def committed(self, key: str, record: TurnRecord, version: int) -> None:
        """A turn is durable, and made this version of it (0: nobody knows which)."""
        where = tag_of(key)
        known = self._hot.get(where)
        if known is None:
            return
        if version != version_of(known.stored) + 1:
            self._drop(where)
            return
        try:
            self._keep(where, known.after(kept(known.stored, record.memory, record.mark)))
        except MemoryFull:  # others made room there meanwhile
            self._drop(where)

    async def before_commit(self, key: str, record: Record) -> None:
        """Raises Unavailable where the record confirms what cannot be reached; then it must not be committed."""
        if self._homed is not None and isinstance(record, TurnRecord):
            await self._homed.before_commit(key, record.memory.confirmed)

    def after_commit(self, key: str, record: Record, keep_seconds: int) -> None:
        """What a turn remembered goes where memories are at home, if that is not where it was committed."""
        if self._homed is not None and isinstance(record, TurnRecord):
            self._homed.after_commit(key, keep_seconds, remembered=bool(record.memory))

    # ── tidying ─────────────────────────────────────────────────────────────────────

    def after_turn(self, key: str) -> None:
        """Behind a turn's back: what is too much goes. Whatever becomes of it, no turn waits for it or fails by it."""
        where = tag_of(key)
        known = self._hot.get(where)
        if known is None or not is_over(known.stored) or where in self._tidying or len(self._tidying) >= MAX_TIDYING:
            return
        self._tidying[where] = task = asyncio.create_task(self._tidied(key), name="tidying")
        task.add_done_callback(lambda _: self._tidying.pop(where, None))

    async def _tidied(self, key: str) -> None:
        try:
            await self.tidy(key)
        except RolehostError as error:  # the next turn tries again
            self.count("tidy", error.code)
        except Exception as error:
            faults.internal(log, "tidying memory", error)

    async def tidy(self, key: str) -> int:
        """Take out what is too much; how many atoms went. Raises Unavailable."""
        stored = (await self.newest(key)).stored
        out = sweep(stored, self._now_ms())
        if not out:
            return 0
        gone = await self.change(key, Changes(dropped=out.atoms, traces=out.traces))
        self.count("tidy", "ok")
        return gone

    async def change(self, key: str, changes: Changes, keep_seconds: int = RETENTION_SECONDS) -> int:
        """As MemoryStore.change_memories; what is known here of the partition is read again."""
        self._drop(tag_of(key))
        return await self._store.change_memories(key, changes, keep_seconds)

    async def drop(self, key: str) -> int:
        """As MemoryStore.drop_memories."""
        self._drop(tag_of(key))
        return await self._store.drop_memories(key)

    async def stop(self) -> None:
        left = tuple(self._tidying.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._homed is not None:
            await self._homed.close()

    async def idle(self) -> None:
        """Until nothing is being tidied, nor on its way home."""
        while self._tidying:
            await asyncio.wait(tuple(self._tidying.values()))
        if self._homed is not None:
            await self._homed.idle()

    # ── what is hot ─────────────────────────────────────────────────────────────────

    @property
    def weight(self) -> int:
        """Bytes of memory that all of them take, at most."""
        return self._weight

    def _keep(self, where: str, found: Indexed) -> None:
        self._drop(where)
        if not found.stored:
            return
        self._hot[where] = found
        self._weight += _weight(found.stored)
        while self._weight > self._max_bytes:
            self._drop(next(iter(self._hot)))

    def _drop(self, where: str) -> None:
        gone = self._hot.pop(where, None)
        if gone is not None:
            self._weight -= _weight(gone.stored)


def _bytes(stored: Stored) -> int:
    return int(stored.get(b"#", b"0"))


def _weight(stored: Stored) -> int:
    return WEIGHT * _bytes(stored) + ENTRY * len(stored)
