"""Numbers that a Role's own queries give: within their bound, beyond it, or not there."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rolehost_api.crd.rollout import CustomMetric, MetricAction
from rolehost_operator.rollout.evidence import Evidence, Sample


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a metric lets nothing pass."""

    metric: str
    reason: str
    message: str
    value: str = ""
    threshold: str = ""
    rolls_back: bool = False


def beyond(metric: CustomMetric, value: float) -> bool:
    """Above the most, or below the least, that is good; at the bound is good.

    >>> most = CustomMetric(name="cost", prom_ql="cost", max="0.5")
    >>> [beyond(most, value) for value in (0.4, 0.5, 0.51)]
    [False, False, True]
    """
    if metric.max is not None and value > float(metric.max):
        return True
    return metric.min is not None and value < float(metric.min)


def streak(metric: CustomMetric, samples: Iterable[Sample]) -> int:
    """So many of the newest samples are beyond the bound, one after another; one moment counts once.

    >>> from datetime import timedelta, timezone
    >>> start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> most = CustomMetric(name="cost", prom_ql="cost", max="0.5")
    >>> streak(most, [Sample(start + timedelta(minutes=minute), value) for minute, value in enumerate([1, 0, 1, 1])])
    2
    >>> streak(most, [Sample(start, 1.0), Sample(start, 1.0)])
    1
    """
    length = 0
    last: datetime | None = None
    for sample in samples:
        if sample.at == last:
            continue
        last = sample.at
        length = length + 1 if beyond(metric, sample.value) else 0
    return length


def hindrances(metrics: Iterable[CustomMetric], evidence: Evidence) -> tuple[Hindrance, ...]:
    """What the custom metrics have against a promotion, and whether it is enough for a rollback."""
    found = []
    for metric in metrics:
        samples = [one for one in evidence.customs.get(metric.name, ()) if math.isfinite(one.value)]
        length = streak(metric, samples)
        bound = f"at most {metric.max}" if metric.max is not None else f"at least {metric.min}"
        if length:
            value = f"{samples[-1].value:.6g}"
            found.append(
                Hindrance(
                    metric.name,
                    "MetricBeyondBound",
                    f"{metric.name} is {value}, and {bound} is good: {length} of {metric.failure_limit} samples in a row.",
                    value,
                    bound,
                    metric.action is MetricAction.ROLLBACK and length >= metric.failure_limit,
                )
            )
        elif trouble := evidence.metric_troubles.get(metric.name, "" if samples else "no sample yet"):
            found.append(
                Hindrance(
                    metric.name,
                    "MetricWithoutNumber",
                    f"{metric.name} gives no number: {trouble}. Look at its promQL in Prometheus.",
                    threshold=bound,
                )
            )
    return tuple(found)
