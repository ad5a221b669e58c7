"""The rule set is one for all Roles, asks for what the code exports, and says nothing that a tenant wrote."""

import re

from tests.support.sources import exported

from rolehost_api import slo as series
from rolehost_api.crd.role import FASTEST_BURN, LEAST_TARGET
from rolehost_dashboards.rules import CHART_FILE, FILE, GROUPS, alerts, rendered
from rolehost_dashboards.rules.shape import Alert, Record, Scope
from rolehost_dashboards.rules.windows import PACES

RULES = [rule for group in GROUPS for rule in group.rules]
RECORDED = {rule.name for rule in RULES if isinstance(rule, Record)}
SAID = {
    "tenant",
    "role",
    "objective",
    "kind",
    "what",
    "why",
    "code",
    "outcome",
    "policy",
    "backend",
    "instance",
    "rule_group",
}
"""Labels whose values are names of objects or words of ours."""


def test_the_file_and_the_charts_are_the_same() -> None:
    files = rendered()
    assert files[FILE] == files[CHART_FILE]


def test_what_it_asks_for_is_exported_or_recorded() -> None:
    for rule in RULES:
        for name in re.findall(r"(?<![\w:])rolehost_[a-z_0-9]+", rule.expr):
            assert exported(name), (rule.name, name)
        for name in re.findall(r"\brolehost:[a-z_0-9:]+", rule.expr):
            assert name in RECORDED, (rule.name, name)
    assert {f"{series.TURNS}_total", series.TARGET, series.WINDOW} <= set(
        re.findall(r"rolehost_[a-z_]+", " ".join(rule.expr for rule in RULES))
    )


def test_no_rule_names_a_tenant_or_a_role() -> None:
    """So their number is the same for one Role and for ten thousand."""
    for rule in RULES:
        assert re.search(r"\b(tenant|role)\s*(=|!=|=~|!~)", rule.expr) is None, rule.name


def test_texts_say_labels_of_ours_and_a_number_only() -> None:
    for rule in RULES:
        if isinstance(rule, Alert):
            holes = re.findall(r"{{(.*?)}}", f"{rule.summary} {rule.description}")
            for hole in holes:
                named = re.fullmatch(r" \$labels\.(\w+) ", hole)
                assert (named and named[1] in SAID) or re.fullmatch(r" \$value( \| \w+)? ", hole), (rule.name, hole)
            assert len(rule.summary) <= 140, rule.name
            assert not rule.summary.endswith("."), rule.name


def test_whose_it_is_stands_in_what_it_says() -> None:
    """An alert of a Role's or a tenant's has the label that routes it."""
    for rules in alerts().values():
        for rule in rules:
            assert ("$labels.tenant" in rule.summary) == (rule.scope is Scope.ROLE), rule.name


def test_rules_of_one_name_have_one_severity_and_differ_in_a_label() -> None:
    for name, rules in alerts().items():
        assert len({rule.severity for rule in rules}) == 1, name
        assert len({tuple(rule.labels.items()) for rule in rules}) == len(rules), name


def test_groups_are_evaluated_while_their_last_word_counts() -> None:
    seconds = {"s": 1, "m": 60}
    assert all(int(group.interval[:-1]) * seconds[group.interval[-1]] < 300 for group in GROUPS)


def test_the_least_target_is_the_first_that_the_fastest_pace_can_reach() -> None:
    assert max(pace.factor for pace in PACES) == FASTEST_BURN
    assert (100 - LEAST_TARGET) * FASTEST_BURN < 100 < (100 - (LEAST_TARGET - 0.001)) * FASTEST_BURN
