"""Sessions that a rollout assigned and gateways scored, as the operator's evidence."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rolehost_api.crd.rollout import Arm
from rolehost_api.slo import USER
from rolehost_operator.rollout.evidence import Cohort, Evidence, Question, Sample, Tally

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEW, OLD = "tutor-new", "tutor-old"
Scores = Mapping[str, tuple[int, int]]
"""Good and bad sessions by stratum."""


def cohort(arm: Arm, percent: int, scores: Scores, *, epoch: int = 1, known: str = USER, revision: str = "") -> Cohort:
    """Every assigned session has its score, and five turns."""
    assigned = max((good + bad for good, bad in scores.values()), default=0)
    tallies = {Question("turn-success", stratum, known): Tally(*score) for stratum, score in scores.items()}
    revision = revision or (NEW if arm is Arm.CANDIDATE else OLD)
    return Cohort(epoch, revision, arm, percent, {known: assigned}, 5 * assigned, tallies)


def side_by_side(
    candidate: tuple[int, int],
    baseline: tuple[int, int],
    percent: int = 5,
    *,
    epoch: int = 1,
    known: str = USER,
    stratum: str = "whole",
) -> tuple[Cohort, Cohort]:
    """An epoch's two cohorts, by good and bad sessions."""
    return (
        cohort(Arm.CANDIDATE, percent, {stratum: candidate}, epoch=epoch, known=known),
        cohort(Arm.BASELINE, 100 - percent, {stratum: baseline}, epoch=epoch, known=known),
    )


def together(one: Cohort, other: Cohort) -> Cohort:
    """The same cohort, of users and of anonymous traffic."""
    return replace(
        one,
        assigned={**one.assigned, **other.assigned},
        turns=one.turns + other.turns,
        tallies={**one.tallies, **other.tallies},
    )


def evidence(*cohorts: Cohort, **more: object) -> Evidence:
    return replace(Evidence("r1", NOON, cohorts), **more)  # type: ignore[arg-type]


def samples(*values: float) -> tuple[Sample, ...]:
    """One a minute, the last at noon."""
    return tuple(Sample(NOON - timedelta(minutes=len(values) - 1 - place), one) for place, one in enumerate(values))
