"""One pod's link: made while there is a reason for it, made again when it is lost, let go when nobody needs it.

A reason is duty (this gateway is the pod's binder, or steps in for it), or demand (a turn
or a reader of logs waits for it). All that wait share one attempt. A pod that is Ready
and could not be reached is tried until it is: in the meantime it takes no turn.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

from rolehost_api.errors import ProtocolViolation, RolehostError, Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link.attest import NotAttested
from rolehost_runtime.gateway.link.binder import on_duty
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.report import Known
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.2, 0.2, 0.2, 0.3, 0.3, 0.5, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Short at first: an agent listens a second or two after its pod was initialized, and somebody waits for it."""
IDLE_MS = 60_000
"""A link that is nobody's duty goes after so long without an open turn, a seat or a reader of logs."""

Rows = tuple[PodEntry | None, RoleEntry | None, RevisionEntry | None]


class Keeper:
    """Implements placement.Seat. `serve` is one link's whole life; `ring` says that something changed."""

    def __init__(
        self,
        pod: PodEntry,
        serve: "Serve",
        ring: Callable[[], None],
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
    ) -> None:
        self.pod = pod
        self.known = Known()
        self.link: Link | None = None
        """Stands: the pod said Bound on it."""
        self.duty = False
        self._serve, self._ring, self._backoff = serve, ring, backoff_seconds
        self._rows: Rows = (None, None, None)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._attempt: asyncio.Future[Link | None] | None = None
        self._demand = 0
        self._failures = 0
        self._unready_since_ms: int | None = None
        self._settled = False
        """It was bound over a link of ours since it was last seen not Ready."""
        self._used_ms = 0
        self._stopped = False

    # ── reasons ─────────────────────────────────────────────────────────────────────

    def look(self, pod: PodEntry, rows: Rows, rank: int | None, now_ms: int, *, congested: bool) -> None:
        """What is so now: the rows that a link is made of, this gateway's rank for the pod, and the time.

        While this gateway's own bundles wait for each other, so do those of its peers, and
        to step in for them would only send the same bytes twice: the wait begins again.
        """
        self.pod = pod
        if rows != self._rows:
            self._rows = rows
            self._woken.set()
        if pod.ready:
            self._unready_since_ms = None
        elif self._unready_since_ms is None:
            self._unready_since_ms, self._settled = now_ms, False
        elif congested and not self.duty:
            self._unready_since_ms = now_ms
        waits = self._unready_since_ms is not None and not self._settled
        waited_ms = now_ms - self._unready_since_ms if waits and self._unready_since_ms is not None else None
        self.duty = on_duty(rank, waited_ms=waited_ms) and not (pod.leaving or self.known.refused)
        self._let_go_if_idle(now_ms)
        if self._wanted():
            self._start()

    def _wanted(self) -> bool:
        if self.known.refused or self._stopped:
            return False
        sought = self._failures > 0 and self.pod.ready and not self.pod.leaving
        return self.duty or self._demand > 0 or sought

    def _let_go_if_idle(self, now_ms: int) -> None:
        if self.link is None or self.duty or self._demand or self.link.in_use():
            self._used_ms = now_ms
        elif now_ms - self._used_ms >= IDLE_MS:
            self.link.close()

    # ── the link ────────────────────────────────────────────────────────────────────

    async def reach(self) -> Link:
        """The link that stands, else the next attempt's, with all others that wait for it. Raises Unavailable."""
        if self.usable is not None:
            return self.usable
        self._demand += 1
        try:
            self._start()
            link = await asyncio.shield(self._awaited())
        finally:
            self._demand -= 1
        if link is None:
            raise Unavailable("the pod cannot be reached", code="pod_unreachable")
        return link

    @property
    def usable(self) -> Link | None:
        return self.link if self.link is not None and not self.link.closed else None

    @property
    def takes_turns(self) -> bool:
        """Its link serves; or it is Ready and nothing speaks against a link."""
        if self.pod.leaving:
            return False
        if (link := self.usable) is not None:
            return self.known.loaded and not link.draining
        return self.pod.ready and not self._failures and not self.known.refused

    def stands(self, link: Link, now_ms: int) -> None:
        self.link = link
        self.known.stood = self._settled = True
        self._used_ms = now_ms
        self._resolve(link)

    def lost(self, link: Link) -> None:
        if self.link is link:
            self.link = None

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep(), name=f"link-{self.pod.uid}")

    def stop(self) -> "asyncio.Task[None] | None":
        """The pod is gone, or the gateway goes. The task that ends now, for whoever waits for it."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._resolve(None)
        return self._task

    async def _keep(self) -> None:
        while self._wanted():
            self._woken.clear()
            self._failures = 0 if await self._try() else self._failures + 1
            self._resolve(None)
            self._ring()
            if self._wanted():
                await self._rest()
        self._resolve(None)

    async def _try(self) -> bool:
        """One link's life, or what kept it from having one. True: the next may be made at once."""
        pod, known = self.pod, self.known
        known.stood = False
        carried = known.carried
        sound = True
        try:
            await self._serve(self)
        except (OSError, TimeoutError, RolehostError) as error:
            code = error.code if isinstance(error, RolehostError) else "pod_unreachable"
            log.info("link to pod %s/%s ended: %s", pod.tenant.name, pod.name, code)
            sound = not isinstance(error, ProtocolViolation)
            if isinstance(error, NotAttested):
                known.error, known.loaded = error.fault, False
        except Exception as error:  # a bug of ours: this pod's link would be the last that anybody heard of it
            faults.internal(log, "keeping a link", error)
        # A pod that says again and again that it has no bundle gets it ever less often.
        again = known.carried > max(carried, 1)
        return known.stood and sound and not again

    async def _rest(self) -> None:
        """Before the next attempt; shorter where a row changed that a link is made of."""
        pause = self._backoff[min(self._failures, len(self._backoff) - 1)] * (0.5 + secrets.randbelow(1000) / 1000)
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            return

    def _awaited(self) -> "asyncio.Future[Link | None]":
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.get_running_loop().create_future()
        return self._attempt

    def _resolve(self, link: Link | None) -> None:
        if self._attempt is not None and not self._attempt.done():
            self._attempt.set_result(link)

    # ── placement.Seat ──────────────────────────────────────────────────────────────

    @property
    def pod_uid(self) -> str:
        return self.pod.uid

    def has(self, session_key: str) -> bool:
        return self.usable is not None and self.usable.has(session_key)

    def occupied(self) -> int:
        return self.usable.occupied() if self.usable is not None else 0


Serve = Callable[[Keeper], Awaitable[None]]
