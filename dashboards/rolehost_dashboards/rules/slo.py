"""Objectives of all Roles, by rules that name none of them.

gateways' counters ── increase by window ──┐
gateways' targets  ── or yesterday's ──────┴─▶ pace by window ─▶ over the limit in both windows ─▶ page or ticket
"""

from rolehost_api import slo
from rolehost_dashboards.rules.shape import Alert, Group, Record, Scope, Severity
from rolehost_dashboards.rules.windows import FULL_WINDOW_SECONDS, PACES, SHARE, WINDOWS, Pace, burn, increase

BY = "by (tenant, role, objective)"
ON = "on (tenant, role, objective)"
TARGET = "rolehost:slo_target:ratio"
REMEMBERED = "rolehost:slo_target:remembered"
REMEMBERED_WINDOW = "rolehost:slo_window:remembered"
SUMMED = {"2h": ("5m", "119m:5m"), "6h": ("5m", "359m:5m"), "1d": ("30m", "1439m:30m"), "3d": ("1h", "4319m:1h")}
"""What is longer than an hour is the sum of shorter ones that stand side by side, for days of raw samples of every Role
would be too much to read; it lags by one of them at most. The range is a minute short: both its ends count."""


def _turns(window: str) -> Record:
    if window not in SUMMED:
        counted = f"increase({slo.TURNS}_total[{window}])"
        return Record(increase(window), f"sum by (tenant, role, objective, outcome) ({counted})")
    shorter, steps = SUMMED[window]
    return Record(increase(window), f"sum_over_time({increase(shorter)}[{steps}])")


def _burn(window: str) -> Record:
    """Where only good turns were counted there is no bad series, and the pace is 0."""
    every = f"(sum {BY} ({increase(window)}) > 0)"
    bad = f"sum {BY} ({increase(window)}{{outcome='{slo.BAD}'}})"
    return Record(burn(window), f"({bad} or 0 * {every})\n/ {every}\n/ (1 - {TARGET})")


def _alert(pace: Pace) -> Alert:
    parts = [
        f"{burn(pace.long)} > {pace.limit}",
        f"{burn(pace.short)} > {pace.limit}",
        f"ignoring (outcome) {increase(pace.long)}{{outcome='{slo.BAD}'}} >= {pace.least_bad}",
        f"ignoring (outcome) {increase(pace.short)}{{outcome='{slo.BAD}'}} >= {pace.least_bad_now}",
    ]
    page = pace.severity is Severity.PAGE
    return Alert(
        "RolehostBudgetBurnsFast" if page else "RolehostBudgetBurns",
        "\nand ".join(parts),
        pace.severity,
        Scope.ROLE,
        "{{ $labels.tenant }}/{{ $labels.role }} spends its error budget for {{ $labels.objective }} "
        "{{ $value | humanize }} times too fast",
        f"Bad turns over {pace.long} and still over {pace.short}: at a pace of {pace.factor:g} times what its objective allows, "
        "or less where its window is below 28 days.",
        labels={"window": pace.long},
    )


MEMORY = Group(
    "rolehost-slo-memory",
    # Below the five minutes for which a sample counts as the present one.
    "4m",
    (
        Record(REMEMBERED, f"max {BY} (last_over_time({slo.TARGET}[1d]) >= 0)"),
        Record(REMEMBERED_WINDOW, f"max {BY} (last_over_time({slo.WINDOW}[1d]) > 0)"),
    ),
)

TARGETS = Group(
    "rolehost-slo-targets",
    "30s",
    (
        # Who is scraped now has the word. Where nobody says anything, a day's last word counts, so that rules do not go
        # silent with the exporter; NaN, the word for a Role that was deleted, ends that.
        Record(
            TARGET,
            f"max {BY} ({slo.TARGET} >= 0)\nor ({REMEMBERED} unless {ON} ({slo.TARGET} != {slo.TARGET}))",
        ),
        Record(
            SHARE,
            f"clamp_max((max {BY} ({slo.WINDOW} > 0) or {REMEMBERED_WINDOW}) / {FULL_WINDOW_SECONDS}, 1)\n"
            f"or 0 * {TARGET} + 1",
        ),
    ),
)

BURNS = Group(
    "rolehost-slo-burns",
    "30s",
    (
        *map(_turns, WINDOWS[:3]),
        *map(_burn, WINDOWS[:3]),
    ),
)
LONG_BURNS = Group(
    "rolehost-slo-long-burns",
    "2m",
    (
        *map(_turns, WINDOWS[3:]),
        *map(_burn, WINDOWS[3:]),
    ),
)
ALERTS = Group("rolehost-slo-alerts", "30s", tuple(map(_alert, PACES)))
FAST = "ALERTS{alertname='RolehostBudgetBurnsFast', alertstate='firing'}"
WATCHED = Group(
    "rolehost-slo-watched",
    "30s",
    (
        Alert(
            "RolehostManyRolesBurn",
            f"count(count by (tenant, role) ({FAST})) >= 5\n"
            f"and count(count by (tenant, role) ({FAST})) > 0.2 * count(count by (tenant, role) ({burn('5m')}))",
            Severity.PAGE,
            Scope.PLATFORM,
            "{{ $value }} Roles spend their error budgets too fast at once",
            "More than a fifth of all that are spoken to: the cause is the platform's, or something that all of them use.",
        ),
        Alert(
            "RolehostTurnsWithoutTarget",
            f"sum {BY} ({increase('5m')}) > 0 unless {TARGET}",
            Severity.TICKET,
            Scope.ROLE,
            "{{ $labels.tenant }}/{{ $labels.role }} has turns for {{ $labels.objective }} and no target to hold them against",
            "No burn alert can fire for it.",
            held="15m",
        ),
        Alert(
            "RolehostTargetsSilent",
            # A gateway exports what it was spoken to for: after a restart and without traffic there is nothing to export.
            f"(count({REMEMBERED}) > 0 unless on () count({slo.TARGET}))\n"
            "and on () (absent(rolehost_gateway_sockets) or sum(increase(rolehost_turns_total[5m])) > 0)",
            Severity.PAGE,
            Scope.PLATFORM,
            "Nobody exports the targets of {{ $value }} objectives any more",
            "Either no gateway is scraped, or turns are answered and their targets do not arrive. Rules go on with the last ones for a day.",
            held="5m",
        ),
        Alert(
            "RolehostRulesFail",
            "sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total{rule_group=~'.*;rolehost-.*'}[10m])) > 0",
            Severity.PAGE,
            Scope.PLATFORM,
            "Prometheus cannot evaluate {{ $labels.rule_group }}",
            "Alerts of this group may be silent whatever happens.",
        ),
        Alert(
            "RolehostRulesLate",
            "sum by (rule_group) "
            "(increase(prometheus_rule_group_iterations_missed_total{rule_group=~'.*;rolehost-.*'}[10m])) > 3",
            Severity.TICKET,
            Scope.PLATFORM,
            "Prometheus does not get round to {{ $labels.rule_group }}",
            "Its alerts come late.",
        ),
    ),
)
GROUPS = (MEMORY, TARGETS, BURNS, LONG_BURNS, ALERTS, WATCHED)
