"""What was counted, whatever became of who counted it."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.rollout import Arm
from rolehost_operator.rollout.counting import Ledger, Series, evidence, fold
from rolehost_operator.rollout.evidence import Cohort, Evidence, Question, Tally

SCRAPE = 15.0
SESSIONS = "rolehost_rollout_sessions_total"
TURNS = "rolehost_rollout_turns_total"


def labels(instance: str = "a", name: str = SESSIONS, **more: str) -> dict[str, str]:
    made = {
        "__name__": name,
        "tenant": "acme",
        "role": "cat",
        "rollout": "r1",
        "epoch": "0",
        "revision": "cat-1",
        "arm": "Candidate",
        "percent": "5",
        "instance": instance,
    }
    if name == SESSIONS:
        made |= {"known": "user", "objective": "turn-success", "stratum": "first", "outcome": "good"}
    return made | more


def series(values: Sequence[float | str], instance: str = "a", start: float = SCRAPE, **more: str) -> Series:
    return Series(labels(instance, **more), [(start + SCRAPE * n, str(value)) for n, value in enumerate(values)])


def read(*found: Series, now: float | None = None, namespace: str = "") -> Evidence:
    ledger = fold(Ledger(), found, namespace)
    return evidence(ledger, "r1", now if now is not None else (ledger.newest or 0.0))


def good(said: Evidence) -> int:
    return sum(tally.good for cohort in said.cohorts for tally in cohort.tallies.values())


# ── what is counted ─────────────────────────────────────────────────────────────────


def test_cohorts_by_epoch_revision_arm_and_percent() -> None:
    assigned: dict[str, Any] = {"outcome": "assigned", "objective": "", "stratum": ""}
    baseline: dict[str, Any] = {"revision": "cat-0", "arm": "Baseline", "percent": "5"}
    said = read(
        series([1, 3], **assigned),
        series([1, 2], instance="b", **assigned),
        series([4], known="anonymous", **assigned),
        series([2]),
        series([1], outcome="bad"),
        series([1], stratum="later", objective="fast"),
        series([3], stratum="whole", outcome="bad"),
        series([7], name=TURNS),
        series([6], **baseline),
        series([9], epoch="1"),
    )
    question = Question("turn-success", "first", "user")
    assert said.cohorts == (
        Cohort(0, "cat-0", Arm.BASELINE, 5, tallies={question: Tally(6, 0)}),
        Cohort(
            0,
            "cat-1",
            Arm.CANDIDATE,
            5,
            assigned={"user": 5, "anonymous": 4},
            turns=7,
            tallies={
                question: Tally(2, 1),
                Question("fast", "later", "user"): Tally(1, 0),
                Question("turn-success", "whole", "user"): Tally(0, 3),
            },
        ),
        Cohort(1, "cat-1", Arm.CANDIDATE, 5, tallies={question: Tally(9, 0)}),
    )
    assert said.missing == ""
    assert said.at is not None
    assert said.at.timestamp() == 2 * SCRAPE


def test_a_restart_counts_anew_and_who_vanished_keeps_what_it_counted() -> None:
    said = read(series([3, 5, 9, 2, 4]), series([6], instance="gone"))
    assert good(said) == 13 + 6
    assert said.missing == ""


def test_nothing_yet_is_no_failure_where_gateways_are_scraped() -> None:
    pulse = Series(
        {"__name__": "rolehost_slo_target", "instance": "a", "objective": "x"}, [(15.0, "NaN"), (30.0, "0.99")]
    )
    said = read(pulse)
    assert (said.missing, said.cohorts) == ("", ())


# ── what is missing ─────────────────────────────────────────────────────────────────


def test_no_series_at_all_is_missing() -> None:
    assert read(now=100.0).missing == "NoSeries"


@pytest.mark.parametrize(("age", "missing"), [(2 * SCRAPE, ""), (2 * SCRAPE + 1, "StaleSamples")])
def test_samples_older_than_two_scrapes_are_stale(age: float, missing: str) -> None:
    said = read(series([1, 2, 3]), now=3 * SCRAPE + age)
    assert said.missing == missing
    assert good(said) == 3


def test_a_gap_of_one_gateway_does_not_make_the_interval_longer() -> None:
    holes = Series(labels("b"), [(15.0, "1"), (300.0, "2")])
    ledger = fold(Ledger(), [series([1] * 20), holes])
    assert ledger.interval == SCRAPE


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "0.5", "1e300", "x", ""])
def test_what_counts_nothing_is_named_and_what_was_good_stays(value: str) -> None:
    said = read(series([1, 2, value]), series([5], instance="b"))
    assert said.missing == "BadSample"
    assert good(said) == 7


def test_a_bad_sample_is_over_when_it_is_no_longer_read() -> None:
    ledger = fold(fold(Ledger(), [series([1, "NaN"])]), [series([4], start=3 * SCRAPE)])
    said = evidence(ledger, "r1", 3 * SCRAPE)
    assert (said.missing, good(said)) == ("", 4)


@pytest.mark.parametrize(
    "garbage",
    [
        {"epoch": "x"},
        {"epoch": "-1"},
        {"percent": "101"},
        {"arm": "Sideways"},
        {"known": ""},
        {"outcome": "fine"},
        {"stratum": "middle"},
        {"objective": ""},
        {"revision": ""},
        {"outcome": "assigned"},
        {"__name__": "rolehost_rollout_sessions"},
    ],
)
def test_labels_that_mean_nothing_are_named_and_count_nothing(garbage: dict[str, Any]) -> None:
    said = read(series([1]), series([100], instance="b", **garbage))
    assert said.missing == "UnknownSeries"
    assert good(said) == 1


def test_a_label_that_is_not_there_is_named() -> None:
    without = {key: value for key, value in labels().items() if key != "percent"}
    said = read(Series(without, [(15.0, "1")]))
    assert said.missing == "UnknownSeries"
    assert "percent" in said.detail


def test_somebody_elses_series_by_our_names_count_nothing_and_stop_nothing() -> None:
    ours = series([2], namespace="rolehost-system")
    said = read(
        ours,
        series(["NaN"], instance="evil", namespace="evil"),
        series([9], namespace="evil"),
        namespace="rolehost-system",
    )
    assert (said.missing, good(said)) == ("", 2)


# ── twice the same ──────────────────────────────────────────────────────────────────


def test_one_gateway_scraped_twice_counts_once_and_is_named() -> None:
    said = read(series([3, 8], job="pods"), series([3, 8], job="services"), series([1, 1], instance="b"))
    assert said.missing == "DuplicateSeries"
    assert "job" in said.detail
    assert good(said) == 9


def test_by_its_pod_a_gateway_is_known_under_two_addresses() -> None:
    said = read(series([3, 8], instance="10.0.0.1:9090", pod="gw-0"), series([3, 8], instance="gw-0", pod="gw-0"))
    assert (said.missing, good(said)) == ("DuplicateSeries", 8)


def test_twice_is_over_when_one_of_the_two_is() -> None:
    said = read(series([3, 8], job="pods"), series([3, 8, 9, 9, 9, 9, 12], job="services"))
    assert (said.missing, good(said)) == ("", 12)


def test_an_address_that_a_later_pod_got_is_another_gateway() -> None:
    said = read(series([3, 8], pod="gw-0"), series([2, 4], pod="gw-1", start=SCRAPE * 5))
    assert (said.missing, good(said)) == ("", 12)


# ── laws ────────────────────────────────────────────────────────────────────────────


@dataclass
class Gateway:
    """Counts, restarts and is scraped; knows what was truly counted, and what of it a scrape may have missed."""

    shown: list[float] = field(default_factory=list)
    value: int = 0
    truly: int = 0
    since_scrape: int = 0
    restarted: bool = False
    unseen: int = 0

    def live(self, happens: list[int]) -> None:
        for count in happens:
            if count < 0:
                self.value, self.restarted = 0, True
            else:
                self.value, self.truly, self.since_scrape = (
                    self.value + count,
                    self.truly + count,
                    self.since_scrape + count,
                )
        self.unseen += self.since_scrape if self.restarted else 0
        self.since_scrape, self.restarted = 0, False
        self.shown.append(self.value)


lives = st.lists(st.lists(st.integers(-1, 5), max_size=4), min_size=1, max_size=12)


@given(st.lists(lives, min_size=1, max_size=4))
def test_any_pattern_of_restarts_sums_to_what_was_counted_within_one_scrape(fleet: list[list[list[int]]]) -> None:
    gateways = [Gateway() for _ in fleet]
    for gateway, life in zip(gateways, fleet, strict=True):
        for happens in life:
            gateway.live(happens)
    counted = good(read(*(series(one.shown, instance=f"g{n}") for n, one in enumerate(gateways))))
    truly, unseen = sum(one.truly for one in gateways), sum(one.unseen for one in gateways)
    assert truly - unseen <= counted <= truly


matrices = st.lists(
    st.tuples(
        st.lists(st.integers(0, 20).map(float), min_size=1, max_size=8),
        st.sampled_from(["good", "bad"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["", "pods", "services"]),
        st.integers(1, 4),
    ),
    max_size=6,
    unique_by=lambda one: one[1:4],
)


@given(matrices, st.randoms(use_true_random=False), st.integers(1, 5))
def test_neither_order_nor_pieces_matter(
    found: list[tuple[list[float], str, str, str, int]], chance: random.Random, pieces: int
) -> None:
    whole = [
        series(values, instance, start=SCRAPE * begun, outcome=outcome, job=job)
        for values, outcome, instance, job, begun in found
    ]
    at_once = fold(Ledger(), whole)
    ledger = Ledger()
    end = max((one.values[-1][0] for one in whole), default=0.0)
    for piece in range(1, pieces + 1):
        to = end * piece / pieces
        since = max(0.0, end * (piece - 1) / pieces - 2 * SCRAPE)
        part = [Series(one.metric, [value for value in one.values if since <= value[0] <= to]) for one in whole]
        chance.shuffle(part)
        ledger = fold(ledger, part)
    assert ledger.tracks == at_once.tracks
    assert ledger.newest == at_once.newest
    assert evidence(ledger, "r1", end).cohorts == evidence(at_once, "r1", end).cohorts


@given(matrices)
def test_several_scrapes_count_no_less_than_one_and_no_more_than_all(
    found: list[tuple[list[float], str, str, str, int]],
) -> None:

    whole = [
        series(values, instance, start=SCRAPE * begun, outcome=outcome, job=job)
        for values, outcome, instance, job, begun in found
    ]
    alone = {
        (one.metric["outcome"], one.metric["instance"], one.metric["job"]): good(
            read(Series({**one.metric, "outcome": "good"}, one.values))
        )
        for one in whole
    }
    said = read(*whole)
    for outcome in ("good", "bad"):
        counted = sum(getattr(tally, outcome) for cohort in said.cohorts for tally in cohort.tallies.values())
        names = {instance for kind, instance, _ in alone if kind == outcome}
        most = sum(value for (kind, _, _), value in alone.items() if kind == outcome)
        least = sum(
            max(value for (kind, place, _), value in alone.items() if (kind, place) == (outcome, instance))
            for instance in names
        )
        assert least <= counted <= most


@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=12),
    st.lists(st.tuples(st.floats(), st.text(max_size=8)), max_size=5),
)
def test_nothing_that_prometheus_may_say_breaks_the_reading(
    garbage: dict[str, str], values: list[tuple[float, str]]
) -> None:
    finite = [(at, text) for at, text in values if math.isfinite(at) and abs(at) < 1e9]
    said = read(Series(garbage, finite), Series(labels() | garbage, finite), now=0.0)
    assert all(tally.good >= 0 for cohort in said.cohorts for tally in cohort.tallies.values())
