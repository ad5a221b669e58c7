"""What counts as changed by hand, and how often it is told."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.observing import NOON, observed, report

from rolehost_operator.objects import KubeObject
from rolehost_operator.observed import Observed, read_deployment
from rolehost_operator.plan import Plan
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out
from rolehost_operator.status.corrections import QUIET


def at_rest() -> Observed:
    seen = observed()
    for _ in range(6):
        seen = carried_out(seen, reconcile(seen, NOON))
        if seen.revisions:
            seen = replace(seen, pods=(report(seen.revisions[0].meta.name),))
    assert reconcile(seen, NOON).writes == 0
    return seen


def told(plan: Plan) -> list[str]:
    return [note.message.split(" was")[0] for note in plan.notes if note.reason == "DriftCorrected"]


def edited(raw: KubeObject | None, **spec: Any) -> KubeObject:
    assert raw is not None
    return {**raw, "spec": {**raw["spec"], **spec}}


def hands(seen: Observed) -> dict[str, tuple[Observed, str]]:
    """What may be done by hand, by what it is; and what is told of it."""
    [deployment] = seen.deployments
    name = deployment.meta.name
    account = {**(seen.service_account or {}), "automountServiceAccountToken": True}
    scaled = read_deployment(edited(deployment.raw, replicas=0))
    policy = edited(seen.network_policy, egress=[{}])
    keys = {**(seen.platform_keys or {}), "data": {"keys": "bWluZQ=="}}
    budget = edited(seen.disruption_budget, maxUnavailable=0)
    return {
        "scaled": (replace(seen, deployments=(scaled,)), f"Deployment {name}"),
        "no-pods": (replace(seen, deployments=()), f"Deployment {name}"),
        "way-out": (replace(seen, network_policy=policy), "NetworkPolicy rolehost-sandbox"),
        "no-policy": (replace(seen, network_policy=None), "NetworkPolicy rolehost-sandbox"),
        "token": (replace(seen, service_account=account), "ServiceAccount rolehost-sandbox"),
        "keys": (replace(seen, platform_keys=keys), "ConfigMap rolehost-platform-keys"),
        "budget": (replace(seen, disruption_budget=budget), "PodDisruptionBudget rolehost-sandbox"),
        "no-account": (replace(seen, service_account=None), "ServiceAccount rolehost-sandbox"),
    }


HANDS = ("scaled", "no-pods", "way-out", "no-policy", "token", "keys", "budget", "no-account")


@pytest.mark.parametrize("hand", HANDS)
def test_what_a_hand_did_is_put_back_and_told_once_in_ten_minutes(hand: str) -> None:
    touched, what = hands(at_rest())[hand]
    plan = reconcile(touched, NOON)
    assert [f"{one['kind']} {one['metadata']['name']}" for one in plan.apply] == [what]
    assert told(plan) == [what]
    again = replace(touched, memory=plan.memory)
    assert told(reconcile(again, NOON + QUIET - timedelta(seconds=1))) == []
    assert told(reconcile(again, NOON + QUIET)) == [what]


def test_nothing_is_told_where_nobody_laid_a_hand() -> None:
    seen, plans = observed(), []
    for _ in range(6):
        plan = reconcile(seen, NOON)
        plans.append(plan)
        seen = carried_out(seen, plan)
        if seen.revisions:
            seen = replace(seen, pods=(report(seen.revisions[0].meta.name),))
    assert [told(plan) for plan in plans] == [[]] * 6


def test_an_upgrade_is_no_drift() -> None:
    seen = at_rest()
    newer = replace(seen, platform=replace(seen.platform, sandbox_image="registry.example/rolehost-sandbox:2"))
    plan = reconcile(newer, NOON)
    assert [one["kind"] for one in plan.apply] == ["Deployment"]
    assert told(plan) == []
    rotated = replace(seen, platform=replace(seen.platform, public_keys=("a2V5", "bmV4dA==")))
    plan = reconcile(rotated, NOON)
    assert [one["kind"] for one in plan.apply] == ["ConfigMap"]
    assert told(plan) == []


def test_two_objects_are_told_apart_and_what_was_told_long_ago_is_forgotten() -> None:
    seen = at_rest()
    plan = reconcile(replace(seen, network_policy=None), NOON)
    later = replace(seen, service_account=None, memory=plan.memory)
    second = reconcile(later, NOON + timedelta(minutes=1))
    assert told(second) == ["ServiceAccount rolehost-sandbox"]
    assert len(second.memory.drift_told) == 2
    assert reconcile(replace(seen, memory=second.memory), NOON + 2 * QUIET).memory.drift_told == {}
