"""All watches of a gateway, put together."""

import asyncio
import logging
from typing import Any

from rolehost_api import names
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.revision import RoleRevision
from rolehost_api.crd.role import Role
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.tables import Tables
from rolehost_runtime.gateway.watch.api import Api
from rolehost_runtime.gateway.watch.filler import Filler
from rolehost_runtime.gateway.watch.listwatch import ListWatch
from rolehost_runtime.gateway.watch.views import ConfigMapView, NamespaceView, PodView

log = logging.getLogger(__name__)

OURS = f"/apis/{names.API_VERSION}"


class ClusterFeed:
    """Keeps `tables` true for as long as it runs. Implements app.Feed."""

    def __init__(
        self, api: Api, tables: Tables, metrics: Metrics, *, sandbox_images: frozenset[str], namespace: str
    ) -> None:
        filler = Filler(tables, sandbox_images, lambda key_id: log.warning("skipped key %s: it cannot be read", key_id))
        keys = f"/api/v1/namespaces/{namespace}/configmaps"
        gateways = f"/api/v1/namespaces/{namespace}/pods"
        self._watches: list[ListWatch[Any]] = [
            ListWatch(api, "/api/v1/namespaces", NamespaceView, filler.namespaces, metrics, labels=names.TENANT),
            ListWatch(api, f"{OURS}/{names.ROLES}", Role, filler.roles, metrics),
            ListWatch(api, f"{OURS}/{names.REVISIONS}", RoleRevision, filler.revisions, metrics),
            ListWatch(api, "/api/v1/pods", PodView, filler.pods, metrics, labels=names.REVISION),
            ListWatch(api, f"{OURS}/{names.BACKENDS}", ModelBackend, filler.backends, metrics),
            ListWatch(api, gateways, PodView, filler.gateways, metrics, labels=f"{names.COMPONENT}={names.GATEWAY}"),
            ListWatch(api, keys, ConfigMapView, filler.keys, metrics, fields=f"metadata.name={names.KEYS}"),
        ]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())
