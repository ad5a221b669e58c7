"""The Deployment of a revision's sandbox pods."""

import copy
import hashlib
import json
from functools import lru_cache
from typing import Any

from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import RoleSpec, RoleTemplate
from rolehost_api.names import (
    COMPONENT,
    EXTERNAL,
    HEALTH_PORT,
    LINK_PORT,
    LINK_SECRET,
    LINK_SECRET_KEY,
    PLATFORM_KEYS,
    REPLICAS,
    REVISION,
    ROLE,
    RUNTIME_CLASS,
    SANDBOX,
    SANDBOX_SERVICE_ACCOUNT,
)
from rolehost_operator.desired.budget import budget
from rolehost_operator.desired.tenancy import KEPT
from rolehost_operator.objects import APPLIED, RUNTIME, KubeObject, cpu, marked, mebibytes, owned_by
from rolehost_operator.observed import DeploymentSeen, RevisionSeen
from rolehost_operator.platform import Platform

DRAIN = "ROLEHOST_DRAIN_SECONDS"
USER = 65532
PROGRESS_DEADLINE_SECONDS = 120
GRACE_SECONDS = 30
"""On top of a turn's time, before a pod that was told to end is killed."""
LINK_FOLDER, IDENTITY_FOLDER, KEYS_FOLDER = (
    f"/etc/rolehost/{name}" for name in ("namespace", "identity", "platform-keys")
)
"""Where the namespace's key, what the pod is known by, and the gateways' public keys are mounted."""
ATTEST_MEMORY = 128
"""MiB: of an init container that is gone when the pod's own begins."""
DRAIN_SECONDS = 20
"""On top of a turn's time, for open turns; the rest of the grace is for its processes to end."""


