"""What is said of the rollouts that go on: the last verdict, how near it is to another, and nothing of anybody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.support.staging import HEALTHY, WAITING, WORSE

from rolehost_api import slo
from rolehost_operator.observed import Key
from rolehost_operator.rollout.verdict import Bet, Judgement, Verdict
from rolehost_operator.rollout.verdicts import FAMILIES, LINGER, MOST_BETS, Verdicts, figures
from rolehost_operator.telemetry import Judged

CAT, DOG = ("acme", "cat"), ("acme", "dog")


def said(verdicts: Verdicts, now: float, key: Key = CAT) -> str:
    """The verdict that is told of a Role; empty where none is."""
    found = [one for one in verdicts.figures(now) if one.family == slo.VERDICT and one.labels[:2] == key]
    assert [one.value for one in found] in ([], [1, 0, 0], [0, 1, 0], [0, 0, 1])
    return next((one.labels[2] for one in found if one.value), "")


def kept(*goes_on: Key) -> Verdicts:
    return Verdicts(lambda key: key in goes_on)


def bets(many: int) -> tuple[Bet, ...]:
    return tuple(Bet(Verdict.UNHEALTHY, f"o{number}/whole", float(number), 7.0) for number in range(many))


def test_who_has_no_rollout_is_nowhere() -> None:
    verdicts = kept()
    verdicts.say(CAT, None, 0)
    assert (len(verdicts), list(verdicts.figures(0))) == (0, [])


def test_the_newest_word_is_told_for_as_long_as_the_rollout_goes_on() -> None:
    verdicts = kept(CAT)
    verdicts.say(CAT, WAITING, 0)
    verdicts.say(DOG, WAITING, 0)
    assert (said(verdicts, 300), said(verdicts, 300, DOG)) == ("Unknown", "")
    assert len(verdicts) == 1


@pytest.mark.parametrize("decided", [HEALTHY, WORSE])
def test_what_ended_a_step_is_told_until_somebody_scraped_it(decided: Judgement) -> None:
    verdicts = kept(CAT)
    verdicts.say(CAT, decided, 0)
    for second in range(5, 300, 5):
        verdicts.say(CAT, WAITING, second)
        assert said(verdicts, second) == (decided.verdict.value if second <= LINGER else "Unknown")


def test_what_ended_the_rollout_is_told_until_somebody_scraped_it_and_then_forgotten() -> None:
    verdicts = kept()
    verdicts.say(CAT, WORSE, 0)
    verdicts.say(CAT, None, 5)
    assert said(verdicts, LINGER) == "Unhealthy"
    assert (said(verdicts, LINGER + 1), len(verdicts)) == ("", 0)


def test_who_does_not_lead_any_more_says_nothing() -> None:
    verdicts = kept(CAT)
    verdicts.say(CAT, WORSE, 0)
    verdicts.forget()
    assert list(verdicts.figures(0)) == []


def test_of_many_bets_those_that_are_nearest_are_told() -> None:
    found = list(figures(CAT, Judgement(Verdict.UNKNOWN, "NotProven", "", bets=bets(100))))
    told = [one.labels[2] for one in found if one.family == slo.EVIDENCE]
    assert told == [f"o{number}/whole" for number in range(99, 99 - MOST_BETS, -1)]


def test_without_a_guess_nothing_is_wanted() -> None:
    assert [one.value for one in figures(CAT, HEALTHY) if one.family == slo.SAMPLES] == [60]
    assert slo.SAMPLES_WANTED not in {one.family for one in figures(CAT, HEALTHY)}
    assert [one.value for one in figures(CAT, WAITING) if one.family == slo.SAMPLES_WANTED] == [50]


@given(
    st.sampled_from(Verdict),
    st.integers(0, 100),
    st.integers(0, 100),
    st.lists(st.builds(Bet, st.sampled_from(Verdict), st.text(max_size=5), st.floats(-50, 50), st.floats(1, 20))),
)
def test_every_figure_has_the_labels_of_its_family_and_no_series_is_there_twice(
    verdict: Verdict, samples: int, more: int, given: list[Bet]
) -> None:
    different = tuple({(one.verdict, one.metric): one for one in given}.values())
    judgement = Judgement(verdict, "", "", samples=samples, samples_expected=more, bets=different)
    found = list(figures(CAT, judgement))
    assert all(len(one.labels) == len(FAMILIES[one.family][1]) for one in found)
    assert len({(one.family, one.labels) for one in found}) == len(found) <= 5 + 2 * MOST_BETS


def test_the_operator_tells_them() -> None:
    registry, verdicts = CollectorRegistry(), kept(CAT)
    registry.register(Judged(verdicts))
    assert all(not family.samples for family in registry.collect())
    far = float(10**9)  # ahead of the clock by which a scrape looks, so that nothing is too old
    verdicts.say(CAT, Judgement(Verdict.UNKNOWN, "NotProven", "", bets=bets(1)), far)
    of = {"tenant": "acme", "role": "cat"}
    direction = {"metric": "o0/whole", "direction": "Unhealthy"}
    assert registry.get_sample_value(slo.VERDICT, {**of, "verdict": "Unknown"}) == 1
    assert registry.get_sample_value(slo.EVIDENCE, {**of, **direction}) == 0
    assert registry.get_sample_value(slo.EVIDENCE_THRESHOLD, {**of, **direction}) == 7
