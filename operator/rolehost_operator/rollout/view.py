"""The Scene of one Role, out of what was observed of it."""

import hashlib
from datetime import datetime, timedelta

import msgspec

from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.role import RoleSpec
from rolehost_api.crd.rollout import Strategy
from rolehost_api.names import ABORT, EXTERNAL, GATE, PROMOTE, REPLICAS
from rolehost_operator.observed import DeploymentSeen, Observed, RevisionSeen, Told
from rolehost_operator.rollout.scene import Runs, Scene, Warmth
from rolehost_operator.rollout.verdict import Judgement
from rolehost_operator.status.conditions import fault
from rolehost_operator.status.health import health

IDLE = timedelta(seconds=60)
"""How long a revision must be without sessions before it counts as having none."""
CANARY_PODS = 2


def scene(
    observed: Observed, spec: RoleSpec, latest: str, judgement: Judgement | None, at: datetime, now: datetime
) -> Scene:
    """`at`: the time that rollouts go by; `now`: the operator's, for what gateways told it."""
    meta, status = observed.role.meta, observed.role.status
    told = (observed.rollouts.get(status.rollout.id) if status.rollout else None) or Told()
    return Scene(
        uid=meta.uid,
        declared=spec.rollout,
        status=status,
        latest=latest,
        at=at,
        revisions=_revisions(observed, spec, now),
        promote=meta.annotations.get(PROMOTE, ""),
        abort=meta.annotations.get(ABORT, ""),
        pods=enough(spec, meta),
        judgement=judgement,
        counts=told.counts,
        breaker=told.breaker,
        warmth=warmth(observed),
    )


def warmth(observed: Observed) -> Warmth:
    """Of the rollout that the status speaks of. Where no gateway is known there is one that has not said anything yet."""
    rollout = observed.role.status.rollout
    return Warmth(observed.warmed.get(rollout.id, 0) if rollout else 0, max(1, observed.expected))


def enough(spec: RoleSpec, meta: ObjectMeta) -> int:
    """Pods that must be Ready before a revision takes sessions beside another: two, where the bounds let there be two.

    An autoscaler of the tenant's own is not told how many.
    """
    return 1 if meta.annotations.get(REPLICAS) == EXTERNAL else min(CANARY_PODS, spec.scaling.max_replicas)


def _revisions(observed: Observed, spec: RoleSpec, now: datetime) -> dict[str, Runs]:
    running = {seen.revision: seen for seen in observed.deployments}
    before = observed.role.status.rollout
    compared = spec.rollout.strategy is not Strategy.ALL_AT_ONCE or (before is not None and bool(before.stage))
    return {
        one.meta.name: _runs(one, running.get(one.meta.name), observed, now, compared) for one in observed.revisions
    }


def _runs(
    revision: RevisionSeen, pods: DeploymentSeen | None, observed: Observed, now: datetime, compared: bool
) -> Runs:
    name, spec = revision.meta.name, revision.spec
    idle_since = observed.idle_since.get(name)
    prefix = f"{GATE}/"
    refused = _refused(pods) if pods else ""
    well = health(name, observed)
    return Runs(
        name=name,
        sequence=spec.sequence,
        digest=spec.hash,
        schema_version=spec.template.state.schema_version,
        reads=frozenset(spec.template.state.reads_schema_versions),
        gates={
            key.removeprefix(prefix): said for key, said in revision.meta.annotations.items() if key.startswith(prefix)
        },
        backend=_backend(revision, observed) if compared else "",
        serving=well.serving,
        fault=fault(well),
        breached=bool(well.breach),
        ready=pods.ready if pods else 0,
        refused=refused,
        failing="" if refused or not pods else pods.failing,
        idle=idle_since is not None and now - idle_since >= IDLE,
    )


def _refused(pods: DeploymentSeen) -> str:
    """Kubernetes' words where it may not make the pods."""
    conditions = (pods.raw.get("status") or {}).get("conditions", [])
    refused = any(one.get("type") == "ReplicaFailure" and one.get("status") == "True" for one in conditions)
    return pods.failing if refused else ""


def _backend(revision: RevisionSeen, observed: Observed) -> str:
    """Who answers, and a hash of what is declared of them."""
    model = revision.spec.template.model
    declared = observed.backends.get(model.backend)
    digest = hashlib.sha256(msgspec.json.encode(declared, order="deterministic")).hexdigest()[:8] if declared else ""
    return f"{model.backend}/{model.name}@{digest}"
