"""All watches of a gateway, put together."""

import asyncio
import logging
from typing import Any

from rolehost_api import names
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.revision import RoleRevision
from rolehost_api.crd.role import Role
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Place
from rolehost_runtime.gateway.tables import KINDS, Tables
from rolehost_runtime.gateway.watch.api import Api
from rolehost_runtime.gateway.watch.filler import Filler
from rolehost_runtime.gateway.watch.listwatch import READ_SECONDS, ListWatch, Sink
from rolehost_runtime.gateway.watch.views import ConfigMapView, NamespaceView, PodView

log = logging.getLogger(__name__)

OURS = f"/apis/{names.API_VERSION}"


class ClusterFeed:
    """Keeps `tables` true for as long as it runs. Implements app.Feed."""

    def __init__(
        self,
        api: Api,
        tables: Tables,
        metrics: Metrics,
        *,
        namespace: str,
        silence_seconds: float = READ_SECONDS,
    ) -> None:
        filler = Filler(tables, lambda key_id: log.warning("skipped key %s: it cannot be read", key_id))
        maps = f"/api/v1/namespaces/{namespace}/configmaps"
        gateways = f"/api/v1/namespaces/{namespace}/pods"

        def watch(path: str, kind: type[Any], sink: Sink[Any], **given: str) -> ListWatch[Any]:
            return ListWatch(api, path, kind, sink, metrics, read_seconds=silence_seconds, **given)  # type: ignore[arg-type]

        self._watches: list[ListWatch[Any]] = [  # in the order of KINDS
            watch("/api/v1/namespaces", NamespaceView, filler.namespaces, labels=names.TENANT),
            watch(maps, ConfigMapView, filler.images, fields=f"metadata.name={names.TRUSTED_IMAGES}", name="images"),
            watch(f"{OURS}/{names.ROLES}", Role, filler.roles),
            watch(f"{OURS}/{names.REVISIONS}", RoleRevision, filler.revisions),
            watch("/api/v1/pods", PodView, filler.pods, labels=names.REVISION),
            watch(f"{OURS}/{names.BACKENDS}", ModelBackend, filler.backends),
            watch(gateways, PodView, filler.gateways, labels=f"{names.COMPONENT}={names.GATEWAY}", name="gateways"),
            watch(maps, ConfigMapView, filler.keys, fields=f"metadata.name={names.KEYS}"),
        ]

    def places(self, now_ms: int) -> dict[str, Place]:
        """How new each table is. Implements lastgood.Places."""
        known = {kind: watch.place for kind, watch in zip(KINDS, self._watches, strict=True)}
        tenants = known["tenants"]
        if tenants is None:
            return {}
        return {
            kind: Place(place[0], tenants[0], now_ms - int(1000 * max(place[1], tenants[1])))
            for kind, place in known.items()
            if place is not None
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())
