"""A custom metric's samples, out of what Prometheus answers to its query.

It is asked on a grid: at whole multiples of the step, by Prometheus' clock. So a later look sees the same samples again
and one more, whoever looks, and two that are distinct in time are a step apart.

    step 15 s     …  1005  1020  1035  1050          last three: 1020, 1035, 1050
    now 1058 s           now 1066 s: 1035, 1050, 1065
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rolehost_operator.rollout.counting import UNKNOWN_INTERVAL, Series, number
from rolehost_operator.rollout.evidence import Sample

MOST_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class Grid:
    """Times in seconds by Prometheus' clock: from the first to the last, both included."""

    first: float
    last: float
    step: float


def grid(now: float, begun: float, look_seconds: float, interval: float | None, wanted: int) -> Grid | None:
    """The newest `wanted` samples' times, none before `begun`; a step is no shorter than a scrape. None: none yet.

    >>> grid(1058, begun=1000, look_seconds=5, interval=15, wanted=3)
    Grid(first=1020.0, last=1050.0, step=15.0)
    >>> grid(1058, begun=1040, look_seconds=5, interval=15, wanted=3)
    Grid(first=1050.0, last=1050.0, step=15.0)
    >>> grid(1058, begun=1055, look_seconds=5, interval=15, wanted=3) is None
    True
    """
    step = float(max(1.0, look_seconds, round(interval or UNKNOWN_INTERVAL)))
    last = now // step * step
    first = max(last - step * (min(wanted, MOST_SAMPLES) - 1), -(-begun // step) * step)
    return Grid(first, last, step) if first <= last else None


def samples(matrix: Sequence[Series], at: Grid) -> tuple[tuple[Sample, ...], str]:
    """The newest ones without a gap, oldest first; and why there are none, where the newest gives no number.

    >>> at = Grid(30.0, 60.0, 15.0)
    >>> found, why = samples([Series({}, [(30.0, "1"), (45.0, "NaN"), (60.0, "3")])], at)
    >>> [one.value for one in found], why
    ([3.0], '')
    >>> samples([], at)
    ((), 'its query gives nothing: no such series, or none in that range')
    """
    if not matrix:
        return (), "its query gives nothing: no such series, or none in that range"
    if len(matrix) > 1:
        differ = sorted({key for one in matrix for key in one.metric})
        by = f", which differ in {', '.join(differ)[:120]}" if differ else ""
        return (), f"its query gives {len(matrix)} series{by}; it must give one: sum or max them"
    found: list[Sample] = []
    expected = at.last
    for when, text in sorted(matrix[0].values, reverse=True):
        value = number(text)
        if value is None or abs(when - expected) > at.step / 2:
            if not found:
                said = text[:24] if value is None else "nothing"
                return (), f"its query gives {said} at the newest sample, which is no number"
            break
        found.append(Sample(datetime.fromtimestamp(when, UTC), value))
        expected -= at.step
    if not found:
        return (), "its query gives no sample"
    return tuple(reversed(found)), ""
