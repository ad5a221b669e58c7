"""One frozen picture of everything that a decision about one Role depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import RoleSpec, RoleStatus
from rolehost_api.crd.rollout import Counts
from rolehost_api.names import REVISION
from rolehost_api.observed import PodReport
from rolehost_operator.desired.replicas import Ebb
from rolehost_operator.objects import RUNTIME, KubeObject
from rolehost_operator.platform import Platform
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.waves import Standing

Key = tuple[str, str]
"""Namespace and name of a Role."""


@dataclass(frozen=True, slots=True)
class RoleSeen:
    """A Role: as it was declared, and as our types read it."""

    raw: KubeObject
    meta: ObjectMeta
    status: RoleStatus
    spec: RoleSpec | None
    invalid: str = ""
    """Why there is no spec: the field and the type, never the value."""


@dataclass(frozen=True, slots=True)
class RevisionSeen:
    raw: KubeObject
    meta: ObjectMeta
    spec: RevisionSpec


@dataclass(frozen=True, slots=True)
class DeploymentSeen:
    raw: KubeObject
    meta: ObjectMeta
    revision: str
    ready: int
    """Pods that are Ready: bound, with their logic loaded."""
    failing: str
    """Kubernetes' own words where it cannot make the pods; empty where it can."""
    replicas: int = 1
    """As declared."""
    image: str = ""
    """That its pods are to run."""
    standing: Standing = field(default_factory=Standing)


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    uid: str
    tenant: bool
    leaving: bool = False
    """It is being deleted with all that is in it; nothing can be made there any more."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest evidence: its own time, by Prometheus' clock, and since when it is the newest, by the operator's."""

    at: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """What gateways say of one rollout, over all of them."""

    counts: Counts = field(default_factory=Counts)
    breaker: bool = False
    """One of them stopped giving the new revision sessions."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision needs to know of the last one and no object says. Lost with the process:
    then the waiting begins again.
    """

    waiting_since: datetime | None = None
    """Since when the Role is on its way to Ready."""
    retired_since: Mapping[str, datetime] = field(default_factory=dict)
    """Since when a revision that has pods is neither the latest nor the stable one."""
    ebbs: Mapping[str, Ebb] = field(default_factory=dict)
    """Revisions that could do with fewer pods."""
    drift_told: Mapping[str, datetime] = field(default_factory=dict)
    """When it was last told that an object was put back."""
    evidence: Heard | None = None


FRESH = Memory()


@dataclass(frozen=True, slots=True)
class Observed:
    role: RoleSeen
    namespace: Namespace
    platform: Platform
    revisions: tuple[RevisionSeen, ...] = ()
    deployments: tuple[DeploymentSeen, ...] = ()
    network_policy: KubeObject | None = None
    service_account: KubeObject | None = None
    link_secret: KubeObject | None = field(default=None, repr=False)
    platform_keys: KubeObject | None = None
    """ConfigMap rolehost-platform-keys."""
    disruption_budget: KubeObject | None = None
    runtime_class: bool = False
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Contents of those that the Role refers to; one that does not exist is missing here."""
    backends: Mapping[str, BackendSpec] = field(default_factory=dict)
    gateways: int = 0
    """How many of them report."""
    listening: bool = False
    """One of them says that clients can connect to it."""
    pods: tuple[PodReport, ...] = ()
    """What they say of this Role's pods."""
    idle_since: Mapping[str, datetime] = field(default_factory=dict)
    """Since when every gateway reports no session on a revision; missing: there are some, or who knows."""
    sessions: Mapping[str, int] = field(default_factory=dict)
    """On each revision, over all gateways; missing: not every gateway says."""
    rollouts: Mapping[str, Told] = field(default_factory=dict)
    """By rollout's id: what gateways say of this Role's."""
    warmed: Mapping[str, int] = field(default_factory=dict)
    """By rollout's id: how many gateways say that they are done warming what is new."""
    expected: int = 0
    """Gateways that there are, whether they report or not."""
    room: int = 1
    """How many more Deployments of the cluster may begin to roll to another runtime."""
    halted: bool = False
    """That upgrade stopped, because one of them got stuck."""
    memory: Memory = FRESH
    """As the last plan left it."""
    evidence: Evidence | None = None
    """Of the rollout that goes on; None where none is judged."""


