"""Which pod takes a turn, and the wait for one.

A pod that is Ready takes turns whether this gateway has a link to it or not: the session's
own order decides, and where it falls on a pod without a link, one is made. A pod that
does not answer is passed over for the next in that order.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from rolehost_api.errors import Overloaded, Unavailable
from rolehost_runtime.gateway.link.bind import Verdicts
from rolehost_runtime.gateway.link.keeper import Keeper
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.placement import choose
from rolehost_runtime.gateway.tables import PodTable, RevisionEntry

REACH_SECONDS = 6.0
"""For one pod's link, before the turn looks at the next pod; a dial takes up to five."""


class Serving:
    def __init__(
        self, pods: PodTable, keepers: Mapping[str, Keeper], verdicts: Verdicts, gateways: Callable[[], int]
    ) -> None:
        """`gateways`: among how many of them a Role's sessions are spread."""
        self._pods, self._keepers, self._verdicts, self._gateways = pods, keepers, verdicts, gateways
        self._news = asyncio.Event()

    def ring(self) -> None:
        """Pods or links changed: wake whoever waits for one."""
        self._news.set()
        self._news = asyncio.Event()

    def seats(self, revision: RevisionEntry) -> list[Keeper]:
        """Pods of this revision that may take a turn; none where its row was changed under them."""
        if self._verdicts.fault(revision) is not None:
            return []
        pods = self._pods.of(revision.tenant, revision.name)
        return [keeper for pod in pods if (keeper := self._keepers.get(pod.uid)) is not None and keeper.takes_turns]

    async def link(self, revision: RevisionEntry, session_key: str, max_per_pod: int, wait_seconds: float) -> Link:
        """A link for the session's next turn. Raises Unavailable `no_pod_ready`, Overloaded `pods_full`."""
        try:
            async with asyncio.timeout(wait_seconds):
                return await self._link(revision, session_key, max_per_pod)
        except TimeoutError:
            raise Unavailable(
                "no pod of this Role is ready",
                hint="`kubectl describe rhr` says why; it may just be starting",
                code="no_pod_ready",
            ) from None

    async def _link(self, revision: RevisionEntry, session_key: str, max_per_pod: int) -> Link:
        tried: set[str] = set()
        while True:
            seats = [seat for seat in self.seats(revision) if seat.usable or seat.pod_uid not in tried]
            if not seats:
                await self._news.wait()
                tried.clear()
                continue
            seat = choose(session_key, seats, max_per_pod, self._gateways())
            if seat is None:
                raise Overloaded(
                    "every pod of this Role serves as many sessions as it may",
                    hint="Pods follow sessions within seconds, up to spec.scaling.maxReplicas; raise it, or spec.sessions.maxPerPod",
                    code="pods_full",
                )
            if (link := seat.usable) is not None:
                return link
            tried.add(seat.pod_uid)
            with suppress(Unavailable, TimeoutError):  # how full it is shows once the link stands
                async with asyncio.timeout(REACH_SECONDS):
                    await seat.reach()
