"""Which pod takes a turn, and the wait for one.

A pod that is Ready takes turns whether this gateway has a link to it or not: the session's
way round its revision's ring decides, and where it falls on a pod without a link, one is made.
A pod that does not answer, or drains, is passed over for the next on that way.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from rolehost_api.errors import Overloaded, Unavailable
from rolehost_runtime.core.routes import Routes
from rolehost_runtime.gateway.link.bind import Verdicts
from rolehost_runtime.gateway.link.keeper import Keeper
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.placement import choose
from rolehost_runtime.gateway.link.rings import Rings
from rolehost_runtime.gateway.tables import PodTable, RevisionEntry

REACH_SECONDS = 6.0
"""For one pod's link, before the turn looks at the next pod; a dial takes up to five."""


class Serving:
    def __init__(
        self,
        pods: PodTable,
        keepers: Mapping[str, Keeper],
        verdicts: Verdicts,
        gateways: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        """`gateways`: among how many of them a Role's sessions are spread."""
        self._pods, self._keepers, self._verdicts, self._gateways = pods, keepers, verdicts, gateways
        self._now_ms = now_ms
        self._rings = Rings()
        self._routes: Routes[str] = Routes()
        """By session: the pod that its last turn went to."""
        self._news = asyncio.Event()

    def ring(self) -> None:
        """Pods or links changed: wake whoever waits for one."""
        self._news.set()
        self._news = asyncio.Event()

    def seats(self, revision: RevisionEntry) -> dict[str, Keeper]:
        """Pods of this revision that may take a turn, by UID; none where its row was changed under them."""
        if self._verdicts.fault(revision) is not None:
            return {}
        pods = self._pods.of(revision.tenant, revision.name)
        keepers = ((pod.uid, self._keepers.get(pod.uid)) for pod in pods)
        return {uid: keeper for uid, keeper in keepers if keeper is not None and keeper.takes_turns}

    def _routed(self, revision: RevisionEntry, session_key: str) -> Link | None:
        """Where the session's last turn went, if it still sits there: most turns look at no other pod."""
        uid = self._routes.get(session_key, now_ms=self._now_ms())
        keeper = self._keepers.get(uid) if uid is not None else None
        if keeper is None:
            return None
        serves = (keeper.pod.tenant, keeper.pod.revision) == (revision.tenant, revision.name)
        if serves and keeper.takes_turns and keeper.has(session_key) and self._verdicts.fault(revision) is None:
            return keeper.usable
        self._routes.drop(session_key)
        return None

    def _placed(
        self, revision: RevisionEntry, session_key: str, seats: Mapping[str, Keeper], max_per_pod: int
    ) -> Keeper | None:
        pods = {pod.uid for pod in self._pods.of(revision.tenant, revision.name)}
        ring = self._rings.of((revision.tenant.uid, revision.name), pods)
        return choose(session_key, ring, seats, max_per_pod, self._gateways())

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
        if (link := self._routed(revision, session_key)) is not None:
            return link
        tried: set[str] = set()
        while True:
            seats = {uid: seat for uid, seat in self.seats(revision).items() if seat.usable or uid not in tried}
            if not seats:
                await self._news.wait()
                tried.clear()
                continue
            seat = self._placed(revision, session_key, seats, max_per_pod)
            if seat is None:
                raise Overloaded(
                    "every pod of this Role serves as many sessions as it may",
                    hint="Pods follow sessions within seconds, up to spec.scaling.maxReplicas; raise it, or spec.sessions.maxPerPod",
                    code="pods_full",
                )
            if (link := seat.usable) is not None:
                self._routes.put(session_key, seat.pod_uid, now_ms=self._now_ms())
                return link
            tried.add(seat.pod_uid)
            with suppress(Unavailable, TimeoutError):  # how full it is shows once the link stands
                async with asyncio.timeout(REACH_SECONDS):
                    await seat.reach()
