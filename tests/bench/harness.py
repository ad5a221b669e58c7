"""The arithmetic of a measurement: rounds in, medians and ratios out. No clock, no process."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

RESAMPLES = 5000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Round:
    """One arm's turn: what it did, what it cost, how long each of its units took."""

    units: int
    """Turns, frames or round trips; whatever the question counts."""
    latencies_ms: tuple[float, ...]
    cpu_us: float | None = None
    """CPU of the serving processes during the round; None where they cannot be read."""
    failures: int = 0


@dataclass(frozen=True)
class Interval:
    """A ratio with its bootstrap interval: below 1, ours is the smaller."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.2f}× [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Measured:
    """One arm over all its rounds: medians of what each round showed."""

    rounds: int
    units: int
    failures: int
    p50_ms: float
    p99_ms: float
    cpu_us_per_unit: float | None


@dataclass(frozen=True)
class Result:
    name: str
    ours: str
    peer: str
    arms: Mapping[str, Measured]
    ratios: Mapping[str, Interval]
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    """What else each round showed, for the file."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of them lie, between neighbours in proportion.

    >>> percentile([1, 2, 3, 4, 5], 50)
    3.0
    >>> percentile([1, 2, 3, 4], 50)
    2.5
    >>> percentile([10, 20], 99)
    19.9
    >>> percentile([7], 99)
    7.0
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, no percentile")
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return round(ordered[below] + (ordered[above] - ordered[below]) * (place - below), 9)


def measured(rounds: Sequence[Round]) -> Measured:
    """Each round's percentiles first, then the median over rounds: one bad round moves nothing.

    >>> measured([Round(2, (1, 3), 100), Round(2, (2, 4), 200), Round(2, (90, 99), 900)]).p50_ms
    3.0
    >>> measured([Round(2, (1, 3), 100), Round(2, (2, 4), 200), Round(2, (90, 99), 900)]).cpu_us_per_unit
    100.0
    """
    costs = [one.cpu_us / one.units for one in rounds if one.cpu_us is not None and one.units]
    timed = [one.latencies_ms for one in rounds if one.latencies_ms]
    return Measured(
        rounds=len(rounds),
        units=sum(one.units for one in rounds),
        failures=sum(one.failures for one in rounds),
        p50_ms=median(percentile(values, 50) for values in timed),
        p99_ms=median(percentile(values, 99) for values in timed),
        cpu_us_per_unit=median(costs) if costs else None,
    )


def ratio(ours: Sequence[float], peer: Sequence[float], *, seed: int = 1) -> Interval:
    """Ratio of medians, and where it lies in 95 % of resamplings of the rounds.

    Round i of both arms ran side by side, so rounds are drawn in pairs: a slow moment of
    the machine slows both, and the ratio does not see it.

    >>> ratio([2, 2, 2], [1, 1, 1])
    Interval(ratio=2.0, low=2.0, high=2.0)
    >>> ratio([2, 4, 8], [1, 2, 4])
    Interval(ratio=2.0, low=2.0, high=2.0)
    """
    pairs = list(zip(ours, peer, strict=True))
    if not pairs or min(peer) <= 0:
        raise ValueError("a ratio needs rounds, and a peer above zero")
    draw = random.Random(seed)
    found = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(pairs, k=len(pairs))
        found.append(median(one for one, _ in chosen) / median(other for _, other in chosen))
    tail = (1 - CONFIDENCE) / 2 * 100
    return Interval(median(ours) / median(peer), percentile(found, tail), percentile(found, 100 - tail))


def compare(
    name: str,
    rounds: Mapping[str, Sequence[Round]],
    *,
    ours: str,
    machine: Mapping[str, Any],
    notes: Sequence[str] = (),
    rows: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Everything about one run. The peer is the first arm that is not ours; other arms are shown beside."""
    peer = next(arm for arm in rounds if arm != ours)
    pairs = list(zip(rounds[ours], rounds[peer], strict=True))
    ratios = {}
    for percent in (50, 99):
        ratios[f"p{percent}_ms"] = ratio(
            [percentile(one.latencies_ms, percent) for one, _ in pairs],
            [percentile(other.latencies_ms, percent) for _, other in pairs],
        )
    costs = [
        (one.cpu_us / one.units, other.cpu_us / other.units) for one, other in pairs if one.cpu_us and other.cpu_us
    ]
    if len(costs) == len(pairs):
        ratios["cpu_us_per_unit"] = ratio([one for one, _ in costs], [other for _, other in costs])
    arms = {arm: measured(taken) for arm, taken in rounds.items()}
    return Result(name=name, ours=ours, peer=peer, arms=arms, ratios=ratios, machine=machine, notes=notes, rows=rows)


def table(result: Result) -> str:
    """The summary that people read."""
    lines = [f"{result.name}: {result.ours} beside {result.peer}"]
    lines.append(f"  {'arm':30}{'rounds':>8}{'units':>8}{'failed':>8}{'p50 ms':>10}{'p99 ms':>10}{'CPU µs/unit':>14}")
    for arm, one in result.arms.items():
        cpu = "-" if one.cpu_us_per_unit is None else f"{one.cpu_us_per_unit:.1f}"
        lines.append(
            f"  {arm:30}{one.rounds:>8}{one.units:>8}{one.failures:>8}{one.p50_ms:>10.2f}{one.p99_ms:>10.2f}{cpu:>14}"
        )
    lines += [f"  {metric}: {interval}" for metric, interval in result.ratios.items()]
    return "\n".join([*lines, *(f"  note: {note}" for note in result.notes)])
