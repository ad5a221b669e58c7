"""One kind, listed page by page and watched from there on.

For kinds of which there are as many as Roles, and for what may be read in single namespaces only. The others are kopf's,
which lists without pages, and keeps a task of some seconds and a memory for every object: at 500 Roles that was 40 % of
the operator's CPU.
"""

import asyncio
import logging
from collections.abc import Callable

from rolehost_operator.kube.client import ApiError, Client, Kind
from rolehost_operator.kube.tidings import Tidings
from rolehost_operator.kube.world import World, place_of
from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Key

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LONGEST_RETRY = 10.0


class Watch:
    def __init__(
        self,
        client: Client,
        world: World,
        ring: Callable[[Key], None],
        kind: Kind,
        tidings: Tidings,
        namespace: str = "",
    ) -> None:
        self._client, self._world, self._ring = client, world, ring
        self._kind, self._tidings, self._namespace = kind, tidings, namespace
        self._version = ""
        """What was seen last; empty where that cannot be gone on from."""

    async def list(self) -> None:
        """See all of them; what is not there any more goes. Raises ApiError: what was seen until then stays seen."""
        seen: set[Key] = set()

        def see(raw: KubeObject) -> None:
            seen.add(place_of(raw))
            self._tell(self._world.put(raw))

        version = await self._client.list_each(self._kind.api_version, self._kind.name, see, self._namespace)
        self._tell(self._world.sweep(self._kind.name, seen, version, self._namespace))
        self._version = self._version or version

    async def follow(self) -> None:
        """See what happens, for ever; from a listing on where none was seen yet, or the place in the stream is lost.
        Raises ApiError; called again it goes on where it was."""
        while True:
            if not self._version:
                await self.list()
                self._tidings.answered(self._kind.plural, watch=False, good=True)
            began = asyncio.get_running_loop().time()
            try:
                await self._watch()
            except ApiError as error:
                if error.http_status != 410:
                    raise
                self._version = ""
            # An apiserver that is about to stop ends each at once.
            await asyncio.sleep(began + RETRY_SECONDS - asyncio.get_running_loop().time())

    async def keep(self) -> None:
        """Follow, whatever the apiserver says."""
        pause = RETRY_SECONDS
        while True:
            before = self._version
            try:
                await self.follow()
            except ApiError as error:
                self._tidings.answered(self._kind.plural, watch=True, good=False)
                log.warning("%s cannot be watched: %s", self._kind.plural, error)
            pause = min(2 * pause, LONGEST_RETRY) if self._version == before else RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _watch(self) -> None:
        """Until the apiserver ends it. Raises ApiError."""
        kind = self._kind
        async for event in self._client.watch(
            kind.api_version, kind.name, self._namespace, self._version, self._opened
        ):
            raw = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(f"watch of {kind.plural}", int(raw.get("code") or 0), "ended")
            self._tidings.event(kind.plural)
            if event["type"] == "DELETED":
                self._tell(self._world.drop(raw))
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._tell(self._world.put(raw))
            self._version = str(raw["metadata"]["resourceVersion"])

    def _opened(self) -> None:
        self._tidings.answered(self._kind.plural, watch=True, good=True)

    def _tell(self, concerned: set[Key]) -> None:
        for key in concerned:
            self._ring(key)