def read_role(raw: KubeObject) -> RoleSeen:
    meta = msgspec.convert(raw.get("metadata", {}), ObjectMeta)
    try:
        status = msgspec.convert(raw.get("status") or {}, RoleStatus)
    except msgspec.ValidationError:
        status = RoleStatus()
    try:
        return RoleSeen(raw, meta, status, msgspec.convert(raw.get("spec"), RoleSpec))
    except msgspec.ValidationError as error:
        return RoleSeen(raw, meta, status, None, str(error))


def read_revision(raw: KubeObject) -> RevisionSeen | None:
    """None for one that an older or newer schema let in and our types cannot read."""
    try:
        spec = msgspec.convert(raw.get("spec"), RevisionSpec)
    except msgspec.ValidationError:
        return None
    return RevisionSeen(raw, msgspec.convert(raw.get("metadata", {}), ObjectMeta), spec)


def read_deployment(raw: KubeObject) -> DeploymentSeen:
    meta = msgspec.convert(raw.get("metadata", {}), ObjectMeta)
    status: dict[str, Any] = raw.get("status") or {}
    failing = ""
    for condition in status.get("conditions", []):
        stuck = condition.get("type") == "Progressing" and condition.get("status") == "False"
        refused = condition.get("type") == "ReplicaFailure" and condition.get("status") == "True"
        if stuck or refused:
            failing = str(condition.get("message") or condition.get("reason") or "its pods do not start")
        if refused:
            break
    spec: dict[str, Any] = raw.get("spec") or {}
    containers = spec.get("template", {}).get("spec", {}).get("containers", [])
    return DeploymentSeen(
        raw,
        meta,
        meta.labels.get(REVISION, ""),
        int(status.get("readyReplicas") or 0),
        failing,
        replicas=int(spec.get("replicas", 1)),
        image=str(containers[0].get("image", "")) if containers else "",
        standing=standing(raw),
    )


def standing(raw: KubeObject) -> Standing:
    """Of a Deployment, from what its controller says.

    Its pods come up one by one beside the earlier ones (no pod may be missing), so while
    there are pods that are not of the newest template it rolls. Kubernetes gives up after
    120 s without progress: that says something about the new pods only if the earlier
    ones are Ready, and nothing where it was not let make any (a tenant's quota).

    >>> mixed = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}
    >>> given_up = {"type": "Progressing", "status": "False"}
    >>> standing({"metadata": {"generation": 2}, "status": mixed})
    Standing(runtime='', rolling=True, behind=False, stuck=False)
    >>> standing({"metadata": {"generation": 2}, "status": {**mixed, "conditions": [given_up]}})
    Standing(runtime='', rolling=False, behind=True, stuck=True)
    >>> standing({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}}).rolling
    True
    """
    metadata, status = raw["metadata"], raw.get("status") or {}
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions", [])}
    unseen = int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0)
    mixed = int(status.get("replicas") or 0) > int(status.get("updatedReplicas") or 0)
    given_up = mixed and not unseen and conditions.get("Progressing") == "False"
    refused = conditions.get("ReplicaFailure") == "True"
    return Standing(
        runtime=metadata.get("annotations", {}).get(RUNTIME, ""),
        rolling=unseen or (mixed and not given_up),
        behind=given_up,
        stuck=given_up and not refused and int(status.get("readyReplicas") or 0) > 0,
    )


def read_config_map(raw: KubeObject) -> dict[str, str]:
    """Its text entries; binary ones hold neither a persona nor code."""
    return {str(key): str(value) for key, value in (raw.get("data") or {}).items()}
