"""Every alert that looks at one thing only: quiet just below what it is for, and firing just above."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.alerts.conftest import World
from tests.support.promtool import Series, counter, steady

from rolehost_dashboards.rules import GROUPS, alerts

pytestmark = pytest.mark.timeout(180)  # days of series, on a machine that does other things
MINUTES = 60
TENANT, ROLE = {"tenant": "acme"}, {"tenant": "acme", "role": "cat"}


def at(value: float, name: str, **labels: str) -> Series:
    """A gauge that stands."""
    return Series(name, {"pod": "gw-0", **labels}, steady(str(value), MINUTES))


def rises(by: int, name: str, **labels: str) -> Series:
    """A counter that has been there for long and rises by so much in the last ten minutes."""
    return Series(name, {"pod": "gw-0", **labels}, counter((0, MINUTES - 10), (by, 1), (0, 9), start=7))


def born(value: int, name: str, **labels: str) -> Series:
    """A counter that comes to be with what it counts first."""
    return Series(name, {"pod": "gw-0", **labels}, " ".join(["_"] * 55 + [str(value)] * 6))


def steps(before: str, after: str, name: str, **labels: str) -> Series:
    """A gauge that changes ten minutes before the end."""
    return Series(name, {"pod": "gw-0", **labels}, f"{steady(before, MINUTES - 11)} {steady(after, 9)}")


class Case(NamedTuple):
    alert: str
    fires: Sequence[Series]
    labels: Mapping[str, str]
    quiet: Sequence[Series]


def rollout(age: int, pause: int, why: str) -> list[Series]:
    return [
        at(1, "rolehost_rollout_unknown", **ROLE, why=why),
        at(age, "rolehost_rollout_progress_age_seconds", **ROLE),
        at(pause, "rolehost_rollout_pause_seconds", **ROLE),
    ]


def lag(bound: str) -> list[Series]:
    """A loop that is late by up to `bound`, two looks a minute."""
    bounds = ["0.1", "0.25", "0.5", "+Inf"]
    late = bounds.index(bound)
    name, labels = "rolehost_event_loop_lag_seconds_bucket", {"instance": "gw-0:9090"}
    return [
        Series(name, {**labels, "le": one}, counter((2 if place >= late else 0, MINUTES)))
        for place, one in enumerate(bounds)
    ]


WATCH_GATEWAY, WATCH_OPERATOR = "rolehost_gateway_watch_failures_total", "rolehost_operator_watch_failures_total"
STEADY_FAILURES = counter((1, MINUTES))
USED, MOST = "rolehost_store_used_bytes", "rolehost_store_max_bytes"
CASES = [
    Case("RolehostGatewaysAbsent", [at(1, "up")], {}, [at(0, "rolehost_gateway_sockets")]),
    Case(
        "RolehostOneGatewayLeft",
        [at(3, "rolehost_gateway_sockets"), Series("rolehost_gateway_sockets", {"pod": "gw-1"}, steady("3", 30))],
        {},
        [at(3, "rolehost_gateway_sockets")],
    ),
    Case(
        "RolehostGatewayBlind",
        [at(141, "rolehost_gateway_watch_last_event_age_seconds", kind="pods")],
        {"kind": "pods"},
        [at(139, "rolehost_gateway_watch_last_event_age_seconds", kind="pods")],
    ),
    Case("RolehostTablesStale", [at(1, "rolehost_tables_stale")], {}, [at(0, "rolehost_tables_stale")]),
    Case(
        "RolehostWatchesBreak",
        [Series(WATCH_GATEWAY, {"kind": "pods"}, STEADY_FAILURES)],
        {"kind": "pods", "component": "gateway"},
        [rises(9, WATCH_GATEWAY, kind="pods")],
    ),
    Case(
        "RolehostWatchesBreak",
        [Series(WATCH_OPERATOR, {"kind": "pods"}, STEADY_FAILURES)],
        {"kind": "pods", "component": "operator"},
        [rises(30, WATCH_OPERATOR, kind="pods")],
    ),
    Case("RolehostLoopLags", lag("0.5"), {"instance": "gw-0:9090"}, lag("0.25")),
    Case(
        "RolehostObjectsUnread",
        [born(1, "rolehost_gateway_watch_skipped_total", kind="hostedroles")],
        {"kind": "hostedroles"},
        [rises(0, "rolehost_gateway_watch_skipped_total", kind="hostedroles")],
    ),
    Case(
        "RolehostPodsNotAttested",
        [rises(1, "rolehost_gateway_pods_not_attested_total")],
        {},
        [rises(0, "rolehost_gateway_pods_not_attested_total")],
    ),
    Case("RolehostStoreFills", [at(81, USED), at(100, MOST)], {}, [at(80, USED), at(100, MOST)]),
    Case("RolehostStoreFills", [at(81, USED), at(100, MOST)], {}, [at(81, USED), at(0, MOST)]),
    Case("RolehostStoreFull", [at(96, USED), at(100, MOST)], {}, [at(95, USED), at(100, MOST)]),
    Case(
        "RolehostStoreTroubles",
        [Series("rolehost_gateway_store_troubles_total", {"what": "overdue"}, counter((5, MINUTES)))],
        {"what": "overdue"},
        [Series("rolehost_gateway_store_troubles_total", {"what": "overdue"}, counter((3, MINUTES)))],
    ),
    Case(
        "RolehostStoreDenies",
        [steps("4", "5", "rolehost_store_denied")],
        {},
        # A gateway that began ten minutes ago tells what was refused before it; the other one knew.
        [steps("0", "4", "rolehost_store_denied"), at(4, "rolehost_store_denied", pod="gw-1")],
    ),
    Case(
        "RolehostRecordsSetAside",
        [born(1, "rolehost_set_aside_total", why="corrupt_snapshot")],
        {"why": "corrupt_snapshot"},
        [rises(0, "rolehost_set_aside_total", why="corrupt_snapshot")],
    ),
    Case(
        "RolehostSessionsMissing",
        [rises(1, "rolehost_retention_missing_sessions_total")],
        {},
        [rises(0, "rolehost_retention_missing_sessions_total")],
    ),
    Case(
        "RolehostTenantsOverShare", [at(1, "rolehost_tenants_over_share")], {}, [at(0, "rolehost_tenants_over_share")]
    ),
    Case(
        "RolehostNewSessionsRefused",
        [born(21, "rolehost_new_sessions_refused_total", **TENANT, code="tenant_sessions_full")],
        {**TENANT, "code": "tenant_sessions_full"},
        [born(20, "rolehost_new_sessions_refused_total", **TENANT, code="tenant_sessions_full")],
    ),
    Case(
        "RolehostArchiveFails",
        [born(6, "rolehost_archive_failures_total", code="archive_unavailable")],
        {"code": "archive_unavailable"},
        [born(5, "rolehost_archive_failures_total", code="archive_unavailable")],
    ),
    Case(
        "RolehostRetentionFails",
        [born(6, "rolehost_retention_failures_total", code="archive_unavailable")],
        {"code": "archive_unavailable"},
        [born(5, "rolehost_retention_failures_total", code="archive_unavailable")],
    ),
    Case(
        "RolehostOperatorWithoutLeader",
        [at(0, "rolehost_operator_leader"), at(0, "rolehost_operator_leader", pod="op-1")],
        {},
        [at(0, "rolehost_operator_leader"), at(1, "rolehost_operator_leader", pod="op-1")],
    ),
    Case("RolehostOperatorWithoutLeader", [at(1, "up")], {}, [at(1, "rolehost_operator_leader")]),
    Case(
        "RolehostOperatorBlind",
        [at(321, "rolehost_operator_watch_last_event_age_seconds", kind="hostedroles")],
        {"kind": "hostedroles"},
        [at(319, "rolehost_operator_watch_last_event_age_seconds", kind="hostedroles")],
    ),
    Case(
        "RolehostGatewaysUnheard",
        [at(0, "rolehost_operator_gateways_reporting")],
        {},
        [at(0, "rolehost_operator_gateways_reporting"), at(1, "rolehost_operator_gateways_reporting", pod="op-1")],
    ),
    Case(
        "RolehostUpgradeHalted",
        [at(1, "rolehost_operator_upgrade_halted")],
        {},
        [at(0, "rolehost_operator_upgrade_halted")],
    ),
    Case(
        "RolehostRolesWait",
        [at(101, "rolehost_operator_queue_depth")],
        {},
        [at(100, "rolehost_operator_queue_depth")],
    ),
    Case(
        "RolehostReconcilesFail",
        [Series("rolehost_operator_reconciles_total", {"outcome": "failed"}, STEADY_FAILURES)],
        {"outcome": "failed"},
        [Series("rolehost_operator_reconciles_total", {"outcome": "done"}, STEADY_FAILURES)],
    ),
    Case(
        "RolehostNamespacesWithoutRights",
        [at(1, "rolehost_operator_namespaces_without_rights")],
        {},
        [at(0, "rolehost_operator_namespaces_without_rights")],
    ),
    Case(
        "RolehostRolledBack",
        [at(0, "rolehost_rollout_rolled_back_timestamp_seconds", **ROLE, automatic="true")],
        ROLE,
        [
            at(-3600, "rolehost_rollout_rolled_back_timestamp_seconds", **ROLE, automatic="true"),
            at(0, "rolehost_rollout_rolled_back_timestamp_seconds", **ROLE, automatic="false"),
        ],
    ),
    Case(
        "RolehostRolloutStalled",
        rollout(241, 120, "evidence"),
        {**ROLE, "why": "evidence"},
        rollout(240, 120, "evidence"),
    ),
    Case(
        "RolehostRolloutStalled",
        rollout(121, 0, "sessions"),
        {**ROLE, "why": "sessions"},
        rollout(121, 0, "sessions")[1:],
    ),
    Case(
        "RolehostRolloutStopped",
        [at(1, "rolehost_rollout_stage", **ROLE, stage="Stopped")],
        ROLE,
        [at(1, "rolehost_rollout_stage", **ROLE, stage="Stepping")],
    ),
    Case(
        "RolehostGuardFails",
        [born(6, "rolehost_guard_failures_total", **ROLE, policy="closed", code="model_timeout")],
        {**ROLE, "policy": "closed", "code": "model_timeout"},
        [born(5, "rolehost_guard_failures_total", **ROLE, policy="closed", code="model_timeout")],
    ),
    Case(
        "RolehostTokensSpent",
        [born(1, "rolehost_model_over_budget_total", **TENANT, backend="default")],
        {**TENANT, "backend": "default"},
        [rises(0, "rolehost_model_over_budget_total", **TENANT, backend="default")],
    ),
    Case(
        "RolehostTimersFail",
        [born(6, "rolehost_timers_total", outcome="failed")],
        {},
        [born(5, "rolehost_timers_total", outcome="failed"), born(60, "rolehost_timers_total", outcome="fired")],
    ),
    Case(
        "RolehostModelLeftAlone",
        [at(2, "rolehost_model_circuit", backend="default")],
        {"backend": "default"},
        [at(1, "rolehost_model_circuit", backend="default")],
    ),
]
ELSEWHERE = {
    "RolehostBudgetBurns",
    "RolehostBudgetBurnsFast",
    "RolehostManyRolesBurn",
    "RolehostRulesFail",
    "RolehostRulesLate",
    "RolehostTargetsSilent",
    "RolehostTurnsWithoutTarget",
}
"""Have sentences of their own in the other files."""


@pytest.mark.parametrize("over", [True, False], ids=["fires", "quiet"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_both_sides(world: World, case: Case, over: bool) -> None:
    (first, *_) = alerts()[case.alert]
    world.has(case.fires if over else case.quiet)
    world.groups = group_of(case.alert)
    # A rollback is told for an hour.
    minute = MINUTES - 1 if case.alert == "RolehostRolledBack" else MINUTES
    if over:
        world.fires(minute, case.alert, {"severity": first.severity.value, "scope": first.scope.value, **case.labels})
    else:
        world.quiet(minute, case.alert)


def group_of(alert: str) -> str:
    return next(
        group.name for group in GROUPS for rule in group.rules if getattr(rule, "expr", "") == alerts()[alert][0].expr
    )


def test_every_alert_is_tried() -> None:
    assert {case.alert for case in CASES} | ELSEWHERE == set(alerts())
    told = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    assert {name for name in ELSEWHERE if f'"{name}"' in told} == ELSEWHERE
