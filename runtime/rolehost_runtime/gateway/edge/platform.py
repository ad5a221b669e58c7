"""How the platform is, for whoever runs it (`rolehost doctor`). No tenant's word, no key, no address."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from rolehost_api import __version__
from rolehost_api.errors import NotFound, RolehostError
from rolehost_runtime.gateway.ports import ArchiveFacts, StoreFacts

CACHED_SECONDS = 5.0
"""However often it is asked for, the store is asked once in this time."""


class PlatformAnswer(Struct, frozen=True, kw_only=True):
    version: str
    """Of this gateway."""
    gateways: int
    """Alive as far as this gateway knows, itself included."""
    now_ms: int
    """This gateway's clock, milliseconds of Unix time, when it answered."""
    store: StoreFacts | None = None
    """None where it does not answer."""
    store_skew_ms: int = 0
    """How far the store's clock is ahead of this gateway's; it may be off by half of `store_asked_ms`."""
    store_asked_ms: int = 0
    """How long the store took to answer."""
    archive: ArchiveFacts | None = None
    """None where no archive could be named (local mode)."""


@dataclass
class PlatformHealth:
    """Asks the store, one at a time and not more often than it is worth."""

    store_facts: Callable[[], Awaitable[StoreFacts]] | None
    """None: there is nothing to tell here."""
    now_ms: Callable[[], int]
    members: Callable[[], Collection[str]]
    clock: Callable[[], float] = time.monotonic
    archive_facts: Callable[[], Awaitable[ArchiveFacts]] | None = None
    _kept: PlatformAnswer | None = None
    _kept_until: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self) -> PlatformAnswer:
        """Raises NotFound where nothing is known of a platform (local mode without a store of its own)."""
        if self.store_facts is None:
            raise NotFound("this gateway knows nothing of a platform", code="no_platform")
        async with self._asking:
            if self._kept is None or self.clock() >= self._kept_until:
                self._kept = await self._asked(self.store_facts)
                self._kept_until = self.clock() + CACHED_SECONDS
            kept = self._kept
        return replace(kept, now_ms=self.now_ms(), gateways=len(self.members()))

    async def _asked(self, store_facts: Callable[[], Awaitable[StoreFacts]]) -> PlatformAnswer:
        of_store, archive = await asyncio.gather(self._of_store(store_facts), self._of_archive())
        return replace(of_store, archive=archive)

    async def _of_archive(self) -> ArchiveFacts | None:
        return await self.archive_facts() if self.archive_facts is not None else None

    async def _of_store(self, store_facts: Callable[[], Awaitable[StoreFacts]]) -> PlatformAnswer:
        began = self.now_ms()
        try:
            store = await store_facts()
        except RolehostError:
            store = None
        ended = self.now_ms()
        skew = store.now_ms - (began + ended) // 2 if store else 0
        return PlatformAnswer(
            version=__version__, gateways=0, now_ms=ended, store=store, store_skew_ms=skew, store_asked_ms=ended - began
        )
