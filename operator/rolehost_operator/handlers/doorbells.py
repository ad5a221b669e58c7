"""kopf as a watcher, and nothing else: it tells what it saw, and writes nothing.

No finalizer, no annotation with a diff, no peering: `on.event` handlers alone make kopf
leave the objects as they are.
"""

from collections.abc import Callable
from typing import Any

import kopf

from rolehost_api.names import API_VERSION, BACKENDS, GROUP, REVISIONS, ROLES, VERSION
from rolehost_operator.kube.access import access
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


def doorbells(world: World, ring: Callable[[Key], None]) -> kopf.OperatorRegistry:
    """A registry of handlers that keep `world` up to date and ring for whom a change concerns."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return access()

    def hear(api_version: str, kind: str) -> Callable[..., Any]:
        async def heard(event: kopf.RawEvent, **_: Any) -> None:
            raw: dict[str, Any] = {**event["object"], "apiVersion": api_version, "kind": kind}
            raw["metadata"] = dict(raw["metadata"])
            concerned = world.drop(raw) if event["type"] == "DELETED" else world.put(raw)
            for key in concerned:
                ring(key)

        return heard

    for group, version, plural, api_version, kind in WATCHED:
        kopf.on.event(group, version, plural, registry=registry, id=f"saw-{plural}")(hear(api_version, kind))
    return registry


def settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True  # reads of all CRDs; ours are waited for before kopf starts
    made.watching.server_timeout = 240
    made.watching.client_timeout = 300
    made.watching.connect_timeout = 10
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 10
    return made
