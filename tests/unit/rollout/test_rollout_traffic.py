"""Simulated traffic is what it says it is, and Flagger's rule is Flagger's."""

import math
from random import Random

import pytest

from rolehost_api.crd.rollout import Analysis
from rolehost_api.slo import FIRST, LATER, WHOLE
from rolehost_operator.rollout.verdict import Verdict
from rolehost_operator.simulation.rules import Flagger, Ours
from rolehost_operator.simulation.traffic import (
    Model,
    Seen,
    Traffic,
    bad_session,
    draw,
    poisson,
    session_fails,
    share_of_bad,
)


def shares(seen: Seen, side: int, stratum: str) -> float:
    good, bad = (sum(sum(one.scores[side][stratum][kind]) for one in seen.epochs) for kind in (0, 1))
    return bad / (good + bad)


@pytest.mark.parametrize("model", [Model.IID, Model.CLUSTERED])
def test_both_sides_have_the_shares_of_bad_sessions_that_the_model_says(model: Model) -> None:
    traffic = Traffic(rate=100, stable=0.02, candidate=0.06, steps=((50, 400),), pace=0, model=model)
    seen = draw(Random(1), traffic)
    for side, fails in enumerate((0.06, 0.02)):
        assert shares(seen, side, WHOLE) == pytest.approx(share_of_bad(fails, model), rel=0.06)
        assert shares(seen, side, FIRST) == pytest.approx(fails, rel=0.1)
        if model is Model.IID:
            assert shares(seen, side, LATER) == pytest.approx(session_fails(fails, 4), rel=0.06)
    turns = sum(seen.bad_turns), sum(seen.good_turns)
    assert turns[0] / sum(turns) == pytest.approx(0.06, rel=0.06)


@pytest.mark.parametrize("model", Model)
def test_arrivals_and_weights_are_as_told_and_everyone_is_scored(model: Model) -> None:
    traffic = Traffic(rate=40, steps=((25, 300), (50, 300)), pace=0, model=model)
    seen = draw(Random(2), traffic)
    for epoch, part in zip(seen.epochs, (0.25, 0.5), strict=True):
        given = [sum(side) for side in epoch.assigned]
        assert sum(given) == pytest.approx(40 * 300, rel=0.05)
        assert given[0] / sum(given) == pytest.approx(part, rel=0.05)
        for side in range(2):
            for stratum in (WHOLE, FIRST, LATER):
                assert sum(map(sum, epoch.scores[side][stratum])) == given[side]


@pytest.mark.parametrize("model", Model)
def test_a_candidate_that_is_worse_by_so_much_is_so_in_every_weather(model: Model) -> None:
    traffic = Traffic(rate=200, worse_by=0.1, steps=((50, 600),), pace=0, model=model)
    seen = draw(Random(3), traffic)
    assert shares(seen, 0, WHOLE) - shares(seen, 1, WHOLE) == pytest.approx(0.1, abs=0.012)


def test_a_bad_session_has_a_turn_that_fails_as_often_first_as_by_itself() -> None:
    rng = Random(4)
    sessions = [bad_session(rng, 0.3, Model.IID) for _ in range(20_000)]
    assert all(any(turns) for turns in sessions)
    assert sum(turns[0] for turns in sessions) / len(sessions) == pytest.approx(0.3 / session_fails(0.3), rel=0.02)
    assert bad_session(rng, 1.0, Model.IID) == [True] * 5


@pytest.mark.parametrize("mean", [0.0, 0.3, 8.0, 400.0])
def test_as_many_come_as_are_expected(mean: float) -> None:
    rng = Random(5)
    drawn = [poisson(rng, mean) for _ in range(2_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, abs=4 * math.sqrt(mean / 2_000))


def test_a_session_is_bad_with_its_first_bad_turn_and_good_with_its_last_one() -> None:
    seen = draw(Random(6), Traffic(rate=20, stable=0.0, candidate=1.0, steps=((50, 60),), pace=6))
    (epoch,) = seen.epochs
    bad, good = epoch.scores[0][WHOLE][1], epoch.scores[1][WHOLE][0]
    assert bad == epoch.assigned[0]
    assert good[:24] == [0] * 24
    assert good[24:] == epoch.assigned[1][:36]


def test_flaggers_failed_checks_add_up_and_need_not_be_in_a_row() -> None:
    good, bad = ([count for minute in minutes for count in [minute] * 60] for minutes in ([9, 9] * 5, [1, 0] * 5))
    seen = Seen(600, good_turns=good, bad_turns=bad)
    found = Flagger(minimum=95).look(seen)
    assert found is not None
    assert found.seconds == 540
    assert Flagger(minimum=89).look(seen) is None


def test_our_rule_looks_only_at_what_was_scraped() -> None:
    traffic = Traffic(rate=50, stable=0.0, candidate=1.0, steps=((50, 90),), pace=0)
    seen = draw(Random(7), traffic)
    soon = Ours(Analysis(), every=1, scrape=1).look(seen, traffic, Verdict.UNHEALTHY)
    late = Ours(Analysis(), every=1, scrape=60).look(seen, traffic, Verdict.UNHEALTHY)
    assert soon is not None
    assert late is not None
    assert soon.seconds < 10
    assert late.seconds == 60
