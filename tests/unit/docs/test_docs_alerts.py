"""The page of alerts says what the rules are."""

import re

import yaml
from tests.support.sources import REPOSITORY

from rolehost_api.crd.role import LEAST_TARGET
from rolehost_api.manifest import check
from rolehost_dashboards.rules import GROUPS, alerts
from rolehost_dashboards.rules.shape import Record
from rolehost_dashboards.rules.windows import PACES

PAGE = (REPOSITORY / "docs" / "alerts.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_it_lists_every_alert() -> None:
    assert set(re.findall(r"`(Rolehost[A-Za-z]+)`", PAGE)) == set(alerts())


def test_its_paces_are_those_of_the_rules() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith(("| page `", "| ticket `"))]
    told = [
        (row[1].split()[0], float(re.findall(r"[\d.]+", row[2])[0]), row[3].replace(" ", ""), row[4].replace(" ", ""))
        for row in rows
    ]
    assert told == [(pace.severity.value, pace.factor, pace.long, pace.short) for pace in PACES]
    bad = [[int(count) for count in re.findall(r"\d+", row[5])] for row in rows]
    assert bad == [[pace.least_bad] + [pace.least_bad_now] * (pace.least_bad_now > 1) for pace in PACES]
    assert f"**A target below {LEAST_TARGET} is refused**" in PAGE


def test_its_manifest_is_good_and_its_values_are_the_charts() -> None:
    values, role = BLOCKS
    assert check(role) == []
    known = yaml.safe_load((REPOSITORY / "charts/rolehost/values.yaml").read_text())["metrics"]
    given = yaml.safe_load(values)["metrics"]
    assert all(set(part) <= set(known[name]) for name, part in given.items())


def test_what_is_recorded_is() -> None:
    recorded = {rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Record)}
    assert set(re.findall(r"`(rolehost:[a-z_0-9:]+)`", PAGE)) <= recorded
