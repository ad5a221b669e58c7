"""Memories that are at home in a store of their own. What turns commit is durable in the log's store, and moves there.

The two never have to agree in one step: facts about atoms come to the same in whatever order and however often they are
written (`core.memory.atoms`), and what moved is taken out of the tail only when the home has it. So a gateway that dies
anywhere between them leaves nothing lost and nothing doubled, and whoever recalls sees the turn that was just
acknowledged. A home that is away fails no turn; recalls fail, and the tail fills until it is back.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection

from rolehost_api.errors import RolehostError
from rolehost_api.identity import tag_of
from rolehost_runtime.core.memory.atoms import Changes, Stored, atoms_of, mark_of, version_of
from rolehost_runtime.core.memory.uniting import moves, united
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, Gone, Subject
from rolehost_runtime.gateway.memories import MemoryStore

MAX_KNOWN = 512
MAX_MOVING = 8
MAX_RENEWED = 10_000
RENEW_PART = 10
"""A home is told that it is still wanted once in this part of the time for which it is kept."""

log = logging.getLogger(__name__)


class Homed:
    """Implements memories.MemoryStore over a tail and a home."""

    def __init__(
        self,
        tail: MemoryStore,
        home: MemoryStore,
        now_ms: Callable[[], int],
        count: Callable[[str, str], None] = lambda what, outcome: None,
        lag: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`count` is told of each move, and its outcome: `ok`, or an error's code; `lag` how many seconds the oldest of what
        was moved had waited since its commit."""
        self._tail, self._home, self._now_ms, self._count, self._lag = tail, home, now_ms, count, lag
        self._waiting: dict[str, int] = {}
        """By partition: when the oldest was committed of what has not moved yet."""
        self._known: OrderedDict[str, tuple[Stored, Stored, Stored]] = OrderedDict()
        """By partition: tail and home as they were read last, and the two together."""
        self._moving: dict[str, asyncio.Task[None]] = {}
        self._renewed: OrderedDict[str, int] = OrderedDict()

    async def memories(self, key: str, known: Stored) -> Stored:
        where = tag_of(key)
        before = self._known.get(where)
        tail = await self._tail.memories(key, before[0] if before else {})  # first: see uniting
        home = await self._home.memories(key, before[1] if before else {})
        is_same = before is not None and tail is before[0] and home is before[1]
        together = before[2] if before is not None and is_same else united(tail, home)
        if (version_of(together), mark_of(together)) == (version_of(known), mark_of(known)):
            together = known
        self._known[where] = (tail, home, together)
        self._known.move_to_end(where)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return together

    async def change_memories(
        self, key: str, changes: Changes, keep_seconds: int = RETENTION_SECONDS, *, renew: bool = False
    ) -> int:
        """What is added goes to the tail; what is taken out, out of both. It is hidden with the first step and deleted
        with the second: who was told of a failure asks again."""
        there = {atom.id for atom in atoms_of(await self.memories(key, {}))}
        await self._tail.change_memories(key, changes, keep_seconds, renew=renew)
        further = Changes(
            confirmed=changes.confirmed,
            forgotten=changes.forgotten,
            dropped=changes.dropped,
            traces=changes.traces,
            at_ms=changes.at_ms,
        )
        if further:
            await self._home.change_memories(key, further, keep_seconds, renew=renew)
        return len(there & {*changes.forgotten, *changes.dropped})

    async def drop_memories(self, key: str) -> int:
        """Each atom is forgotten by its name: another gateway may be about to move one, and must not bring it back."""
        names = tuple(atom.id for atom in atoms_of(await self.memories(key, {})))
        if names:
            await self.change_memories(key, Changes(forgotten=names, at_ms=self._now_ms()))
        return len(names)

    # ── what commits bring ──────────────────────────────────────────────────────────

    async def before_commit(self, key: str, confirmed: Collection[str]) -> None:
        """A commit confirms only what lies in the tail: what is at home is laid there too. Raises Unavailable."""
        if not confirmed:
            return
        atoms = tuple(atom for atom in atoms_of(await self._home.memories(key, {})) if atom.id in confirmed)
        if atoms:
            await self._tail.change_memories(key, Changes(added=atoms))

    def after_commit(self, key: str, keep_seconds: int, *, remembered: bool) -> None:
        """Behind a turn's back: what it remembered goes home. Whatever becomes of it, no turn waits for it."""
        where, now = tag_of(key), self._now_ms()
        stale = now - self._renewed.get(where, 0) > 1000 * keep_seconds // RENEW_PART
        if remembered:
            self._waiting.setdefault(where, now)
            while len(self._waiting) > MAX_RENEWED:
                del self._waiting[next(iter(self._waiting))]
        if where in self._moving or len(self._moving) >= MAX_MOVING or not (remembered or stale):
            return
        self._moving[where] = task = asyncio.create_task(self._moved(key, keep_seconds), name="moving memories")
        task.add_done_callback(lambda _: self._moving.pop(where, None))

    async def _moved(self, key: str, keep_seconds: int) -> None:
        try:
            await self.move(key, keep_seconds)
        except RolehostError as error:  # the next turn tries again
            self._count("move", error.code)
        except Exception as error:
            faults.internal(log, "moving memories", error)
            self._count("move", "internal")
        else:
            self._count("move", "ok")
            if (since := self._waiting.pop(tag_of(key), None)) is not None:
                self._lag((self._now_ms() - since) / 1000)

    async def move(self, key: str, keep_seconds: int = RETENTION_SECONDS) -> None:
        """Until nothing is left in the tail, or nothing more will go. Raises RolehostError."""
        where = tag_of(key)
        tail: Stored = {}
        while True:
            tail = await self._tail.memories(key, tail)
            told, taken = moves(tail)
            if not told:
                break
            for changes in told:
                await self._home.change_memories(key, changes, keep_seconds, renew=True)
            await self._tail.change_memories(key, taken)
        stale = self._now_ms() - self._renewed.get(where, 0) > 1000 * keep_seconds // RENEW_PART
        if stale and await self._home.memories(key, {}):
            await self._home.change_memories(key, Changes(), keep_seconds, renew=True)
        self._renewed[where] = self._now_ms()
        self._renewed.move_to_end(where)
        while len(self._renewed) > MAX_RENEWED:
            self._renewed.popitem(last=False)

    async def idle(self) -> None:
        """Until nothing is on its way."""
        while self._moving:
            await asyncio.wait(tuple(self._moving.values()))

    async def close(self) -> None:
        """Of the home; the tail is its owner's. What is on its way stays in the tail."""
        left = tuple(self._moving.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        closing = getattr(self._home, "close", None)
        if closing is not None:
            await closing()


class HomePlace:
    """The memory of a session without an end user, which is at home elsewhere than its log. Implements kept.Forgettable."""

    def __init__(self, homed: Homed) -> None:
        self._homed = homed

    async def erase(self, subject: Subject, receipt: str) -> Gone | None:
        if subject.whose.user or not subject.session_id:
            return None
        count = await self._homed.drop_memories(subject.key)
        return Gone(receipt, {"memories": count}, (tag_of(subject.key),)) if count else None
