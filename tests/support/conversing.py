"""A session as its owner writes it, straight into a store: turns, and snapshots where they are due."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import SessionStore, Shared
from rolehost_runtime.gateway.sessions.live import folded

BATCH = 64
"""Turns that are on their way at once."""


class Counted(RedisSessionStore):
    """Counts the records that it reads."""

    records = 0

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        found = await super().page(key, start, count)
        self.records += len(found)
        return found


@dataclass
class Conversing:
    """`open` it, then `talk`."""

    store: SessionStore
    key: str = "k"
    input: str = "go on, please"
    reply: str = "once upon a time"
    patch: Callable[[int], tuple[PatchOp, ...]] = lambda turn: (PatchOp("add", "/turns", turn),)
    max_bytes: int = 262_144
    snapshots: bool = True
    sizes: list[int] = field(default_factory=list)
    """Of the snapshots that were kept."""

    async def open(self) -> SessionFold:
        self.fold = await folded(*await self.store.open(self.key))
        return self.fold

    async def talk(self, turns: int) -> None:
        sent: list[asyncio.Task[Shared | None]] = []
        for _ in range(turns):
            number = self.fold.turn + 1
            opened = self.fold.begin(
                self.input, revision="cat-1", response_id=f"r{number}", rng_seed=number, now_ms=number,
                client_msg_id=f"c{number}",
            )  # fmt: skip
            outcome = Outcome(self.reply, self.patch(number))
            record = self.fold.propose(opened, outcome, now_ms=number, max_bytes=self.max_bytes)
            sent.append(asyncio.ensure_future(self.store.commit(self.key, record)))
            self.fold.committed()
            due = self.snapshots and self.fold.needs_snapshot()
            if len(sent) >= BATCH or due:
                await asyncio.gather(*sent)
                sent.clear()
            if due:
                await self.keep()
        await asyncio.gather(*sent)

    async def keep(self) -> None:
        size = await self.store.keep(self.key, self.fold.snapshot())
        self.fold.snapshotted(self.fold.turn, size)
        self.sizes.append(size)
