"""What somebody changed or deleted by hand, and is put back: said as an Event, not too often."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from rolehost_api.names import DRIFT_CORRECTED
from rolehost_operator.objects import APPLIED, RUNTIME, KubeObject
from rolehost_operator.observed import Observed
from rolehost_operator.plan import Note

QUIET = timedelta(minutes=10)
"""Between two events of a Role about the same object: who fights with the operator is told once."""

Told = Mapping[str, datetime]
"""When it was last told of an object, by kind and name."""


def drifted(wanted: KubeObject, observed: Observed) -> bool:
    """Whether `wanted`, which is about to be applied, was there as it is wanted before.

    Changed: it still carries the hash of what we applied, and that is what we want now. (The
    link Secret carries none: of that, nothing is told.) Deleted: what every operator made
    before any pod, while there are Deployments; or the Deployment of a revision that served.
    """
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    status = observed.role.status
    if kind == "Deployment":
        actual = next((seen.raw for seen in observed.deployments if seen.meta.name == name), None)
        was_there = name in (status.stable_revision, status.latest_ready_revision)
    else:
        # A revision is never put back: it is made anew, with another number.
        actual = {
            "NetworkPolicy": observed.network_policy,
            "ServiceAccount": observed.service_account,
            "ConfigMap": observed.platform_keys,
            "PodDisruptionBudget": observed.disruption_budget,
        }.get(kind)
        was_there = kind in ("NetworkPolicy", "ServiceAccount") and bool(observed.deployments)
    if actual is None:
        return was_there
    ours, theirs = wanted["metadata"]["annotations"], actual["metadata"].get("annotations", {})
    return all(ours.get(mark) == theirs.get(mark) for mark in (APPLIED, RUNTIME))


def corrections(
    apply: Sequence[KubeObject], observed: Observed, told: Told, now: datetime
) -> tuple[tuple[Note, ...], dict[str, datetime]]:
    """The notes about what of `apply` is a correction, and when each was told, for the next time."""
    kept = {what: at for what, at in told.items() if now - at < QUIET}
    notes = []
    for what in _drifts(apply, observed):
        if what not in kept:
            kept[what] = now
            notes.append(
                Note("Warning", DRIFT_CORRECTED, f"{what} was changed or deleted by hand; the operator put it back")
            )
    return tuple(notes), kept


def _drifts(apply: Sequence[KubeObject], observed: Observed) -> Iterator[str]:
    for wanted in apply:
        if drifted(wanted, observed):
            yield f"{wanted['kind']} {wanted['metadata']['name']}"
