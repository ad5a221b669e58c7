"""F13: a Role and its revision as the first operator stored them, read by today's; and as a newer one would.

The file is never regenerated: such objects are in clusters.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.observing import NOON, PLATFORM, observed

from rolehost_operator.desired.tenancy import network_policy, service_account
from rolehost_operator.observed import Observed, read_deployment, read_revision
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile

STORED = (Path(__file__).parent / "recorded/stored-v1.json").read_text()


def newer(stored: dict[str, Any]) -> dict[str, Any]:
    """As an operator of tomorrow leaves it, which was then rolled back: more fields, more conditions."""
    role, revision = stored["role"], stored["revision"]
    role["spec"]["template"]["tomorrow"] = {"x": 1}
    role["status"]["tomorrow"] = ["x"]
    role["status"]["conditions"].append(
        {"type": "Tomorrow", "status": "True", "reason": "X", "lastTransitionTime": "2030-01-01T00:00:00Z", "y": 1}
    )
    revision["spec"]["tomorrow"] = True
    return stored


def seen(stored: dict[str, Any]) -> Observed:
    """With a Ready pod that no gateway has spoken of yet: this operator has just started."""
    revision = read_revision(stored["revision"])
    assert revision is not None
    meta = {
        "name": revision.meta.name,
        "namespace": "acme",
        "uid": "d",
        "resourceVersion": "9",
        "labels": {"rolehost.io/revision": revision.meta.name, "rolehost.io/role": "cat"},
    }
    deployment = read_deployment(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "status": {"readyReplicas": 1}}
    )
    guards = {"network_policy": network_policy("acme", PLATFORM), "service_account": service_account("acme")}
    return observed(stored["role"], revisions=(revision,), deployments=(deployment,), **guards)


def plan_of(stored: dict[str, Any]) -> Plan:
    return reconcile(seen(stored), NOON)


@pytest.mark.parametrize("change", [lambda stored: stored, newer], ids=["as-stored", "rolled-back"])
def test_what_is_stored_is_served_unchanged(change: Any) -> None:
    plan = plan_of(change(json.loads(STORED)))
    assert "RoleRevision" not in [one["kind"] for one in plan.apply]
    assert plan.prune == ()
    assert plan.status is None  # right as it is: nothing of it is written over
    assert plan.notes == ()


def test_a_status_that_is_written_keeps_what_was_known() -> None:
    stored = json.loads(STORED)
    stored["role"]["metadata"]["generation"] = 2
    plan = plan_of(stored)
    assert plan.status is not None
    before, after = stored["role"]["status"], msgspec.to_builtins(plan.status)
    assert after["observedGeneration"] == 2
    for field in ("latestCreatedRevision", "latestReadyRevision", "stableRevision", "address"):
        assert after[field] == before[field]
    assert [one["lastTransitionTime"] for one in after["conditions"]] == ["2030-01-01T12:00:00Z"] * 4
