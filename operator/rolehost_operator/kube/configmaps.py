"""Watches ConfigMaps, in those tenant namespaces only where a Role refers to one.

Nobody may read ConfigMaps everywhere, the operator neither: its right to them comes with
each tenant's RoleBinding.
"""

import asyncio
import logging
from collections.abc import Callable

from rolehost_operator.kube.client import ApiError, Client
from rolehost_operator.kube.world import World
from rolehost_operator.observed import Key

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0


class ConfigMaps:
    def __init__(
        self, client: Client, world: World, ring: Callable[[Key], None], may_not: Callable[[str], None]
    ) -> None:
        self._client = client
        self._world = world
        self._ring = ring
        self._may_not = may_not
        self._watching: dict[str, asyncio.Task[None]] = {}

    def follow(self, namespaces: set[str]) -> None:
        """Watch in these and no others from now on."""
        for namespace in self._watching.keys() - namespaces:
            self._watching.pop(namespace).cancel()
            self._world.forget_config_maps(namespace)
        for namespace in namespaces:
            self.watch(namespace)

    def watch(self, namespace: str) -> None:
        if namespace not in self._watching:
            self._watching[namespace] = asyncio.create_task(self._keep(namespace), name=f"configmaps {namespace}")

    async def close(self) -> None:
        for task in self._watching.values():
            task.cancel()
        await asyncio.gather(*self._watching.values(), return_exceptions=True)

    async def _keep(self, namespace: str) -> None:
        while True:
            try:
                await self._list_and_watch(namespace)
            except ApiError as error:
                if error.http_status == 410:
                    continue  # too old: list again at once
                if error.no_right:
                    self._may_not(namespace)
                else:
                    log.warning("ConfigMaps cannot be watched: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _list_and_watch(self, namespace: str) -> None:
        listed, version = await self._client.list_all("v1", "ConfigMap", namespace)
        concerned = self._world.replace("ConfigMap", listed, version, namespace)
        first = namespace not in self._world.listed_config_maps
        self._world.listed_config_maps.add(namespace)
        if first:
            concerned |= {key for key in self._world.roles() if key[0] == namespace}
        self._tell(concerned)
        while True:
            async for event in self._client.watch("v1", "ConfigMap", namespace, version):
                raw = event["object"]
                if event["type"] == "ERROR":
                    raise ApiError(f"watch of ConfigMaps in {namespace}", int(raw.get("code") or 0), "ended")
                version = raw["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._tell(self._world.drop(raw))
                elif event["type"] in ("ADDED", "MODIFIED"):
                    self._tell(self._world.put(raw))

    def _tell(self, concerned: set[Key]) -> None:
        for key in concerned:
            self._ring(key)
