"""The page on how a rollout is judged says what the judge does: its bets are made again, its tables are the evidence's."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from rolehost_operator.rollout.eprocess import Counts, log_within, log_worse

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "rollout-statistics.md").read_text()
EVIDENCE = REPOSITORY / "docs" / "evidence"


def kept(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EVIDENCE / f"rollout-{name}.json").read_text())
    return found


def sessions() -> list[str]:
    return [
        f"| {one['model']} | {one['percent']} % | {one['needed']['median']:.0f} | {one['needed']['mean']:.0f} | "
        f"{one['bound']:.1f} | {one['ratio']:.2f} | {one['ratio_of_means']:.2f} |"
        for one in kept("sessions")["sessions"]
        if one["bound"]
    ]


def errors() -> list[str]:
    rows = []
    for model in ("iid", "clustered", "bursty", "drifting"):
        alike, *theirs, worse = kept(f"errors-{model}")["errors"]
        counts = " | ".join(f"{one['wrong']}" for one in (alike, worse, *theirs))
        rows.append(f"| {model} | {alike['runs']:,} | {counts} |")
    return rows


def races() -> list[str]:
    return [
        f"| {one['rate']:g} | {one['seconds']['median']:.0f} s, {one['sessions']['median']:.0f} sessions | "
        f"{one['flagger_seconds']['median']:.0f} s, {one['flagger_sessions']['median']:.0f} sessions | {one['ratio']:.2f} | "
        f"{one['wrong'] * one['runs']:.0f} of {one['runs']} | {one['flagger_wrong'] * one['runs']:.0f} of {one['runs']} |"
        for one in kept("races")["races"]
    ]


@pytest.mark.parametrize("rows", [sessions, errors, races], ids=lambda rows: str(rows.__name__))
def test_every_row_is_as_the_evidence_has_it(rows: Any) -> None:
    expected = rows()
    assert expected
    assert [row for row in expected if row not in PAGE] == []


def test_every_bet_of_the_page_has_made_what_the_page_says() -> None:
    bets = re.findall(r"^\| (\d+), (\d+) \| ([\d.,]+) \|", PAGE, re.MULTILINE)
    assert len(bets) == 5
    for bad, stable, made in bets:
        value = math.exp(log_worse(Counts(bad=int(bad), baseline_bad=int(stable), share=0.05)))
        digits = len(made.partition(".")[2])
        assert f"{value:,.{digits}f}" == made


def test_so_many_sessions_without_a_bad_one_prove_it_as_the_page_says() -> None:
    (needed,) = re.findall(r"single bad session that takes (\d+) sessions", PAGE)
    proof = math.log(1_000)
    assert log_within(Counts(good=int(needed), share=0.05), 0.02) >= proof
    assert log_within(Counts(good=int(needed) - 5, share=0.05), 0.02) < proof
