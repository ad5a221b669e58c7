"""Which of a Role's Deployments are to be written: how many pods, of which runtime, and whose turn it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from rolehost_api.crd.role import RoleSpec
from rolehost_api.names import EXTERNAL, REPLICAS
from rolehost_operator.desired.deployment import as_it_runs, deployment, runtime_mark
from rolehost_operator.desired.replicas import Ebb, replicas
from rolehost_operator.objects import RUNTIME, KubeObject, fits, without_annotation
from rolehost_operator.observed import DeploymentSeen, Observed, RevisionSeen

NO_FLOORS: Mapping[str, int] = MappingProxyType({})


@dataclass(slots=True)
class Running:
    apply: list[KubeObject] = field(default_factory=list)
    share: list[KubeObject] = field(default_factory=list)
    """Before that: the replicas of Deployments that an autoscaler is to have, under another manager's name."""
    rolls: list[str] = field(default_factory=list)
    """Of those in `apply`: they begin to roll to the platform's present runtime."""
    waiting: list[DeploymentSeen] = field(default_factory=list)
    """Those that run an earlier one until it is their turn."""
    ebbs: dict[str, Ebb] = field(default_factory=dict)
    look_in: timedelta | None = None


def running(
    observed: Observed,
    role: RoleSpec,
    live: Sequence[RevisionSeen],
    now: datetime,
    floors: Mapping[str, int] = NO_FLOORS,
) -> Running:
    """For the Role's live revisions; `floors`: of some of them, the fewest pods whatever their sessions.

    What the tenant decides is applied at once. What the platform decides of a pod (its
    image above all) changes it only where there is room for one more to roll, and never in
    two revisions of one Role at the same time; a Deployment that is made anew rolls nothing.
    """
    made = Running()
    there = {seen.meta.name: seen for seen in observed.deployments}
    room = 0 if any(seen.standing.rolling for seen in observed.deployments) else min(1, observed.room)
    for revision in live:
        actual = there.get(revision.meta.name)
        count = _count(observed, role, revision, actual, made, now, floors.get(revision.meta.name, 0))
        wanted = deployment(revision, role, observed.platform, count)
        if actual is None:
            made.apply.append(wanted)
            continue
        if count is None and not _is_external(actual.meta.annotations):
            made.share.append(_replicas_of(actual))
        if not _drifted(wanted, actual, observed):
            if not _fits(wanted, actual):
                made.apply.append(wanted)
        elif room:
            room = 0
            made.rolls.append(revision.meta.name)
            made.apply.append(wanted)
        else:
            made.waiting.append(actual)
            kept = as_it_runs(wanted, actual)
            if not fits(without_annotation(kept), actual.raw):
                made.apply.append(kept)
    return made


def _count(
    observed: Observed,
    role: RoleSpec,
    revision: RevisionSeen,
    actual: DeploymentSeen | None,
    made: Running,
    now: datetime,
    floor: int,
) -> int | None:
    """Pods of this revision; None where that is an autoscaler's business."""
    if _is_external(observed.role.meta.annotations):
        return None
    name = revision.meta.name
    there = actual.replicas if actual else None
    count = replicas(role, observed.sessions.get(name), there, observed.memory.ebbs.get(name), now, floor)
    if count.ebb is not None:
        made.ebbs[name] = count.ebb
    if count.look_in is not None:
        made.look_in = min(made.look_in or count.look_in, count.look_in)
    return count.replicas


def _is_external(annotations: Mapping[str, str]) -> bool:
    return annotations.get(REPLICAS) == EXTERNAL


def _drifted(wanted: KubeObject, actual: DeploymentSeen, observed: Observed) -> bool:
    """Whether what differs is the platform's doing. A hand on the Deployment is not: that is undone at once."""
    mark = runtime_mark(observed.platform)
    return actual.standing.runtime != mark and not _fits(wanted, actual)


def _fits(wanted: KubeObject, actual: DeploymentSeen) -> bool:
    """A Deployment that an operator without marks made is good too, if it is what we would make."""
    if not actual.standing.runtime:
        wanted = without_annotation(wanted, RUNTIME)
    return fits(wanted, actual.raw)


def _replicas_of(actual: DeploymentSeen) -> KubeObject:
    """Just that field, of just that object. A field that its last manager drops would fall back to 1."""
    return {
        "apiVersion": actual.raw["apiVersion"],
        "kind": actual.raw["kind"],
        "metadata": {"name": actual.meta.name, "namespace": actual.meta.namespace, "uid": actual.meta.uid},
        "spec": {"replicas": actual.replicas},
    }
