"""Which memories mean what is asked for, whatever their words: vectors of hot partitions, by a model of the tenant's choice.

It only ever helps: where the model is away or slow, or has not seen a memory yet, memories are found by their words.
"""

import asyncio
import logging
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rolehost_api.crd.role import MemoryEmbeddings
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.ports import Embedder
from rolehost_runtime.gateway.tables import Tenant

if TYPE_CHECKING:
    from rolehost_runtime.gateway.sessions.arena import Arena

log = logging.getLogger(__name__)

MAX_ARENA_BYTES = 67_108_864
"""Of all of them together: 64 MiB, some 60 full partitions of 1,024 numbers a memory."""
AT_ONCE = 32
"""Texts that a recall waits for, beside its question; what is more is seen to behind its back."""
BATCH, MAX_FILLING = 64, 4
WAIT_SECONDS = 1.5
ENTRY = 200


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose memories they are, and what tells their meaning."""

    tenant: Tenant
    partition: str
    by: MemoryEmbeddings


class Meanings:
    def __init__(
        self,
        embedder: Embedder | None,
        max_bytes: int = MAX_ARENA_BYTES,
        count: Callable[[str, str], None] = lambda what, outcome: None,
    ) -> None:
        """None: nobody tells meanings here. `count` is told of each question to the model (`learn`), and its outcome."""
        self._count = count
        self._embedder, self._max_bytes = embedder, max_bytes
        self._arenas: OrderedDict[Whose, Arena] = OrderedDict()
        self._filling: dict[Whose, asyncio.Task[None]] = {}

    async def nearest(self, whose: Whose, texts: Mapping[str, str], query: str, k: int) -> list[str]:
        """At most `k` of the names of these texts, the nearest in meaning first; empty where nobody can tell."""
        if self._embedder is None or not whose.by.backend or not query.strip() or not texts:
            return []
        arena = self._arena(whose)
        arena.keep(frozenset(texts))
        missing = [name for name in texts if name not in arena.names]
        first = missing[:AT_ONCE] if len(missing) <= AT_ONCE and whose not in self._filling else []
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                asked, *vectors = await self._embedded(whose, [query, *(texts[name] for name in first)])
        except TimeoutError:
            self._count("learn", "model_timeout")
            return []
        except RolehostError:
            return []
        if first:
            self._learn(whose, {name: texts[name] for name in first}, vectors)
        elif missing:
            self._fill(whose, {name: texts[name] for name in missing})
        return self._arena(whose).nearest(asked, k)

    def _fill(self, whose: Whose, texts: dict[str, str]) -> None:
        if whose in self._filling or len(self._filling) >= MAX_FILLING:
            return
        self._filling[whose] = task = asyncio.create_task(self._filled(whose, texts), name="meanings")
        task.add_done_callback(lambda _: self._filling.pop(whose, None))

    async def _filled(self, whose: Whose, texts: dict[str, str]) -> None:
        names = list(texts)
        try:
            for start in range(0, len(names), BATCH):
                part = {name: texts[name] for name in names[start : start + BATCH]}
                self._learn(whose, part, await self._embedded(whose, list(part.values())))
        except RolehostError:
            pass  # the next recall asks again for what is missing
        except Exception as error:
            faults.internal(log, "embedding memories", error)

    async def _embedded(self, whose: Whose, texts: Sequence[str]) -> "list[array[float]]":
        """Raises RolehostError, also where a server answers with more or less than it was asked."""
        if self._embedder is None:
            raise Unavailable("nobody tells meanings here", code="backend_not_found")
        try:
            vectors = await self._embedder.embed(whose.tenant, whose.by.backend, texts, model=whose.by.model)
            if len(vectors) != len(texts):
                raise Unavailable("an embeddings server did not answer what it was asked", code="model_unavailable")
        except RolehostError as error:
            self._count("learn", error.code)
            raise
        self._count("learn", "ok")
        return vectors

    def _learn(self, whose: Whose, texts: Mapping[str, str], vectors: "Sequence[array[float]]") -> None:
        arena = self._arena(whose)
        there = arena.names
        fresh = [(name, vector) for name, vector in zip(texts, vectors, strict=True) if name not in there]
        if fresh:
            arena.add([name for name, _ in fresh], [vector for _, vector in fresh])
        while self.weight > self._max_bytes and len(self._arenas) > 1:
            self._arenas.popitem(last=False)

    def _arena(self, whose: Whose) -> "Arena":
        from rolehost_runtime.gateway.sessions.arena import Arena

        arena = self._arenas.setdefault(whose, Arena())
        self._arenas.move_to_end(whose)
        return arena

    @property
    def weight(self) -> int:
        """Bytes of memory that all vectors take."""
        return sum(arena.nbytes + ENTRY * len(arena) for arena in self._arenas.values())

    async def idle(self) -> None:
        """Until nothing is being learnt."""
        while self._filling:
            await asyncio.wait(tuple(self._filling.values()))

    async def stop(self) -> None:
        left = tuple(self._filling.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
