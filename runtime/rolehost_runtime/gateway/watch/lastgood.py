"""Keeps the tables' last good rows, and serves from them where the apiserver is away at the start.

    apiserver answers ─▶ tables ─▶ kept every few seconds, where something changed
    apiserver away at the start ─▶ what was kept, at most a day old, marked stale ─▶ the first listing replaces it

A gateway that is blind keeps nothing: only what an apiserver confirmed is good.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from cryptography.exceptions import InvalidSignature

from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import OUTLIVED_MS, LastGoodStore, Place
from rolehost_runtime.gateway.tables import KINDS, Tables
from rolehost_runtime.gateway.watch.rows import (
    Row,
    Signer,
    TooLarge,
    Unreadable,
    Verifier,
    opened,
    pieces,
    rows_of,
    sealed,
)

log = logging.getLogger(__name__)

BLIND_SECONDS = 5.0
"""How long the apiserver has for its first listings: it needs less than one where it is well."""
EVERY_SECONDS = 5.0
CONFIRM_MS = 300_000
"""How old the word of what is kept may grow before it is kept anew, changed or not."""
MOST_AGE_MS = 86_400_000


class Places(Protocol):
    def __call__(self, now_ms: int) -> Mapping[str, Place]:
        """How new each table is, by its watch; a table that was not listed yet is missing."""


def worth(mine: Place, there: Place | None, *, changed: bool) -> bool:
    """Whether to keep these rows, seeing how new those are that are kept already.

    >>> mine = Place(own=9, tenants=4, as_of_ms=1_000)
    >>> worth(mine, None, changed=False), worth(mine, Place(8, 4, 900), changed=True)
    (True, True)
    >>> worth(mine, Place(8, 4, 900), changed=False)  # a bookmark moved the number, and no row
    False
    >>> worth(mine, Place(9, 4, 900), changed=True)  # another gateway kept the same
    False
    >>> worth(Place(9, 4, 301_000), Place(9, 4, 1_000), changed=False)  # to say that it is still so
    True
    """
    if there is None:
        return True
    later = mine.as_of_ms - there.as_of_ms
    if mine.older_than(there):
        return later >= OUTLIVED_MS
    newer = (mine.own, mine.tenants) != (there.own, there.tenants)
    return (changed and newer) or later >= CONFIRM_MS


def too_old(place: Place, now_ms: int) -> bool:
    """Past a day nobody knows what became of tenants, keys and pods.

    >>> too_old(Place(1, 1, 1_000), 1_000 + 86_400_000), too_old(Place(1, 1, 999), 1_000 + 86_400_000)
    (False, True)
    """
    return now_ms - place.as_of_ms > MOST_AGE_MS


class LastGood:
    """Implements app.Feed."""

    def __init__(
        self,
        tables: Tables,
        store: LastGoodStore,
        places: Places,
        signer: Signer,
        verifier: Verifier,
        metrics: Metrics,
        now_ms: Callable[[], int],
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables, self._store, self._places, self._metrics = tables, store, places, metrics
        self._signer, self._verifier = signer, verifier
        self._now_ms, self._pause = now_ms, pause
        self._changed = set(KINDS)
        self._too_large: set[str] = set()
        self._said = ""
        metrics.tables_stale.set_function(lambda: tables.stale)
        for kind, table in tables.named().items():
            table.listen(lambda _key, kind=kind: self._changed.add(kind))  # type: ignore[misc]

    async def run(self) -> None:
        await self._pause(BLIND_SECONDS)
        while not self._tables.filled:
            await self.assume()
            await self._pause(EVERY_SECONDS)
        if self._tables.stale:
            while self._tables.stale:
                await self._pause(EVERY_SECONDS)
            log.info("the apiserver is back: the tables are true again")
        while True:
            await self.keep()
            await self._pause(EVERY_SECONDS)

    # ── blind ───────────────────────────────────────────────────────────────────────

    async def assume(self) -> None:
        """Fill what no listing has filled, all of it or nothing: half a picture misleads."""
        found: dict[str, dict[tuple[str, ...], object]] = {}
        oldest = self._now_ms()
        try:
            for kind, table in self._tables.named().items():
                if not table.filled:
                    place, body = await self._usable(kind)
                    oldest = min(oldest, place.as_of_ms)
                    found[kind] = dict(await self._rows(kind, place, body))
        except InvalidSignature:
            self._say("what was kept is not signed by this platform's key")
            return
        except RolehostError as error:
            self._say(str(error))
            return
        for kind, rows in found.items():
            self._tables.named()[kind].assume(rows)
        if self._tables.stale:
            age = (self._now_ms() - oldest) // 1000
            log.warning("the apiserver is away: serving from the last good tables, %d s old", age)

    async def _usable(self, kind: str) -> tuple[Place, bytes]:
        kept = await self._store.read(kind)
        if kept is None:
            raise Unreadable(f"nothing was kept of {kind}")
        if too_old(kept[0], self._now_ms()):
            raise Unreadable(f"what was kept of {kind} is older than a day")
        return kept

    async def _rows(self, kind: str, place: Place, body: bytes) -> list[Row]:
        parts = await asyncio.to_thread(opened, kind, place, body, self._verifier)
        rows: list[Row] = []
        for part in parts:
            rows += rows_of(kind, part)
            await asyncio.sleep(0)
        return rows

    def _say(self, why: str) -> None:
        """Once per reason: it is looked again every few seconds."""
        if why != self._said:
            self._said = why
            log.warning("the apiserver is away, and there are no last good tables: %s", why)

    # ── seeing ──────────────────────────────────────────────────────────────────────

    async def keep(self) -> None:
        """Keep what changed, kind by kind. Nothing that failed is lost: it has changed until it was kept."""
        if self._tables.stale:
            return
        try:
            there = await self._store.places()
            for kind, table in self._tables.named().items():
                # Place and rows with nothing in between: rows are never newer than the place they are kept under.
                place = self._places(self._now_ms()).get(kind)
                if place is None or not table.filled:
                    continue
                changed = kind in self._changed
                self._changed.discard(kind)
                if changed:
                    self._too_large.discard(kind)
                if kind not in self._too_large and worth(place, there.get(kind), changed=changed):
                    await self._keep(kind, place, table.items())
        except RolehostError as error:
            self._metrics.tables_kept.labels("failed").inc()
            log.warning("the last good tables could not be kept: %s", error)

    async def _keep(self, kind: str, place: Place, rows: tuple[Row, ...]) -> None:
        parts = []
        for part in pieces(rows):
            parts.append(part)
            await asyncio.sleep(0)
        try:
            body = await asyncio.to_thread(sealed, kind, place, parts, self._signer)
            kept = await self._store.keep(kind, place, body)
        except TooLarge as error:  # until they change there is nothing to try again
            self._too_large.add(kind)
            self._metrics.tables_kept.labels("too_large").inc()
            log.warning("the last good tables are not whole: %s", error)
        except BaseException:
            self._changed.add(kind)
            raise
        else:
            self._metrics.tables_kept.labels("kept" if kept else "outdated").inc()
