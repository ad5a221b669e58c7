"""What the judge promises, on traffic whose truth is known: a seeded slice here, 2,000 runs of each case in a soak."""

from dataclasses import asdict, replace

import pytest
from tests.support.proof import NUMBERS, SOAK, keep

from rolehost_operator.simulation.studies import (
    Errors,
    Race,
    Sessions,
    Setting,
    false_promotions,
    false_rollbacks,
    race,
    sessions_to_healthy,
    sessions_to_unhealthy,
)
from rolehost_operator.simulation.table import Report, figures
from rolehost_operator.simulation.traffic import Model

SETTING = Setting(runs=NUMBERS.rollouts)
MANY = replace(SETTING, runs=min(2_000, 50 * NUMBERS.rollouts))
"""Where a run takes milliseconds: enough for a median in the slice as well."""
FEW = replace(SETTING, runs=max(5, NUMBERS.rollouts // 4))
"""Where it takes a second."""


def kept(
    name: str, sessions: tuple[Sessions, ...] = (), errors: tuple[Errors, ...] = (), races: tuple[Race, ...] = ()
) -> None:
    keep(f"rollout-{name}", figures(Report(SETTING, sessions, errors, races)))


def test_from_one_to_five_percent_is_found_near_what_no_test_can_do_better_than() -> None:
    iid = [sessions_to_unhealthy(replace(MANY, percent=percent)) for percent in (5, 25, 50)]
    clustered = sessions_to_unhealthy(MANY, Model.CLUSTERED)
    good = sessions_to_healthy(FEW)
    kept("sessions", (*iid, clustered, good))
    for one in (*iid, clustered):
        assert one.ratio is not None
        assert one.ratio <= (1.25 if SOAK else 1.4), one  # a median of 200 is good to a tenth
    assert good.needed.median < 4_000


@pytest.mark.parametrize("model", Model)
def test_a_revision_as_good_as_stable_is_not_rolled_back_nor_one_that_is_worse_promoted(model: Model) -> None:
    rolled_back = false_rollbacks(SETTING, model)
    promoted = false_promotions(SETTING, model)
    kept(f"errors-{model.value}", errors=(*rolled_back, promoted))
    for one in (rolled_back[0], promoted):
        assert one.allowed == 0.001
        assert one.rate <= one.allowed, one


def test_with_25_new_sessions_a_second_it_takes_a_fifth_of_the_time_of_five_checks() -> None:
    races = [race(FEW, rate) for rate in ((1.0, 5.0, 25.0) if SOAK else (25.0,))]
    kept("races", races=tuple(races))
    assert races[-1].ratio <= 0.2, races[-1]
    assert not races[-1].missed


def test_the_same_seed_says_the_same_and_another_one_something_else() -> None:
    setting = replace(SETTING, runs=20)
    once, again = (asdict(sessions_to_unhealthy(setting)) for _ in range(2))
    assert once == again
    assert asdict(sessions_to_unhealthy(replace(setting, seed=2))) != once
