"""This process's lease: held as long as it runs and reaches the store, and gone soon after.

A link says at once that a process died: its socket closes. Of a host that died, or that is cut off,
it says nothing; then the lease does. Whoever hears no word from a gateway looks whether it still
holds its lease, and gives it up the moment that it does not: at most `LEASE_SECONDS` and one look after
its last renewal. One that holds it lives, and is slow or not to be reached; its link ends much later.

The other way round, a process that slept through its own lease knows when it wakes up that others
may have taken its sessions over. Until it has seen the others again, and looked who answers what it
held, it takes nothing from anybody.
"""

import asyncio
import logging
from collections.abc import Callable

from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.ports import LEASE_SECONDS, Leases

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
AGAIN_SECONDS = 0.25
"""After a renewal that got no answer, which may have waited a second for it: a lease outlasts one of those."""


class Lease:
    def __init__(self, leases: Leases, me: str, lapsed: Callable[[], None]) -> None:
        """`lapsed` is called when the lease is held again after it had ended."""
        self._leases, self._me, self._lapsed = leases, me, lapsed
        self._task: asyncio.Task[None] | None = None
        self._renewed: float | None = None
        """When the last renewal that came through was sent, by the loop's clock."""
        self.failing = False
        """The store did not answer last time."""

    @property
    def sure(self) -> bool:
        """Nobody can take this process for dead by its lease just now. True before it was ever held: nobody looks."""
        return self._renewed is None or asyncio.get_running_loop().time() - self._renewed < LEASE_SECONDS

    async def start(self) -> None:
        """Hold it, if the store answers; from then on it is renewed."""
        await self._renew()
        self._task = asyncio.create_task(self._keep(), name="lease")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self.failing else RENEW_SECONDS)
            try:
                await self._renew()
            except Exception as error:  # a bug of ours: without a lease others would give us up in every silence
                faults.internal(log, "renewing the lease", error)

    async def _renew(self) -> None:
        sent = asyncio.get_running_loop().time()
        try:
            had = await self._leases.renew(self._me)
        except RolehostError as error:  # the store is away; so it is for those who would look
            if not self.failing:
                log.info("the lease was not renewed: %s", error.code)
            self.failing = True
            return
        ended = self._renewed is not None and not (had and self.sure)
        self._renewed, self.failing = sent, False
        if ended:
            log.warning("this gateway's lease had ended; others may answer its sessions now")
            self._lapsed()
