"""Who waits for a turn to roll, and the bell for the next ones when there is room."""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from rolehost_operator.observed import Key
from rolehost_operator.telemetry import Metrics
from rolehost_operator.waves import Wave

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class Upgrades:
    """A ring is an offer, not a turn: whoever cannot take it (no rights there, say) holds nobody up."""

    def __init__(self, look: Callable[[], Wave], ring: Callable[[Key], None], metrics: Metrics) -> None:
        self._look = look
        self._ring = ring
        self._metrics = metrics
        self._halted = False
        self._leading = False
        self.waiting: dict[Key, None] = {}
        """Roles in the order in which they were last told to wait."""

    def lead(self, leading: bool) -> None:
        """Who stands by offers nothing and measures nothing; who begins to lead will be told who waits."""
        self._leading, self._halted = leading, False
        self.waiting.clear()
        self._measure(Wave(room=0, rolling=0, halted=False))

    async def keep(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._leading:
                self.offer()

    def offer(self) -> None:
        """Ring for as many as there is room for, and for all when the upgrade stops or goes on."""
        wave = self._look()
        self._measure(wave)
        if wave.halted != self._halted:
            self._halted = wave.halted
            self._tell(wave)
            for key in tuple(self.waiting):
                self._ring(key)
            return
        for key in tuple(islice(self.waiting, wave.room)):
            del self.waiting[key]
            self.waiting[key] = None
            self._ring(key)

    def _measure(self, wave: Wave) -> None:
        self._metrics.upgrade_waiting.set(len(self.waiting))
        self._metrics.upgrade_rolling.set(wave.rolling)
        self._metrics.upgrade_halted.set(wave.halted)

    def _tell(self, wave: Wave) -> None:
        if wave.halted:
            log.error(
                "the upgrade of sandboxes stopped: a Deployment's new pods do not come up while its earlier ones are "
                "Ready. `kubectl get rhr -A` shows the Role with RuntimeDrift=True, reason UpgradeStuck; %d wait",
                len(self.waiting),
            )
        else:
            log.info("the upgrade of sandboxes goes on; %d Roles wait", len(self.waiting))
