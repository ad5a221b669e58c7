"""The Deployment of a revision's sandbox pods."""

from typing import Any

from rolehost_api.crd.role import RoleSpec
from rolehost_api.names import (
    COMPONENT,
    HEALTH_PORT,
    LINK_PORT,
    REVISION,
    ROLE,
    RUNTIME_CLASS,
    SANDBOX,
    SANDBOX_SERVICE_ACCOUNT,
)
from rolehost_operator.desired.budget import budget
from rolehost_operator.desired.tenancy import KEPT
from rolehost_operator.objects import KubeObject, cpu, marked, mebibytes, owned_by
from rolehost_operator.observed import RevisionSeen
from rolehost_operator.platform import Platform

USER = 65532
PROGRESS_DEADLINE_SECONDS = 120
GRACE_SECONDS = 30
"""On top of a turn's time, before a pod that was told to end is killed."""
DRAIN_SECONDS = 20
"""On top of a turn's time, for open turns; the rest of the grace is for its processes to end."""


def deployment(revision: RevisionSeen, role: RoleSpec, platform: Platform) -> KubeObject:
    """Pods that run one revision under gVisor, with nothing to steal and nowhere to go.

    The runtime image is the platform's and not hashed: another image is a rolling update
    of the same revision. Generic until a gateway binds them, they are Ready only when the
    logic is loaded, so a Deployment that is not available says that it does not load.
    """
    name = revision.meta.name
    labels = {
        **KEPT,
        "app.kubernetes.io/name": "rolehost-sandbox",
        "app.kubernetes.io/instance": revision.spec.role_name,
        COMPONENT: SANDBOX,
        ROLE: revision.spec.role_name,
        REVISION: name,
    }
    return marked(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": revision.meta.namespace,
                "labels": labels,
                "ownerReferences": [owned_by(revision.raw)],
            },
            "spec": {
                "replicas": role.scaling.replicas,
                "selector": {"matchLabels": {REVISION: name}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
                "revisionHistoryLimit": 1,
                "template": {"metadata": {"labels": labels}, "spec": _pod(revision, role, platform)},
            },
        }
    )


def _pod(revision: RevisionSeen, role: RoleSpec, platform: Platform) -> dict[str, Any]:
    share = budget(revision.spec.template.resources.memory_mebibytes)
    return {
        "runtimeClassName": RUNTIME_CLASS,
        "serviceAccountName": SANDBOX_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # No resolver: names are a way out too. Something must be given; nothing listens there.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": role.sessions.turn_timeout_seconds + GRACE_SECONDS,
        "containers": [_container(revision, role, platform)],
        "volumes": [
            # The one place that a pod can write.
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(share.scratch)}},
        ],
    }


def _container(revision: RevisionSeen, role: RoleSpec, platform: Platform) -> dict[str, Any]:
    resources = revision.spec.template.resources
    share = budget(resources.memory_mebibytes)
    return {
        "name": SANDBOX,
        "image": platform.sandbox_image,
        "imagePullPolicy": platform.image_pull_policy,
        "command": [
            *("python", "-m", "rolehost_runtime.sandbox"),
            *("--listen", f"0.0.0.0:{LINK_PORT}", "--health", f"0.0.0.0:{HEALTH_PORT}"),
        ],
        "env": [
            {
                "name": "ROLEHOST_POD_UID",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}},
            },
            {"name": "ROLEHOST_DRAIN_SECONDS", "value": str(role.sessions.turn_timeout_seconds + DRAIN_SECONDS)},
            {"name": "ROLEHOST_WORKER_MEMORY_MIB", "value": str(share.worker)},
            {"name": "ROLEHOST_STATES_MIB", "value": str(share.states)},
            *_variables(
                ROLEHOST_PLATFORM_KEYS=platform.public_keys,
                ROLEHOST_PROBE_TARGETS=(*platform.probe_targets, *platform.gateway_targets),
            ),
        ],
        "ports": [
            {"name": "link", "containerPort": LINK_PORT, "protocol": "TCP"},
            {"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": "/live", "port": HEALTH_PORT, "scheme": "HTTP"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "resources": {
            "requests": {"cpu": cpu(50), "memory": mebibytes(128)},
            "limits": {"cpu": cpu(resources.cpu_milli), "memory": mebibytes(resources.memory_mebibytes)},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108
    }


def _variables(**lists: tuple[str, ...]) -> list[dict[str, str]]:
    """Lists as variables; an empty one is left out, as the apiserver would drop its value."""
    return [{"name": name, "value": ",".join(values)} for name, values in lists.items() if values]
