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


def ended_by(age_seconds: float, unanswered: int) -> str:
    """Why a lease had ended that was last renewed so long ago, by a request that was answered, with so many since that
    were not.

    Where it is the store, the leases of all gateways end in the same moment, and they all go on: none is silent.

    >>> ended_by(3.4, 2), ended_by(3.4, 0)
    ('the store left 2 renewals without an answer', 'this process stood still, or the store just answered late')
    >>> ended_by(1.0, 0)
    'the store forgot it, or its clock was set forward'
    """
    if unanswered:
        return f"the store left {unanswered} renewals without an answer"
    if age_seconds >= LEASE_SECONDS:
        return "this process stood still, or the store just answered late"
    return "the store forgot it, or its clock was set forward"


class Lease:
    def __init__(self, leases: Leases, me: str, lapsed: Callable[[], None]) -> None:
        """`lapsed` is called when the lease is held again after it had ended."""
        self._leases, self._me, self._lapsed = leases, me, lapsed
        self._task: asyncio.Task[None] | None = None
        self._renewed: float | None = None
        """When the last renewal that came through was sent, by the loop's clock."""
        self._unanswered = 0
        """Renewals since then that the store did not answer."""

    @property
    def failing(self) -> bool:
        """The store did not answer last time."""
        return self._unanswered > 0

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
            self._unanswered += 1
            return
        before, unanswered, sure = self._renewed, self._unanswered, self.sure
        self._renewed, self._unanswered = sent, 0
        if before is not None and not (had and sure):
            why = ended_by(asyncio.get_running_loop().time() - before, unanswered)
            log.warning("this gateway's lease had ended: %s; others may answer its sessions now", why)
            self._lapsed()
