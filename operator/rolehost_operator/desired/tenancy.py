"""What every tenant namespace holds before any pod: no way out, and an account that may nothing."""

from typing import Any

from rolehost_api.names import (
    API_VERSION,
    COMPONENT,
    GATEWAY,
    LINK_PORT,
    MANAGED_BY,
    SANDBOX,
    SANDBOX_POLICY,
    SANDBOX_SERVICE_ACCOUNT,
)
from rolehost_operator.objects import KubeObject, marked
from rolehost_operator.platform import Platform

PART_OF = "app.kubernetes.io/part-of"
KEPT = {MANAGED_BY: "rolehost-operator", PART_OF: "rolehost"}


def network_policy(namespace: str, platform: Platform) -> KubeObject:
    """Deny sandbox pods all traffic except the gateway's connections in.

    Every effect (model call, state) travels back over the link that the gateway opened,
    so the pod needs no way out: no egress rule, not even DNS, since a resolver is a way
    out too. A gateway is told by its namespace and its label: either alone could be had
    by a tenant.
    """
    gateways = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": platform.namespace}},
        "podSelector": {"matchLabels": {COMPONENT: GATEWAY}},
    }
    return marked(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(SANDBOX_POLICY, namespace),
            "spec": {
                "podSelector": {"matchLabels": {COMPONENT: SANDBOX}},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [gateways], "ports": [{"port": LINK_PORT, "protocol": "TCP"}]}],
                "egress": [],
            },
        }
    )


def service_account(namespace: str) -> KubeObject:
    """The account of sandbox pods: no rights, and its token is mounted nowhere."""
    return marked(
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": _metadata(SANDBOX_SERVICE_ACCOUNT, namespace),
            "automountServiceAccountToken": False,
        }
    )


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    why = f"Kept by the {API_VERSION.split('/')[0]} operator; changes are undone."
    return {"name": name, "namespace": namespace, "labels": KEPT, "annotations": {"kubernetes.io/description": why}}
