"""What the judge says of the evidence that was read, and how old that is by a clock that does not jump."""

from datetime import datetime, timedelta
from typing import Protocol

from rolehost_api.crd.rollout import Analysis, RolloutStatus
from rolehost_operator.observed import Heard
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.verdict import Judgement


class Judge(Protocol):
    def __call__(self, evidence: Evidence, analysis: Analysis, *, epoch: int, now: datetime) -> Judgement: ...


def heard(evidence: Evidence | None, before: Heard | None, now: datetime) -> Heard | None:
    """Since when this very evidence is the newest, by the operator's own clock."""
    if evidence is None or evidence.at is None:
        return None
    return before if before is not None and before.at == evidence.at else Heard(evidence.at, now)


def prometheus_time(newest: Heard | None, now: datetime) -> datetime:
    """Prometheus' time, aged by the operator's: the two clocks are never compared. Time goes on where no evidence comes.

    >>> from datetime import UTC
    >>> prometheus, ours = datetime(2030, 1, 1, 12, tzinfo=UTC), datetime(2030, 1, 1, 9, tzinfo=UTC)
    >>> prometheus_time(Heard(prometheus, since=ours), ours + timedelta(seconds=7)).strftime("%H:%M:%S")
    '12:00:07'
    """
    return now if newest is None else newest.at + max(timedelta(0), now - newest.since)


def judged(
    judge: Judge,
    analysis: Analysis,
    rollout: RolloutStatus | None,
    evidence: Evidence | None,
    at: datetime,
) -> Judgement | None:
    """None where nothing is compared, or nothing was read of this very rollout yet; `at`: see `prometheus_time`."""
    if rollout is None or not rollout.stage or evidence is None or evidence.rollout != rollout.id:
        return None
    return judge(evidence, analysis, epoch=rollout.epoch, now=at)
