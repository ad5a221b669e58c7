"""Recording rules and alerts: one rule set for all Roles of all tenants, whose number does not grow with them."""

from pathlib import Path

from rolehost_dashboards.rules import gateways, operator, roles, slo, store
from rolehost_dashboards.rules.shape import Alert, text

FILE = Path("dashboards/generated/rules/rolehost.yaml")
CHART_FILE = Path("charts/rolehost/files/rules.yaml")
"""The same once more: a chart reads what lies in its own folder only."""
GROUPS = (*slo.GROUPS, gateways.GROUP, store.GROUP, operator.GROUP, roles.ROLLOUTS, roles.ROLES)


def alerts() -> dict[str, list[Alert]]:
    """By name; one of several paces has several rules."""
    found: dict[str, list[Alert]] = {}
    for group in GROUPS:
        for rule in group.rules:
            if isinstance(rule, Alert):
                found.setdefault(rule.name, []).append(rule)
    return found


def rendered() -> dict[Path, str]:
    """Rule files by their path under the repository's root."""
    return {FILE: text(GROUPS), CHART_FILE: text(GROUPS)}
