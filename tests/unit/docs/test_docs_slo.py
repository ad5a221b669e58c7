"""docs/slo.md: its turns are classified as its table says, and its series and parts of the receipt are all there are."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from rolehost_api import slo
from rolehost_api.crd.role import Slo
from rolehost_api.wire import Metrics
from rolehost_operator.rollout.verdicts import FAMILIES, LINGER
from rolehost_runtime.core.classifying import DEADLINE_MS, WAITED_MS, classify, rules_of
from rolehost_runtime.core.scoring import HANG_SECONDS
from rolehost_runtime.gateway.sessions.exposing import families
from rolehost_runtime.gateway.sessions.judging import DAY, GONE_SECONDS, IDLE_SECONDS
from rolehost_runtime.gateway.sessions.tally import MAX_REVISIONS

PAGE = (Path(__file__).parents[3] / "docs" / "slo.md").read_text()
TABLES = {
    part.splitlines()[0]: [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("|") and "---" not in line
    ][1:]
    for part in PAGE.split("\n## ")
}
(MANIFEST,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
OBJECTIVES = msgspec.convert(yaml.safe_load(MANIFEST)["spec"]["slo"], Slo).objectives


@pytest.mark.parametrize("row", TABLES["What counts"], ids=lambda row: row[0])
def test_a_turn_is_classified_as_the_page_says(row: list[str]) -> None:
    _, outcome, ttft, total, *marks = row
    found = classify(rules_of(OBJECTIVES), outcome.strip("`"), float(ttft) if ttft else None, float(total))
    assert list(found.marks) == marks
    assert not found.why or found.why in PAGE


def test_the_tables_columns_are_the_examples_objectives() -> None:
    assert [one.name for one in OBJECTIVES] == ["works", "fast", "whole"]
    assert f"`{slo.DEFAULT_OBJECTIVE.name}`, {slo.DEFAULT_OBJECTIVE.target} %" in PAGE


def test_the_pages_series_are_those_that_are_exported() -> None:
    told = {re.findall(r"`(\w+)`", name)[0]: set(re.findall(r"`(\w+)`", labels)) for name, labels in TABLES["Series"]}
    assert told == {
        family.name + ("_total" if family.type == "counter" else ""): set(family._family._labelnames)  # type: ignore[attr-defined]
        for family in families({}, (), {})
    }


def test_the_operators_series_are_those_that_are_exported() -> None:
    told = {
        re.findall(r"`(\w+)`", name)[0]: tuple(re.findall(r"`(\w+)`", labels))
        for name, labels in TABLES["How near a rollout is"]
    }
    assert told == {name: labels for name, (_, labels) in FAMILIES.items()}
    assert LINGER == 60


def test_the_pages_receipt_is_the_frames() -> None:
    assert {re.findall(r"`(\w+)`", name)[0] for name, _ in TABLES["The receipt"]} == set(Metrics.__struct_fields__)


def test_the_pages_numbers_are_the_codes() -> None:
    assert (slo.FIRST_TURNS, slo.HORIZON_SECONDS, HANG_SECONDS) == (5, 120, 120)
    assert (WAITED_MS, DEADLINE_MS) == (10_000, 1_000)
    assert (GONE_SECONDS, IDLE_SECONDS, MAX_REVISIONS) == (3_600, DAY, 4)
