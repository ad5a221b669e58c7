"""A revision is worse, no worse, or it is not known: every way to each of the three, and never one for another."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scored import NEW, NOON, OLD, cohort, evidence, samples, side_by_side, together

from rolehost_api.crd.rollout import Analysis, Arm, CustomMetric, MetricAction
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.judging import judge
from rolehost_operator.rollout.verdict import Judgement, Verdict

WORSE = side_by_side((46, 14), (1_080, 54))
GOOD = side_by_side((420, 0), (7_990, 5))
OPEN = side_by_side((100, 2), (1_900, 20))


def judged(seen: Evidence, epoch: int = 1, **analysis: object) -> Judgement:
    return judge(seen, Analysis(**analysis), epoch=epoch, now=NOON + timedelta(seconds=5))  # type: ignore[arg-type]


def cost(action: MetricAction = MetricAction.HOLD, **bound: str) -> CustomMetric:
    return CustomMetric(name="cost", prom_ql="cost", action=action, **(bound or {"max": "0.5"}))  # type: ignore[arg-type]


# ── three verdicts ──────────────────────────────────────────────────────────────────


def test_a_revision_that_is_worse_is_unhealthy_and_says_by_which_numbers() -> None:
    verdict = judged(evidence(*WORSE))
    assert replace(verdict, bets=()) == Judgement(
        Verdict.UNHEALTHY,
        "WorseThanStable",
        "turn-success: 14 of 60 sessions (23.3 %) were bad, 54 of 1134 (4.8 %) on stable: that the new revision is no worse is ruled "
        "out.",
        metric="turn-success/whole",
        value="14 of 60 (23.3 %)",
        threshold="54 of 1134 (4.8 %)",
        samples=60,
        alpha="0.00072",
    )


def test_a_revision_that_is_no_worse_is_healthy_once_more_than_the_margin_is_ruled_out() -> None:
    verdict = judged(evidence(*GOOD))
    assert (verdict.verdict, verdict.reason, verdict.samples) == (Verdict.HEALTHY, "NoWorse", 420)
    assert "worse by more than 2 points is ruled out" in verdict.message


def test_what_is_not_proven_is_unknown_and_says_what_is_still_expected() -> None:
    verdict = judged(evidence(*OPEN))
    assert (verdict.verdict, verdict.reason) == (Verdict.UNKNOWN, "NotProven")
    assert verdict.samples_expected > 0
    assert f"102 of about {102 + verdict.samples_expected} sessions" in verdict.message
    assert "rolehost rollout promote" in verdict.message


def test_a_bad_baseline_does_not_make_its_candidate_worse_nor_does_a_shared_outage() -> None:
    outage = side_by_side((60, 40), (1_140, 760))
    assert judged(evidence(*outage)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 95, 99])
def test_any_weight_can_find_a_revision_that_fails_always(percent: int) -> None:
    sessions = 40 * percent, 40 * (100 - percent)
    seen = side_by_side((0, sessions[0]), (sessions[1], 0), percent)
    assert judged(evidence(*seen)).verdict is Verdict.UNHEALTHY


@pytest.mark.parametrize("percent", [1, 5, 25, 50, 95, 99])
def test_any_weight_can_prove_a_revision_that_never_fails(percent: int) -> None:
    seen = side_by_side((100 * percent, 0), (100 * (100 - percent), 0), percent)
    margin = 10 if percent == 1 else 2
    assert judged(evidence(*seen), margin_percent=margin).verdict is Verdict.HEALTHY


def test_after_promotion_the_new_stable_is_judged_against_the_few_that_stayed() -> None:
    stepped = side_by_side((420, 0), (7_990, 5))
    watched = side_by_side((1_400, 500), (99, 1), 95, epoch=2)
    verdict = judged(evidence(*stepped, *watched), epoch=2)
    assert verdict.verdict is Verdict.UNHEALTHY


# ── what is missing ─────────────────────────────────────────────────────────────────


def test_missing_evidence_is_unknown_with_its_own_reason_however_bad_the_numbers_are() -> None:
    verdict = judged(evidence(*WORSE, missing="PrometheusUnreachable", detail="It did not answer."))
    assert verdict == Judgement(Verdict.UNKNOWN, "PrometheusUnreachable", "It did not answer.")
    assert judged(evidence(*WORSE, at=None)).reason == "EvidenceStale"
    assert judged(evidence(*WORSE, at=NOON - timedelta(minutes=6))).reason == "EvidenceStale"


def test_without_sessions_it_waits_and_names_both_floors() -> None:
    for seen in (evidence(), evidence(*side_by_side((0, 0), (50, 0)))):
        verdict = judged(seen)
        assert (verdict.verdict, verdict.reason) == (Verdict.UNKNOWN, "WaitingForSessions")
        assert verdict.message.startswith("0 of 10 sessions and 0 of 50 turns on the new revision")
        assert verdict.samples_expected >= 10


def test_the_floors_hold_a_promotion_and_no_rollback() -> None:
    assert judged(evidence(*GOOD), min_sessions=421).reason == "WaitingForSessions"
    assert judged(evidence(*GOOD), min_turns=2_101).reason == "WaitingForSessions"
    assert judged(evidence(*WORSE), min_sessions=1_000, min_turns=100_000).verdict is Verdict.UNHEALTHY


def test_only_the_present_epoch_proves_that_a_revision_is_no_worse() -> None:
    later = side_by_side((5, 0), (15, 0), 25, epoch=2)
    verdict = judged(evidence(*GOOD, *later), epoch=2)
    assert (verdict.verdict, verdict.samples) == (Verdict.UNKNOWN, 5)


def test_another_epoch_counts_for_nothing_whether_it_is_over_or_yet_to_come() -> None:
    fresh = side_by_side((0, 0), (0, 0), epoch=2)
    for other in (1, 3):
        seen = evidence(*fresh, *side_by_side((0, 60), (900, 0), epoch=other))
        assert judged(seen, epoch=2).reason == "WaitingForSessions"
        assert judged(seen, epoch=other).verdict is Verdict.UNHEALTHY


def test_each_epoch_has_its_part_of_the_error_and_says_it() -> None:
    parts = [
        float(judged(evidence(*side_by_side((0, 60), (900, 0), epoch=epoch)), epoch=epoch).alpha)
        for epoch in range(1, 9)
    ]
    assert parts == sorted(parts, reverse=True)
    assert sum(parts) < 0.0009


def test_with_all_sessions_on_the_new_revision_there_is_nothing_to_compare() -> None:
    assert judged(evidence(cohort(Arm.CANDIDATE, 100, {"whole": (900, 0)}))).reason == "NothingToCompare"


def test_a_candidate_whose_sessions_give_no_outcome_is_not_healthy() -> None:
    candidate, baseline = GOOD
    silent = replace(candidate, tallies={}, turns=9_999)
    assert judged(evidence(silent, baseline)).verdict is Verdict.UNKNOWN
    hung = replace(candidate, assigned={"user": 470})
    ready = replace(baseline, assigned={"user": 7_995 + 20})
    verdict = judged(evidence(hung, ready))
    assert verdict.verdict is Verdict.UNKNOWN
    assert "gave no outcome and count as bad" in verdict.message
    young = replace(baseline, assigned={"user": 7_995 + 900})
    assert judged(evidence(hung, young)).verdict is Verdict.HEALTHY, "as many of the baseline's are still open"


@pytest.mark.parametrize(("assigned", "more"), [(700, True), (200, False)])
def test_sessions_that_were_not_drawn_by_the_weights_prove_nothing(assigned: int, more: bool) -> None:
    for candidate, baseline in (WORSE, GOOD):
        seen = evidence(replace(candidate, assigned={"user": assigned}), replace(baseline, assigned={"user": 8_000}))
        verdict = judged(seen)
        if verdict.verdict is Verdict.UNHEALTHY:
            assert not more, "fewer than its weight makes no revision look worse"
            continue
        assert verdict.reason == "SharesUneven"
        assert ("more than its weight" in verdict.message) is more


# ── how near it is ──────────────────────────────────────────────────────────────────


def nearest(verdict: Judgement, of: Verdict) -> float:
    """What of the way was gone; of Healthy the objective that lags most, for all must get there. −1: nobody asked."""
    parts = [one.part for one in verdict.bets if one.verdict is of]
    return (max if of is Verdict.UNHEALTHY else min)(parts, default=-1)


def test_a_verdict_says_how_near_it_was_to_either() -> None:
    worse, good, open_ = (judged(evidence(*seen)) for seen in (WORSE, GOOD, OPEN))
    assert nearest(worse, Verdict.UNHEALTHY) >= 1 > nearest(good, Verdict.UNHEALTHY)
    assert nearest(good, Verdict.HEALTHY) >= 1
    assert nearest(open_, Verdict.HEALTHY) < 1
    assert nearest(open_, Verdict.UNHEALTHY) < 1
    assert [one.metric for one in open_.bets] == [
        "turn-success/whole", "turn-success/first", "turn-success/later", "turn-success/whole",
    ]  # fmt: skip


def test_nothing_is_said_of_what_nobody_asked() -> None:
    assert judged(evidence(*WORSE, missing="PrometheusUnreachable")).bets == ()
    assert judged(evidence()).bets == ()
    assert nearest(judged(evidence(*WORSE)), Verdict.HEALTHY) == -1
    assert nearest(judged(evidence(*GOOD), min_sessions=421), Verdict.HEALTHY) >= 1, "a floor takes nothing from it"


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([5, 50]))
def test_users_are_rolled_back_or_promoted_where_a_bet_is_won_and_only_there(
    bad: int, stable: int, percent: int
) -> None:
    seen = side_by_side((600 - bad, bad), (600 * (100 - percent) // percent - stable, stable), percent)
    verdict = judged(evidence(*seen), min_turns=0, min_sessions=0)
    assert (verdict.verdict is Verdict.UNHEALTHY) == (nearest(verdict, Verdict.UNHEALTHY) >= 1)
    assert (verdict.verdict is Verdict.HEALTHY) == (nearest(verdict, Verdict.HEALTHY) >= 1)


# ── anonymous traffic ───────────────────────────────────────────────────────────────


def test_anonymous_traffic_alone_rolls_nothing_back_and_promotes_nothing_that_it_finds_worse() -> None:
    verdict = judged(evidence(*side_by_side((0, 60), (1_080, 54), known="anonymous")))
    assert (verdict.verdict, verdict.reason) == (Verdict.UNKNOWN, "WorseForAnonymous")
    assert "rolehost rollout abort" in verdict.message


def test_anonymous_traffic_counts_with_some_that_users_show() -> None:
    anonymous = side_by_side((40, 20), (1_080, 54), known="anonymous")
    few = side_by_side((16, 6), (380, 10))
    neither = side_by_side((22, 0), (380, 10))
    assert judged(evidence(*few)).verdict is Verdict.UNKNOWN
    both = [together(one, other) for one, other in zip(few, anonymous, strict=True)]
    assert judged(evidence(*both)).verdict is Verdict.UNHEALTHY
    contradicted = [together(one, other) for one, other in zip(neither, anonymous, strict=True)]
    assert judged(evidence(*contradicted)).reason == "WorseForAnonymous"


def test_nobody_hides_what_users_see_behind_anonymous_traffic() -> None:
    cover = side_by_side((600, 0), (10_000, 2_000), known="anonymous")
    both = [together(one, other) for one, other in zip(side_by_side((45, 17), (1_080, 54)), cover, strict=True)]
    assert judged(evidence(*both)).verdict is Verdict.UNHEALTHY


def test_anonymous_traffic_may_prove_a_revision_no_worse() -> None:
    assert judged(evidence(*side_by_side((420, 0), (7_990, 5), known="anonymous"))).verdict is Verdict.HEALTHY


# ── objectives and strata ───────────────────────────────────────────────────────────


def test_one_that_fails_only_in_its_first_turn_is_found_there() -> None:
    seen = (
        cohort(Arm.CANDIDATE, 5, {"whole": (60, 40), "first": (84, 16), "later": (70, 30)}),
        cohort(Arm.BASELINE, 95, {"whole": (1_330, 570), "first": (1_895, 5), "later": (1_332, 568)}),
    )
    verdict = judged(evidence(*seen))
    assert (verdict.verdict, verdict.metric, verdict.alpha) == (Verdict.UNHEALTHY, "turn-success/first", "4e-05")
    assert "bad in their first turn" in verdict.message


def test_without_a_score_of_the_whole_session_first_and_later_turns_must_both_be_no_worse() -> None:
    candidate, baseline = {"first": (420, 0), "later": (420, 0)}, {"first": (7_990, 5), "later": (7_990, 5)}
    healthy = cohort(Arm.CANDIDATE, 5, candidate), cohort(Arm.BASELINE, 95, baseline)
    assert judged(evidence(*healthy)).verdict is Verdict.HEALTHY
    short = cohort(Arm.CANDIDATE, 5, {**candidate, "later": (40, 0)})
    assert judged(evidence(short, healthy[1])).verdict is Verdict.UNKNOWN


def test_what_users_show_by_one_objective_stands_however_loud_anonymous_traffic_is_by_another() -> None:
    loud = side_by_side((0, 500), (9_000, 500), known="anonymous", stratum="first")
    both = [together(one, other) for one, other in zip(side_by_side((46, 16), (1_080, 54)), loud, strict=True)]
    assert judged(evidence(*both)).metric == "turn-success/whole"


# ── custom metrics ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("action", "values", "expected"),
    [
        (MetricAction.HOLD, (0.5, 0.5, 0.5), (Verdict.HEALTHY, "NoWorse")),
        (MetricAction.HOLD, (0.4, 0.4, 0.6), (Verdict.UNKNOWN, "MetricBeyondBound")),
        (MetricAction.HOLD, (0.6, 0.6, 0.6, 0.6), (Verdict.UNKNOWN, "MetricBeyondBound")),
        (MetricAction.HOLD, (0.6, 0.6, 0.6, 0.5), (Verdict.HEALTHY, "NoWorse")),
        (MetricAction.HOLD, (), (Verdict.UNKNOWN, "MetricWithoutNumber")),
        (MetricAction.ROLLBACK, (0.4, 0.6, 0.6), (Verdict.UNKNOWN, "MetricBeyondBound")),
        (MetricAction.ROLLBACK, (0.6, 0.6, 0.4, 0.6, 0.6), (Verdict.UNKNOWN, "MetricBeyondBound")),
        (MetricAction.ROLLBACK, (0.6, 0.6, 0.6), (Verdict.UNHEALTHY, "MetricBeyondBound")),
    ],
)
def test_a_custom_metric_gates_and_rolls_back_only_where_it_says_so(
    action: MetricAction, values: tuple[float, ...], expected: tuple[Verdict, str]
) -> None:
    verdict = judged(evidence(*GOOD, customs={"cost": samples(*values)}), metrics=[cost(action)])
    assert (verdict.verdict, verdict.reason) == expected


def test_a_metric_that_rolls_back_needs_no_session_and_says_value_and_bound() -> None:
    seen = evidence(customs={"cost": samples(0.2, 0.1, 0.05)})
    verdict = judged(seen, metrics=[cost(MetricAction.ROLLBACK, min="0.5")])
    assert (verdict.verdict, verdict.metric, verdict.value, verdict.threshold) == (
        Verdict.UNHEALTHY,
        "cost",
        "0.05",
        "at least 0.5",
    )


def test_a_metric_without_a_number_holds_a_revision_that_is_no_worse_and_not_one_that_is() -> None:
    troubles = {"cost": "two series"}
    fine = {"cost": samples(0.1)}
    assert (
        judged(evidence(*GOOD, metric_troubles=troubles, customs=fine), metrics=[cost()]).reason
        == "MetricWithoutNumber"
    )
    assert judged(evidence(*WORSE, metric_troubles=troubles), metrics=[cost()]).reason == "WorseThanStable"


# ── laws ────────────────────────────────────────────────────────────────────────────

count = st.integers(0, 400)


@given(count, count, count, count, st.sampled_from([1, 5, 25, 50, 95]), st.sampled_from(["user", "anonymous"]))
def test_no_good_session_of_a_candidate_rolls_it_back_and_no_bad_one_promotes_it(
    good: int, bad: int, baseline_good: int, baseline_bad: int, percent: int, known: str
) -> None:
    def verdict(good: int, bad: int) -> Verdict:
        pair = side_by_side((good, bad), (baseline_good, baseline_bad), percent, known=known)
        # What was assigned is as told, whatever was scored.
        drawn = [replace(one, assigned={known: 100 * one.percent}, turns=99) for one in pair]
        return judged(evidence(*drawn), min_sessions=0, min_turns=0, margin_percent=20).verdict

    before = verdict(good, bad)
    if before is not Verdict.UNHEALTHY:
        assert verdict(good + 1, bad) is not Verdict.UNHEALTHY
    if before is not Verdict.HEALTHY:
        assert verdict(good, bad + 1) is not Verdict.HEALTHY


def test_the_names_of_revisions_are_not_looked_at() -> None:
    renamed = [replace(one, revision={NEW: "z", OLD: "a"}[one.revision]) for one in WORSE]
    assert judged(evidence(*renamed)) == judged(evidence(*WORSE))
