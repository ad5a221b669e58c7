"""New revisions earn their traffic under people who talk: good ones pass the steps, bad ones go back, and nobody is cut off."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.monitoring import Monitoring
from tests.cluster.testing import Cluster, Tenant, until
from tests.support.arrivals import Arrivals, logic
from tests.support.proof import keep

RUN = secrets.token_hex(3)
SLO = {
    "objectives": [
        {"name": "fast", "type": "Latency", "thresholdMilliseconds": 1000, "target": "99"},
        {"name": "works", "type": "Success", "target": "99"},
    ]
}
ROLLOUT = {
    "strategy": "Progressive",
    "steps": [{"percent": 20, "pauseSeconds": 5}, {"percent": 50, "pauseSeconds": 5}],
    "analysis": {
        "intervalSeconds": 1,
        "minTurns": 10,
        "minSessions": 5,
        "marginPercent": 40,
        "falseAlarmsPerMillion": 10_000,
    },
    "watchSeconds": 5,
}
QUIET = {**ROLLOUT, "progressDeadlineSeconds": 20}
FAULTS = {
    "slow": "time.sleep(1.3)",
    "fails": "raise RuntimeError('on every turn')",
    "fails-first": "if first: raise RuntimeError('on the first turn')",
    "worse-for-some": "if user % 2 and not first: raise RuntimeError('for some, later')",
}
PATIENCE = 240.0
EVACUATED_SECONDS = 30.0
pytestmark = pytest.mark.timeout(420)


@dataclass
class Running:
    """A Role in its rollout, with its people."""

    role: str
    stable: str
    canary: str
    people: Arrivals


def status(cluster: Cluster, tenant: Tenant, role: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("rhr", role, "-n", tenant.name).get("status", {})
    return found


def declare(tenant: Tenant, role: str, word: str, fault: str = "pass", rollout: dict[str, Any] = ROLLOUT) -> None:
    name = role.replace("-", "_")
    tenant.apply_role(role, logic=logic(name, word, fault), slo=SLO, rollout=rollout, scaling={"maxReplicas": 2})


@pytest.fixture(scope="module")
def tenant(cluster: Cluster, monitoring: Monitoring) -> Iterator[Tenant]:
    with cluster.tenant("canaries") as made:
        yield made


@pytest.fixture(scope="module")
def key(tenant: Tenant) -> str:
    return tenant.key("chat", "act-as-user")


@contextmanager
def rollout(cluster: Cluster, tenant: Tenant, key: str, role: str) -> Iterator[Running]:
    """A Role with its stable revision, people in conversation with it, and then the new revision."""
    declare(tenant, role, "old")
    tenant.wait_ready(role)
    stable = status(cluster, tenant, role)["stableRevision"]
    with Arrivals(cluster.gateway, key, role, run=RUN, per_second=3, most=600, pause=10) as people:
        talking(people)
        declare(tenant, role, "new", FAULTS.get(role, "pass"))
        yield Running(role, stable, canary(cluster, tenant, role), people)


def talking(people: Arrivals) -> None:
    until(lambda: people.summary()["turns"] > 5 or None, 60, lambda: f"people talk: {people.summary()}")


def canary(cluster: Cluster, tenant: Tenant, role: str) -> str:
    def there() -> str | None:
        return status(cluster, tenant, role).get("canaryRevision") or None

    return until(there, 90, lambda: f"{role} has a canary: {status(cluster, tenant, role)}")


def test_a_good_revision_is_promoted_step_by_step(
    cluster: Cluster, monitoring: Monitoring, tenant: Tenant, key: str
) -> None:
    with rollout(cluster, tenant, key, "good") as good:
        seen: list[int] = []

        def promoted() -> bool | None:
            now = status(cluster, tenant, "good")
            percent = now.get("rollout", {}).get("percent", 0)
            if percent and (not seen or seen[-1] != percent):
                seen.append(percent)
            past = now.get("history", [])
            return bool(past and past[0]["action"] == "Promoted") or None

        def told() -> str:
            return f"it is promoted: {seen} {status(cluster, tenant, 'good').get('rollout')} {good.people.summary()}"

        until(promoted, PATIENCE, told)
        good.people.coming = False
    now = status(cluster, tenant, "good")
    assert seen[:2] == [20, 50], seen
    assert now["stableRevision"] == now["history"][0]["revision"] == good.canary
    assert now["rollout"]["warmingSince"], "it waited for its gateways"
    warmed = monitoring.query("sum by (outcome) (rolehost_rollout_warmups_total)")
    assert warmed.get("completed", 0) > 0, warmed
    summary = good.people.check()
    assert not summary["errors"], summary
    assert set(summary["began on"]) >= {"old", "new"}, summary
    keep("canary-good", summary)


@pytest.mark.parametrize("role", list(FAULTS))
def test_a_bad_revision_is_rolled_back_and_nobody_is_cut_off(
    cluster: Cluster, tenant: Tenant, key: str, role: str
) -> None:
    with rollout(cluster, tenant, key, role) as bad:

        def rolled_back() -> dict[str, Any] | None:
            now = status(cluster, tenant, role)
            past = now.get("history", [])
            return now if past and past[0]["action"] == "RolledBack" else None

        def told() -> str:
            return f"{role} is rolled back: {status(cluster, tenant, role).get('rollout')} {bad.people.summary()}"

        now = until(rolled_back, PATIENCE, told)
        verdict, began = time.monotonic(), len(bad.people.visits)
        affected = [one for one in bad.people.visits if one.errors or one.first_word == "new"]

        def evacuated() -> bool | None:
            """Everybody who was on it was answered by the stable one since."""
            return (
                all(one.answers and one.answers[-1][0] == "old" and one.answered_at > verdict for one in affected)
                or None
            )

        until(evacuated, EVACUATED_SECONDS, told)
        took = time.monotonic() - verdict
        until(lambda: len(bad.people.visits) >= began + 10 or None, 30, lambda: f"new people come: {told()}")
        bad.people.coming = False
    assert now["stableRevision"] == bad.stable
    assert (now["history"][0]["revision"], now["history"][0]["automatic"]) == (bad.canary, True)
    decision = now["rollout"]["lastDecision"]
    assert decision["metric"]
    assert decision["value"]
    assert decision["samples"] > 0
    summary = bad.people.check()
    late = [one for one in bad.people.visits[began + 3 :] if one.answers]  # a second after the verdict
    assert all(one.first_word == "old" and not one.errors for one in late), summary
    moved = [one for one in affected if one.moves]
    assert moved, summary
    assert {one.moves[-1]["reason"] for one in moved} == {"rollback"}
    events = cluster.get("events", "-n", tenant.name, "--field-selector", f"involvedObject.name={role}")["items"]
    assert "RolloutRolledBack" in {one["reason"] for one in events}, [one["reason"] for one in events]
    counts = until(
        lambda: (status(cluster, tenant, role)["rollout"].get("sessions") or {}).get("migrated"),
        60,
        lambda: "it is counted",
    )
    assert counts >= len(moved) / 2, (counts, len(moved))
    keep(f"canary-{role}", {**summary, "evacuated_seconds": round(took, 1), "decision": decision})


def test_a_revision_that_nobody_tries_holds_and_then_takes_no_new_sessions(cluster: Cluster, tenant: Tenant) -> None:
    declare(tenant, "quiet", "old", rollout=QUIET)
    tenant.wait_ready("quiet")
    stable = status(cluster, tenant, "quiet")["stableRevision"]
    declare(tenant, "quiet", "new", rollout=QUIET)
    held = until(
        lambda: (status(cluster, tenant, "quiet").get("rollout") or {}).get("lastDecision"), 60, lambda: "it holds"
    )
    assert held["action"] == "Hold", held

    def stopped() -> dict[str, Any] | None:
        now = status(cluster, tenant, "quiet")
        return now if now["rollout"]["stage"] == "Stopped" else None

    now = until(stopped, 60, lambda: f"it is stopped: {status(cluster, tenant, 'quiet').get('rollout')}")
    assert now["stableRevision"] == stable
    assert now["rollout"].get("percent", 0) == 0


def test_prometheus_goes_away_in_the_middle_and_comes_back(cluster: Cluster, tenant: Tenant, key: str) -> None:
    """Without evidence nothing moves, in either direction; with it the rollout goes on by itself."""
    declare(tenant, "blind", "old")
    tenant.wait_ready("blind")
    stable = status(cluster, tenant, "blind")["stableRevision"]
    with Arrivals(cluster.gateway, key, "blind", run=RUN, per_second=3, most=600, pause=10) as people:
        talking(people)
        cluster.kubectl("scale", "deployment/prometheus", "-n", "monitoring", "--replicas=0")
        try:
            declare(tenant, "blind", "new")

            def unavailable() -> bool | None:
                decision = (status(cluster, tenant, "blind").get("rollout") or {}).get("lastDecision", {})
                return decision.get("reason", "").startswith("Prometheus") or None

            until(unavailable, 90, lambda: f"it says so: {status(cluster, tenant, 'blind').get('rollout')}")
            time.sleep(10)  # plenty of sessions pass in this time: none of them counts yet
            now = status(cluster, tenant, "blind")
            assert (now["stableRevision"], now["rollout"]["step"]) == (stable, 1), now["rollout"]
        finally:
            cluster.kubectl("scale", "deployment/prometheus", "-n", "monitoring", "--replicas=1")
        until(
            lambda: status(cluster, tenant, "blind")["stableRevision"] != stable or None,
            PATIENCE,
            lambda: f"it goes on: {status(cluster, tenant, 'blind').get('rollout')}",
        )
    people.check()
