"""Snapshots of this process's sessions, taken behind their turns' backs."""

import asyncio
import logging
from collections.abc import Callable

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.ports import SessionStore
from rolehost_runtime.gateway.sessions.archive import Archive, Old

log = logging.getLogger(__name__)

MAX_AT_ONCE = 4
"""A session that finds them all at work asks again after its next turn."""


class Snapshotting:
    """One at a time for each session, a few in all. Whatever becomes of one, no turn waits for it and none fails by it:
    without it, more of the log is read."""

    def __init__(
        self, store: SessionStore, count: Callable[[str], None] = lambda outcome: None, archive: Archive | None = None
    ) -> None:
        """`count` is told the outcome of each: `kept`, or the code of an error."""
        self._store, self._count, self._archive = store, count, archive
        self._running: dict[str, asyncio.Task[None]] = {}

    def after_turn(self, tenant_uid: str, key: str, fold: SessionFold) -> None:
        """A turn is durable; the session may be due."""
        if key in self._running or len(self._running) >= MAX_AT_ONCE or not fold.needs_snapshot():
            return
        self._running[key] = task = asyncio.create_task(self._keep(tenant_uid, key, fold), name="snapshot")
        task.add_done_callback(lambda _: self._running.pop(key, None))

    async def _keep(self, tenant_uid: str, key: str, fold: SessionFold) -> None:
        snapshot, size, outcome = fold.snapshot(), 0, "kept"
        try:
            size = await self._store.keep(key, snapshot)
            if self._archive is not None and self._archive.takes and (covered := await self._store.covered(key)):
                before = (min(covered.past_from, covered.turn), 0)
                self._archive.offer(Old(tenant_uid, key, snapshot.log_id, snapshot.epoch, before))
        except RolehostError as error:
            outcome = error.code
        except Exception as error:
            outcome = faults.internal(log, "keeping a snapshot", error).code
        fold.snapshotted(snapshot.turn, size)
        self._count(outcome)

    async def idle(self) -> None:
        """Until none is being taken."""
        while self._running:
            await asyncio.wait(tuple(self._running.values()))

    async def stop(self) -> None:
        """Give up those that are being taken."""
        left = tuple(self._running.values())
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
