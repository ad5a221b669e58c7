"""Words that the fault tests share."""

import json
from typing import Any

import yaml
from tests.integration.operator.conftest import GATEWAY_ADDRESS, PLATFORM, Cluster, eventually
from tests.support.apiserver import ApiServer

from rolehost_api.link.messages import Probe
from rolehost_api.names import LEASE
from rolehost_api.observed import HostFacts, PodReport

PROBE = Probe(gvisor=True, token=False, tried=("10.96.0.1:443", f"{GATEWAY_ADDRESS}:8080"))
HOST = HostFacts(runtime=True, account=True, image=True, apart=True, owned=True)
LEADS = "this operator leads"


def role(namespace: str, name: str = "cat", system: str = "You are a cat.") -> dict[str, Any]:
    return {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"persona": {"system": system}}},
    }


def create(api: ApiServer, *objects: dict[str, Any]) -> None:
    api.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def deployment_of(cluster: Cluster, namespace: str, name: str = "cat", sequence: int = 1) -> str:
    """Name of this revision's Deployment, empty while there is none."""
    for one in cluster.revisions(namespace):
        spec, found = one["spec"], one["metadata"]["name"]
        if (spec["roleName"], spec["sequence"]) == (name, sequence):
            return found if cluster.api.get("deployment", found, "-n", namespace) else ""
    return ""


def serve(cluster: Cluster, namespace: str, name: str = "cat", sequence: int = 1, seconds: float = 60) -> str:
    """Once the revision has its Deployment: the kubelet's part, and the gateway's word."""

    def made() -> str:
        return deployment_of(cluster, namespace, name, sequence)

    revision = str(eventually(made, f"a Deployment of {name} {sequence}", seconds))
    word(cluster, namespace, name, revision)
    return revision


def word(cluster: Cluster, namespace: str, name: str, revision: str) -> None:
    cluster.count_ready(namespace, revision)
    cluster.gateway.say(
        PodReport(
            uid=f"{namespace}-{revision}", name=f"{revision}-0", namespace=namespace, role=name, revision=revision,
            host=HOST, probe=PROBE, loaded=True,
        )
    )  # fmt: skip


def ready(cluster: Cluster, namespace: str, name: str = "cat", seconds: float = 60) -> None:
    eventually(lambda: cluster.reason(namespace, name) == "Serving", f"{namespace}/{name} Ready", seconds)


def events(cluster: Cluster, namespace: str, reason: str = "") -> list[dict[str, Any]]:
    return [one for one in cluster.api.items("events", "-n", namespace) if reason in ("", one["reason"])]


def without_lease(cluster: Cluster) -> None:
    """So that a test that is not about the Lease does not wait for it."""
    cluster.api.kubectl("delete", "lease", LEASE, "-n", PLATFORM, "--ignore-not-found")


def lease(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.api.get("lease", LEASE, "-n", PLATFORM)["spec"])


def merge(api: ApiServer, kind: str, name: str, namespace: str, patch: dict[str, Any]) -> None:
    api.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))
