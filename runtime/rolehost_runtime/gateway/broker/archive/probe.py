"""Whether the archive does what archiving and forgetting ask of it, tried on an object of our own."""

import asyncio
import secrets
import time
from collections.abc import Callable

from rolehost_api.errors import NotFound, RolehostError
from rolehost_runtime.gateway.ports import ArchiveFacts, SegmentStore

FOLDER = "rolehost-doctor/"
"""Beside the tenants' folders, whose names are UIDs."""
SECONDS = 2.0
"""For all that is tried together: whoever asks waits for it."""


class ArchiveProbe:
    def __init__(
        self,
        segments: SegmentStore | None,
        gateway: str,
        *,
        forgets: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gateway` is this one's name: its object is in nobody's way, and one that could not be deleted is written over
        by the next try."""
        self._segments, self._name, self._forgets, self._clock = segments, f"{FOLDER}{gateway}", forgets, clock

    async def facts(self) -> ArchiveFacts:
        """Write, list, read and delete one small object, and say where that ended. Raises nothing of the store's."""
        store = self._segments
        if store is None:
            return ArchiveFacts(configured=False, forgets=self._forgets)
        name, body, step, began = self._name, secrets.token_bytes(16), "write", self._clock()
        try:
            async with asyncio.timeout(SECONDS):
                await store.put(name, body)
                step = "list"
                if name not in await store.list(FOLDER, 1000):
                    raise NotFound("what was just written is not listed", code="segment_not_found")
                step = "read"
                if await store.get(name) != body:
                    raise NotFound("something else is there than what was just written", code="segment_not_found")
                step = "delete"
                await store.delete([name])
        except TimeoutError:
            return ArchiveFacts(configured=True, failed=step, trouble=f"no answer within {SECONDS:.0f} s")
        except RolehostError as error:
            return ArchiveFacts(configured=True, failed=step, trouble=error.message)
        return ArchiveFacts(configured=True, took_ms=round(1000 * (self._clock() - began)))