def deployment(revision: RevisionSeen, role: RoleSpec, platform: Platform, replicas: int | None) -> KubeObject:
    """Pods that run one revision under gVisor, with nothing to steal and nowhere to go.

    The runtime image is the platform's and not hashed: another image is a rolling update
    of the same revision. Generic until a gateway binds them, they are Ready only when the
    logic is loaded, so a Deployment that is not available says that it does not load.
    `replicas` None leaves their number to an autoscaler; a new Deployment begins with one then.
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
    made = marked(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": name,
                "namespace": revision.meta.namespace,
                "labels": labels,
                "ownerReferences": [owned_by(revision.raw)],
                **({"annotations": {REPLICAS: EXTERNAL}} if replicas is None else {}),
            },
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "selector": {"matchLabels": {REVISION: name}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "progressDeadlineSeconds": PROGRESS_DEADLINE_SECONDS,
                "revisionHistoryLimit": 1,
                "template": {"metadata": {"labels": labels}, "spec": _pod(revision, role, platform)},
            },
        }
    )
    return _of_runtime(made, runtime_mark(platform))


def _of_runtime(made: KubeObject, mark: str) -> KubeObject:
    metadata = made["metadata"]
    annotations = {**metadata["annotations"], **({RUNTIME: mark} if mark else {})}
    return {**made, "metadata": {**metadata, "annotations": annotations}}


@lru_cache(maxsize=8)
def runtime_mark(platform: Platform) -> str:
    """A mark of all that the platform, this operator's version included, puts into a pod, whatever the Role.

    Where a Deployment carries another one, applying ours would replace its pods for a reason
    that is the platform's.
    """
    meta = ObjectMeta(name="reference", namespace="reference", uid="reference")
    template = RoleTemplate()
    spec = RevisionSpec(role_name="reference", sequence=1, hash_version=1, hash="0" * 64, template=template)
    pod = _pod(RevisionSeen({}, meta, spec), RoleSpec(template=template), platform)
    return hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()[:16]


def as_it_runs(wanted: KubeObject, actual: DeploymentSeen) -> KubeObject:
    """`wanted`, but with the pods that `actual` has: of their template only what the tenant decides is new."""
    template = copy.deepcopy(actual.raw["spec"]["template"])
    template["metadata"].pop("creationTimestamp", None)
    pod, new = template["spec"], wanted["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = new["terminationGracePeriodSeconds"]
    for container in pod["containers"]:
        for variable in container.get("env", []):
            if variable["name"] == DRAIN:
                variable["value"] = next(one["value"] for one in new["containers"][0]["env"] if one["name"] == DRAIN)
    metadata = wanted["metadata"]
    kept = {key: value for key, value in metadata["annotations"].items() if key not in (APPLIED, RUNTIME)}
    made = {
        **wanted,
        "metadata": {**metadata, "annotations": kept},
        "spec": {**wanted["spec"], "template": template},
    }
    return _of_runtime(marked(made), actual.standing.runtime)


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
        "initContainers": [_attest(revision, platform)],
        "containers": [_container(revision, role, platform)],
        "volumes": [
            # The one place that a pod can write.
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(share.scratch)}},
            {"name": "identity", "emptyDir": {"medium": "Memory", "sizeLimit": mebibytes(1)}},
            {"name": "namespace-key", "secret": {"secretName": LINK_SECRET}},
            {"name": "platform-keys", "configMap": {"name": PLATFORM_KEYS}},
            # Laid over /dev/shm, read-only: what is written there is memory that no limit of ours counts.
            {"name": "nothing", "emptyDir": {}},
        ],
    }


def _attest(revision: RevisionSeen, platform: Platform) -> dict[str, Any]:
    """Makes the pod's certificate and vouches for it with the namespace's key. Nothing else mounts that key,
    and no byte of the tenant's is in the pod yet.
    """
    return {
        "name": "attest",
        "image": platform.sandbox_image,
        "imagePullPolicy": platform.image_pull_policy,
        "command": ["python", "-m", "rolehost_runtime.sandbox.attest"],
        "env": [
            _POD_UID,
            {"name": "ROLEHOST_NAMESPACE_KEY_FILE", "value": f"{LINK_FOLDER}/{LINK_SECRET_KEY}"},
            {"name": "ROLEHOST_IDENTITY_DIR", "value": IDENTITY_FOLDER},
        ],
        "resources": {
            "requests": {"cpu": cpu(50), "memory": mebibytes(ATTEST_MEMORY)},
            "limits": {
                "cpu": cpu(revision.spec.template.resources.cpu_milli),
                "memory": mebibytes(ATTEST_MEMORY),
            },
        },
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            {"name": "namespace-key", "mountPath": LINK_FOLDER, "readOnly": True},
            {"name": "identity", "mountPath": IDENTITY_FOLDER},
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
            _POD_UID,
            {"name": "ROLEHOST_IDENTITY_DIR", "value": IDENTITY_FOLDER},
            {"name": "ROLEHOST_PLATFORM_KEYS_DIR", "value": KEYS_FOLDER},
            {"name": DRAIN, "value": str(role.sessions.turn_timeout_seconds + DRAIN_SECONDS)},
            {"name": "ROLEHOST_WORKER_MEMORY_MIB", "value": str(share.worker)},
            {"name": "ROLEHOST_STATES_MIB", "value": str(share.states)},
            *_variables(ROLEHOST_PROBE_TARGETS=(*platform.probe_targets, *platform.gateway_targets)),
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
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108
            {"name": "identity", "mountPath": IDENTITY_FOLDER, "readOnly": True},
            {"name": "platform-keys", "mountPath": KEYS_FOLDER, "readOnly": True},
            {"name": "nothing", "mountPath": "/dev/shm", "readOnly": True},  # noqa: S108
        ],
    }


_POD_UID = {
    "name": "ROLEHOST_POD_UID",
    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}},
}
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _variables(**lists: tuple[str, ...]) -> list[dict[str, str]]:
    """Lists as variables; an empty one is left out, as the apiserver would drop its value."""
    return [{"name": name, "value": ",".join(values)} for name, values in lists.items() if values]
