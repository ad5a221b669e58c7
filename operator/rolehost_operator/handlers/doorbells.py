"""kopf as a watcher, and nothing else: it tells what it saw, and writes nothing.

No finalizer, no annotation with a diff, no peering: `on.event` handlers alone make kopf
leave the objects as they are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import kopf

from rolehost_api.names import API_VERSION
from rolehost_operator.kube.access import access
from rolehost_operator.kube.client import Kind
from rolehost_operator.kube.tidings import Tidings, session
from rolehost_operator.kube.world import World
from rolehost_operator.observed import Key

FEW = (
    Kind("v1", "Namespace"),
    Kind(API_VERSION, "ModelBackend"),
    Kind("node.k8s.io/v1", "RuntimeClass"),
    Kind("networking.k8s.io/v1", "NetworkPolicy"),
    Kind("v1", "ServiceAccount"),
    Kind("policy/v1", "PodDisruptionBudget"),
)
"""Kinds of which a cluster has one for each tenant at most."""


class Backoffs:
    """Seconds between tries, for ever: kopf gives a watch up for good, and the process with it, where they end.

    >>> from itertools import islice
    >>> list(islice(Backoffs(), 8))
    [1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 10.0]
    """

    def __iter__(self) -> Iterator[float]:
        last, this = 0.0, 1.0
        while True:
            yield min(this, 10.0)
            last, this = this, min(last + this, 10.0)


def doorbells(
    world: World, ring: Callable[[Key], None], tidings: Tidings, listed: Callable[[str], None]
) -> kopf.OperatorRegistry:
    """A registry of handlers that keep `world` up to date and ring for whom a change concerns; `listed` hears of every
    listing of a kind."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return session(access(), tidings, listed)

    def hear(kind: Kind) -> Callable[..., Any]:
        async def heard(event: kopf.RawEvent, **_: Any) -> None:
            tidings.event(kind.plural)
            raw: dict[str, Any] = {**event["object"], "apiVersion": kind.api_version, "kind": kind.name}
            raw["metadata"] = dict(raw["metadata"])
            concerned = world.drop(raw) if event["type"] == "DELETED" else world.put(raw)
            for key in concerned:
                ring(key)

        return heard

    for kind in FEW:
        seen = kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"saw-{kind.plural}")
        seen(hear(kind))
    return registry


def settings(silence_seconds: float) -> kopf.OperatorSettings:
    """`silence_seconds`: a watch that brings not even a bookmark for so long is opened anew."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True  # reads of all CRDs; ours are waited for before kopf starts
    made.watching.server_timeout = 240
    made.watching.client_timeout = 300
    made.watching.connect_timeout = 10
    made.watching.inactivity_timeout = silence_seconds
    made.watching.reconnect_backoff = 1.0
    made.networking.error_backoffs = Backoffs()
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 10
    return made
