"""The bets are fair: on average nobody gains against what is so, and they gain nothing by being looked at."""

import math
from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_operator.rollout.eprocess import (
    RATIOS,
    STAKES,
    Counts,
    log_bet,
    log_ratio,
    log_sum,
    log_within,
    log_worse,
)
from rolehost_operator.rollout.splitting import of_epoch

share = st.floats(0.01, 0.99)
count = st.integers(0, 300)
counts = st.builds(Counts, count, count, count, count, share)


@pytest.mark.parametrize("parts", [RATIOS, STAKES])
def test_the_stake_is_laid_once(parts: tuple[tuple[float, float], ...]) -> None:
    assert math.fsum(part for _, part in parts) == pytest.approx(1)


@given(share, st.floats(0, 1), st.floats(0, 1))
def test_a_bad_session_gains_nothing_on_average_where_the_candidate_is_no_worse(
    w: float, q: float, less: float
) -> None:
    p = q * less
    for ratio, _ in RATIOS:
        won = w * p * math.exp(log_ratio(Counts(bad=1, share=w), ratio))
        lost = (1 - w) * q * math.exp(log_ratio(Counts(baseline_bad=1, share=w), ratio))
        neither = 1 - w * p - (1 - w) * q
        assert won + lost + neither <= 1 + 1e-9


@given(share, st.floats(0.01, 0.5), st.floats(0, 1), st.floats(0, 1))
def test_a_session_gains_nothing_on_average_where_the_candidate_is_worse_by_the_margin(
    w: float, margin: float, q: float, more: float
) -> None:
    q *= 1 - margin
    p = q + margin + more * (1 - q - margin)
    for stake, _ in STAKES:
        mean = (
            w * (1 - p) * math.exp(log_bet(Counts(good=1, share=w), margin, stake))
            + w * p * math.exp(log_bet(Counts(bad=1, share=w), margin, stake))
            + (1 - w) * q * math.exp(log_bet(Counts(baseline_bad=1, share=w), margin, stake))
            + (1 - w) * (1 - q)
        )
        assert mean <= 1 + 1e-9


def test_all_ways_that_five_sessions_may_go_make_one_together_where_both_are_alike() -> None:
    """The mean over every sequence, not over a sample of them."""
    share, fails = 0.25, 0.3
    total = 0.0
    chances = {
        "good": share * (1 - fails),
        "bad": share * fails,
        "baseline_good": (1 - share) * (1 - fails),
        "baseline_bad": (1 - share) * fails,
    }
    for sessions in product(chances, repeat=5):
        seen = Counts(**{kind: sessions.count(kind) for kind in chances}, share=share)
        total += math.prod(chances[kind] for kind in sessions) * math.exp(log_worse(seen))
    assert total == pytest.approx(1)


@given(counts)
def test_sessions_that_are_good_say_nothing_of_worse(one: Counts) -> None:
    more = replace(one, good=one.good + 1, baseline_good=one.baseline_good + 9)
    assert log_worse(more) == log_worse(one)


@given(counts)
def test_a_bad_session_of_the_candidate_raises_worse_and_one_of_the_baseline_lowers_it(one: Counts) -> None:
    assert log_worse(replace(one, bad=one.bad + 1)) >= log_worse(one)
    assert log_worse(replace(one, baseline_bad=one.baseline_bad + 1)) <= log_worse(one)


@given(counts, st.floats(0.01, 0.5))
def test_a_good_session_of_the_candidate_raises_no_worse_and_a_bad_one_lowers_it(one: Counts, margin: float) -> None:
    worse, better = replace(one, bad=one.bad + 1), replace(one, good=one.good + 1)
    assert log_within(worse, margin) <= log_within(one, margin) <= log_within(better, margin)


@given(counts, st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_who_rules_out_a_margin_rules_out_every_larger_one(one: Counts, margin: float, other: float) -> None:
    assert log_within(one, min(margin, other)) <= log_within(one, max(margin, other)) + 1e-9


@given(counts, counts)
def test_an_epoch_cut_in_two_makes_the_same_of_each_bet(one: Counts, other: Counts) -> None:
    """Likelihood ratios multiply: what two parts of an epoch say is what the whole of it says."""
    whole = Counts(
        one.good + other.good,
        one.bad + other.bad,
        one.baseline_good + other.baseline_good,
        one.baseline_bad + other.baseline_bad,
        one.share,
    )
    other = Counts(other.good, other.bad, other.baseline_good, other.baseline_bad, one.share)
    for ratio, _ in RATIOS:
        assert log_ratio(one, ratio) + log_ratio(other, ratio) == pytest.approx(log_ratio(whole, ratio))
    for stake, _ in STAKES:
        assert log_bet(one, 0.02, stake) + log_bet(other, 0.02, stake) == pytest.approx(log_bet(whole, 0.02, stake))


def test_users_who_come_again_in_every_epoch_do_not_roll_a_good_revision_back() -> None:
    """Some users always fail, on either side. Their bucket is drawn once for all epochs, so epochs whose ratios were
    multiplied would count one draw four times; with a part of α for each epoch it counts once."""
    rng, runs, alpha, users = Random(7), 1_000, 0.01, 20
    apart = multiplied = 0
    for _ in range(runs):
        buckets = [rng.random() for _ in range(users)]
        epochs = []
        for share in (0.05, 0.06, 0.07, 0.08):
            bad = sum(bucket < share for bucket in buckets)
            epochs.append(Counts(bad=bad, baseline_bad=users - bad, share=share))
        apart += any(log_worse(one) >= -math.log(of_epoch(alpha, epoch)) for epoch, one in enumerate(epochs, 1))
        multiplied += any(
            log_sum(
                [math.log(part) + math.fsum(log_ratio(one, ratio) for one in epochs[:last]) for ratio, part in RATIOS]
            )
            >= -math.log(alpha)
            for last in range(1, 5)
        )
    assert apart <= alpha * runs
    assert multiplied > 2 * alpha * runs, "what the split of α is for"
