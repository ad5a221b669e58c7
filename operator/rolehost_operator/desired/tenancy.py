"""What every tenant namespace holds before any pod.

No way out; an account that may nothing; what its pods are attested with, and what they
know the platform by; a bound on evictions.
"""

import base64
from functools import lru_cache
from typing import Any

from rolehost_api.link.attestation import namespace_key
from rolehost_api.names import (
    API_VERSION,
    COMPONENT,
    GATEWAY,
    LINK_PORT,
    LINK_SECRET,
    LINK_SECRET_KEY,
    MANAGED_BY,
    PLATFORM_KEYS,
    PLATFORM_KEYS_ENTRY,
    SANDBOX,
    SANDBOX_BUDGET,
    SANDBOX_POLICY,
    SANDBOX_SERVICE_ACCOUNT,
)
from rolehost_operator.objects import KubeObject, marked
from rolehost_operator.observed import Namespace
from rolehost_operator.platform import Platform

TENANTS = 256
"""Whose objects are kept as they were made last: every look at every Role asks for them."""
PART_OF = "app.kubernetes.io/part-of"
KEPT = {MANAGED_BY: "rolehost-operator", PART_OF: "rolehost"}


@lru_cache(TENANTS)
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


@lru_cache(TENANTS)
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


@lru_cache(TENANTS)
def link_secret(namespace: Namespace, platform: Platform) -> KubeObject:
    """The namespace's key, for the init containers of its sandbox pods and nobody else in it.

    Without the mark of what was applied, which would be a hash of the key.
    """
    key = namespace_key(platform.attestation_root, namespace.uid)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(LINK_SECRET, namespace.name),
        "type": "Opaque",
        "data": {LINK_SECRET_KEY: base64.b64encode(key).decode()},
    }


@lru_cache(TENANTS)
def platform_keys(namespace: str, platform: Platform) -> KubeObject:
    """The gateways' public keys, current and next. A mounted ConfigMap: pods learn a new one as they run."""
    return marked(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(PLATFORM_KEYS, namespace),
            "data": {PLATFORM_KEYS_ENTRY: "\n".join(platform.public_keys)},
        }
    )


@lru_cache(TENANTS)
def disruption_budget(namespace: str) -> KubeObject:
    """How many of a tenant's sandbox pods a drain of nodes may take away at the same time: 10 %, all Roles together.

    Kubernetes rounds up, so one can always go, and no budget holds a drain up for ever:

    - 1 to 10 pods: one at a time
    - 11 to 20 pods: two
    - 200 pods: twenty

    A pod that is not Ready serves nobody, so it may always be evicted. Rolling updates do
    not ask here: they add a pod before they take one away.
    """
    return marked(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(SANDBOX_BUDGET, namespace),
            "spec": {
                "selector": {"matchLabels": {COMPONENT: SANDBOX}},
                "maxUnavailable": "10%",
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }
    )


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    why = f"Kept by the {API_VERSION.split('/')[0]} operator; changes are undone."
    return {"name": name, "namespace": namespace, "labels": KEPT, "annotations": {"kubernetes.io/description": why}}
