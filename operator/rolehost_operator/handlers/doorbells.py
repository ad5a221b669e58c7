"""kopf as a watcher, and nothing else: it tells what it saw, and writes nothing.

No finalizer, no annotation with a diff, no peering: `on.event` handlers alone make kopf
leave the objects as they are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import kopf

from rolehost_api.names import API_VERSION, BACKENDS, GROUP, REVISIONS, ROLES, VERSION
from rolehost_operator.kube.access import access
from rolehost_operator.kube.tidings import Tidings, session
from rolehost_operator.kube.world import World
from rolehost_operator.observed import Key

WATCHED = (
    ("", "v1", "namespaces", "v1", "Namespace"),
    (GROUP, VERSION, BACKENDS, API_VERSION, "ModelBackend"),
    ("node.k8s.io", "v1", "runtimeclasses", "node.k8s.io/v1", "RuntimeClass"),
    ("networking.k8s.io", "v1", "networkpolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    ("", "v1", "serviceaccounts", "v1", "ServiceAccount"),
    ("policy", "v1", "poddisruptionbudgets", "policy/v1", "PodDisruptionBudget"),
    ("apps", "v1", "deployments", "apps/v1", "Deployment"),
    (GROUP, VERSION, REVISIONS, API_VERSION, "RoleRevision"),
    (GROUP, VERSION, ROLES, API_VERSION, "Role"),
)
"""Group, version and plural for kopf; apiVersion and kind of the objects."""


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


def doorbells(world: World, ring: Callable[[Key], None], tidings: Tidings) -> kopf.OperatorRegistry:
    """A registry of handlers that keep `world` up to date and ring for whom a change concerns."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return session(access(), tidings)

    def hear(plural: str, api_version: str, kind: str) -> Callable[..., Any]:
        async def heard(event: kopf.RawEvent, **_: Any) -> None:
            tidings.event(plural)
            raw: dict[str, Any] = {**event["object"], "apiVersion": api_version, "kind": kind}
            raw["metadata"] = dict(raw["metadata"])
            concerned = world.drop(raw) if event["type"] == "DELETED" else world.put(raw)
            for key in concerned:
                ring(key)

        return heard

    for group, version, plural, api_version, kind in WATCHED:
        kopf.on.event(group, version, plural, registry=registry, id=f"saw-{plural}")(hear(plural, api_version, kind))
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
