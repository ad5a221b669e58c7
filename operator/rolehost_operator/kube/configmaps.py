"""Watches ConfigMaps, in those tenant namespaces only where a Role refers to one.

Nobody may read ConfigMaps everywhere, the operator neither: its right to them comes with
each tenant's RoleBinding.
"""

import asyncio
import logging
from collections.abc import Callable

from rolehost_operator.kube.client import ApiError, Client, Kind
from rolehost_operator.kube.tidings import Tidings
from rolehost_operator.kube.watch import Watch
from rolehost_operator.kube.world import World
from rolehost_operator.observed import Key

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
CONFIG_MAPS = Kind("v1", "ConfigMap")
UNTOLD = Tidings(())


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
        watch = Watch(self._client, self._world, self._ring, CONFIG_MAPS, UNTOLD, namespace)
        while True:
            try:
                await watch.list()
                self._listed(namespace)
                await watch.follow()
            except ApiError as error:
                if error.no_right:
                    self._may_not(namespace)
                else:
                    log.warning("ConfigMaps cannot be watched: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def _listed(self, namespace: str) -> None:
        if namespace in self._world.listed_config_maps:
            return
        self._world.listed_config_maps.add(namespace)
        for key in self._world.roles():
            if key[0] == namespace:
                self._ring(key)
