"""F13: a Role and its revision as the first operator stored them, read by today's; and as a newer one would.

The file is never regenerated: such objects are in clusters.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.observing import NOON, PLATFORM, observed

from rolehost_operator.desired.deployment import deployment
from rolehost_operator.desired.tenancy import (
    disruption_budget,
    link_secret,
    network_policy,
    platform_keys,
    service_account,
)
from rolehost_operator.observed import Observed, read_deployment, read_revision, read_role
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
    role = read_role(stored["role"])
    assert role.spec is not None
    made = deployment(revision, role.spec, PLATFORM, replicas=1)
    made["metadata"] |= {"uid": "d", "resourceVersion": "9"}
    whole = observed(stored["role"])
    return replace(
        whole,
        revisions=(revision,),
        deployments=(read_deployment({**made, "status": {"readyReplicas": 1}}),),
        network_policy=network_policy("acme", PLATFORM),
        service_account=service_account("acme"),
        link_secret=link_secret(whole.namespace, PLATFORM),
        platform_keys=platform_keys("acme", PLATFORM),
        disruption_budget=disruption_budget("acme"),
    )


def without_words(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A new operator may say the same in other words; that is no transition."""
    return [{key: value for key, value in one.items() if key != "message"} for one in conditions]


def plan_of(stored: dict[str, Any]) -> Plan:
    return reconcile(seen(stored), NOON)


@pytest.mark.parametrize("change", [lambda stored: stored, newer], ids=["as-stored", "rolled-back"])
def test_what_is_stored_is_served_unchanged(change: Any) -> None:
    plan = plan_of(change(json.loads(STORED)))
    assert "RoleRevision" not in [one["kind"] for one in plan.apply]
    assert plan.prune == ()
    if plan.status is not None:  # what it says stays; at most it says it in other words
        before, after = json.loads(STORED)["role"]["status"], msgspec.to_builtins(plan.status)
        assert without_words(after.pop("conditions")) == without_words(before.pop("conditions"))
        assert {field: after[field] for field in before} == before
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
