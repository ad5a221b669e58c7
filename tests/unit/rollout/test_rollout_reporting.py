"""An experiment's report: every variant beside stable, with intervals that hold whenever they are looked at."""

import math
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.scored import NOON, OLD, cohort, evidence

from rolehost_api.crd.rollout import Analysis, Arm
from rolehost_operator.rollout.eprocess import Counts, log_within
from rolehost_operator.rollout.judging import judge
from rolehost_operator.rollout.reporting import interval, report
from rolehost_operator.rollout.verdict import Verdict

count = st.integers(0, 500)
counts = st.builds(Counts, count, count, count, count, st.floats(0.05, 0.95))


def test_every_variant_has_its_lines_and_its_part_of_the_error() -> None:
    stable = cohort(Arm.BASELINE, 40, {"whole": (760, 40)})
    better = cohort(Arm.CANDIDATE, 20, {"whole": (400, 0)}, revision="b")
    worse = cohort(Arm.CANDIDATE, 40, {"whole": (600, 200)}, revision="c")
    lines = report(evidence(worse, stable, better), Analysis())
    assert [(one.revision, one.stratum) for one in lines] == [
        (revision, stratum) for revision in "bc" for stratum in ("whole", "first", "later")
    ]
    assert math.fsum(one.alpha for one in lines) <= 0.001 * (1 + 1e-9)
    whole = {one.revision: one for one in lines if one.stratum == "whole"}
    assert whole["b"].high < 0 < whole["c"].low
    assert whole["c"].worse > 1_000 > whole["c"].better
    assert (whole["c"].sessions, whole["c"].bad, whole["c"].stable_sessions, whole["c"].stable_bad) == (
        800,
        200,
        800,
        40,
    )


def test_without_two_sides_there_is_nothing_to_report() -> None:
    alone = cohort(Arm.CANDIDATE, 40, {"whole": (600, 200)}, revision="c")
    assert report(evidence(alone), Analysis()) == []
    assert report(evidence(cohort(Arm.BASELINE, 60, {"whole": (5, 5)}, revision=OLD)), Analysis()) == []


@settings(max_examples=15)
@given(counts, st.sampled_from([0.001, 0.05]))
def test_changing_the_sides_over_turns_the_interval_round(one: Counts, alpha: float) -> None:
    low, high = interval(one, alpha)
    assert interval(one.swapped(), alpha) == (-high, -low)
    assert low <= high


@settings(max_examples=15)
@given(counts)
def test_more_certainty_is_a_wider_interval(one: Counts) -> None:
    narrow, wide = interval(one, 0.05), interval(one, 0.001)
    assert narrow == (-1, 1) or wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def test_the_true_difference_is_missed_no_more_often_than_alpha_says_however_often_it_is_looked_at() -> None:
    alpha, share, fails, difference, runs = 0.1, 0.3, 0.1, 0.08, 150
    rng, missed = Random(3), 0
    for _ in range(runs):
        seen = Counts(share=share)
        out = False
        for _ in range(300):
            if rng.random() < share:
                bad = rng.random() < fails + difference
                seen = replace(seen, bad=seen.bad + bad, good=seen.good + (not bad))
            else:
                bad = rng.random() < fails
                seen = replace(seen, baseline_bad=seen.baseline_bad + bad, baseline_good=seen.baseline_good + (not bad))
            ends = log_within(seen, difference), log_within(seen.swapped(), -difference)
            out = out or max(ends) >= math.log(2 / alpha)
        missed += out
    assert 0 < missed <= alpha * runs


def test_sides_that_cannot_have_been_drawn_by_their_weights_say_nothing() -> None:
    assert interval(Counts(0, 0, 171, 421, 0.5), 0.001) == (-1.0, 1.0)


def test_the_judge_tells_what_variants_show_and_says_nothing_of_them() -> None:
    stable = cohort(Arm.BASELINE, 40, {"whole": (760, 40)})
    better = cohort(Arm.CANDIDATE, 20, {"whole": (400, 0)}, revision="b")
    worse = cohort(Arm.CANDIDATE, 40, {"whole": (600, 200)}, revision="c" * 253)
    said = judge(evidence(worse, stable, better), Analysis(false_alarms_per_million=50_000), epoch=1, now=NOON)
    assert (said.verdict, said.reason, said.samples) == (Verdict.UNKNOWN, "VariantsCompared", 800)
    assert (
        "b, turn-success: 0 of 400 sessions (0.0 %) were bad, 40 of 800 (5.0 %) on stable; -8.2 to -2.7 points"
        in said.message
    )
    many = [cohort(Arm.CANDIDATE, 9, {"whole": (9, 9)}, revision=name * 253) for name in "abcdef"]
    assert len(judge(evidence(stable, *many), Analysis(), epoch=1, now=NOON).message) <= 1_000
