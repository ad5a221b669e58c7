"""From samples of the gateways' counters to what was counted of one rollout.

Prometheus keeps one series for each gateway and each thing that is counted. A counter begins at 0 with its
process and only rises; where it is lower than before, the process began anew:

    scraped    3  5  9  2  4        vanished
    counted    3 +2 +4 +2 +2 = 13   stays 13

What a process counted after its last scrape nobody saw. That concerns both sides of a comparison alike, for a
gateway has sessions of both.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median

from msgspec import Struct

from rolehost_api.crd.rollout import Arm
from rolehost_api.slo import (
    ANONYMOUS,
    ASSIGNED,
    BAD,
    FIRST,
    GOOD,
    LATER,
    ROLLOUT_TURNS,
    SESSIONS,
    TARGET,
    USER,
    WHOLE,
)
from rolehost_operator.rollout.evidence import Cohort, Evidence, Question, Tally

SESSIONS_SERIES, TURNS_SERIES, PULSE_SERIES = f"{SESSIONS}_total", f"{ROLLOUT_TURNS}_total", TARGET
"""By their names in Prometheus. The last one is there whether anybody speaks or not: it says that gateways are scraped."""
UNKNOWN_INTERVAL = 60.0
"""Seconds between two scrapes, until two of one series were seen."""
MOST_COUNTED = float(2**53)
"""Beyond it a counter is not exact any more, and no gateway gets there."""
MOST_TRACKS = 50_000
GAPS = 20
"""The newest of each series, to learn the interval from."""


class Series(Struct, frozen=True):
    """One of a matrix, as Prometheus' API has it: [[seconds, "value"], …]."""

    metric: dict[str, str]
    values: list[tuple[float, str]] = []


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a number is none: a CamelCase reason, and a sentence with what to do."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What one series counts: `outcome` is empty for turns."""

    epoch: int
    revision: str
    arm: Arm
    percent: int
    known: str = ""
    objective: str = ""
    stratum: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Who exports it: the labels that Prometheus gave to what it scraped."""

    labels: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """By which of them one process is known."""
        return tuple(f"{key}={value}" for key, value in self.labels if key in ("instance", "pod") and value)


@dataclass(frozen=True, slots=True)
class Track:
    """One series as far as it was read: seconds by Prometheus' clock, the last value, and all that it counted."""

    first: float
    last: float
    value: int
    total: int

    def then(self, at: float, value: int) -> "Track":
        """
        >>> Track(0, 0, 3, 3).then(1, 5).then(2, 2)
        Track(first=0, last=2, value=2, total=7)
        """
        return Track(self.first, at, value, self.total + (value - self.value if value >= self.value else value))


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that was read so far of one rollout. Reading in pieces comes to the same as reading at once."""

    tracks: Mapping[tuple[Counted, Source], Track] = field(default_factory=dict)
    newest: float | None = None
    """Time of the newest sample of anything, by Prometheus' clock."""
    interval: float | None = None
    """Seconds between two scrapes; None until two were seen."""
    trouble: Trouble | None = None
    """With what was read last."""

    @property
    def patience(self) -> float:
        """So old the newest sample may be, in seconds: two scrapes."""
        return 2 * (self.interval or UNKNOWN_INTERVAL)


def fold(ledger: Ledger, matrix: Iterable[Series], namespace: str = "") -> Ledger:
    """With what was read since; samples that are known already change nothing.

    `namespace`: the gateways'. Series that Prometheus says are of another one are none of ours: somebody else exports
    our names, and neither counts nor stops anything by it.
    """
    tracks, newest, trouble = dict(ledger.tracks), ledger.newest, None
    gaps: list[float] = []
    for series in matrix:
        if namespace and series.metric.get("namespace", namespace) != namespace:
            continue
        samples = sorted(series.values)
        if samples:
            newest = max(newest if newest is not None else samples[-1][0], samples[-1][0])
        times = [at for at, _ in samples[-GAPS:]]
        gaps += [later - earlier for earlier, later in pairwise(times) if later > earlier]
        if series.metric.get("__name__") == PULSE_SERIES:
            continue
        read = _counted(series.metric)
        if isinstance(read, Trouble):
            trouble = trouble or read
            continue
        key = read, _source(series.metric)
        if key not in tracks and len(tracks) >= MOST_TRACKS:
            trouble = Trouble("TooManySeries", f"there are more than {MOST_TRACKS} series of this rollout")
            continue
        track, bad = _run(tracks.get(key), samples)
        trouble = trouble or bad
        if track is not None:
            tracks[key] = track
    return Ledger(tracks, newest, median(gaps) if gaps else ledger.interval, trouble)


def evidence(ledger: Ledger, rollout: str, now: float) -> Evidence:
    """What the ledger says at `now`, by Prometheus' clock in seconds. What is missing is named, never made up."""
    totals, twice = _totals(ledger)
    said = Evidence(
        rollout,
        datetime.fromtimestamp(ledger.newest, UTC) if ledger.newest is not None else None,
        tuple(_cohorts(totals)),
    )
    trouble = _stale(ledger, now) or ledger.trouble or twice
    return replace(said, missing=trouble.reason, detail=trouble.detail) if trouble else said


def _stale(ledger: Ledger, now: float) -> Trouble | None:
    if ledger.newest is None:
        return Trouble(
            "NoSeries",
            "Prometheus answers, but has no series of the gateways for this Role. Let it scrape port 9090 of the "
            "gateways (metrics.serviceMonitor.enabled in the chart)",
        )
    if (age := now - ledger.newest) > ledger.patience:
        return Trouble(
            "StaleSamples",
            f"the newest sample is {age:.0f} s old by Prometheus' clock, more than two scrapes ({ledger.patience:.0f} s). "
            "See Prometheus' targets: are the gateways up there?",
        )
    return None


# ── reading ─────────────────────────────────────────────────────────────────────────


def _run(track: Track | None, samples: Sequence[tuple[float, str]]) -> tuple[Track | None, Trouble | None]:
    trouble = None
    for at, text in samples[bisect_right(samples, track.last, key=lambda one: one[0]) if track else 0 :]:
        value = number(text)
        if value is None or not 0 <= value <= MOST_COUNTED or value != int(value):
            trouble = Trouble("BadSample", f"a gateway's counter has the value {text[:24]!r}, which counts nothing")
        elif track is None:
            track = Track(at, at, int(value), int(value))
        elif at > track.last:
            track = track.then(at, int(value))
    return track, trouble


def number(text: str) -> float | None:
    """A finite number, or None.

    >>> number("1.5"), number("NaN"), number("+Inf"), number("x")
    (1.5, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _counted(labels: Mapping[str, str]) -> Counted | Trouble:
    name = labels.get("__name__", "")
    try:
        made = Counted(
            epoch=int(labels["epoch"]),
            revision=labels["revision"],
            arm=Arm(labels.get("arm", "")),
            percent=int(labels["percent"]),
            known=labels.get("known", ""),
            objective=labels.get("objective", ""),
            stratum=labels.get("stratum", ""),
            outcome=labels.get("outcome", ""),
        )
    except KeyError as error:
        return _unknown(name, error.args[0])
    except ValueError:
        return _unknown(name, "epoch, percent or arm")
    if made.epoch < 0 or not 0 <= made.percent <= 100 or not made.revision:
        return _unknown(name, "epoch, percent or revision")
    if name == TURNS_SERIES:
        return Counted(made.epoch, made.revision, made.arm, made.percent)
    if name != SESSIONS_SERIES:
        return _unknown(name, "__name__")
    if made.known not in (USER, ANONYMOUS):
        return _unknown(name, "known")
    if made.outcome == ASSIGNED:
        return made if not made.objective and not made.stratum else _unknown(name, "objective or stratum")
    if made.outcome not in (GOOD, BAD):
        return _unknown(name, "outcome")
    if made.stratum not in (FIRST, LATER, WHOLE) or not made.objective:
        return _unknown(name, "objective or stratum")
    return made


def _unknown(name: str, label: str) -> Trouble:
    return Trouble(
        "UnknownSeries",
        f"a series {name[:64]!r} of this rollout has a value of label {label} that this operator does not know. Are all "
        "gateways of this operator's version, and does nobody else export that name?",
    )


OURS = frozenset(Counted.__dataclass_fields__) | {"__name__", "tenant", "role", "rollout"}


def _source(labels: Mapping[str, str]) -> Source:
    return Source(tuple(sorted((key, value) for key, value in labels.items() if key not in OURS)))


# ── summing ─────────────────────────────────────────────────────────────────────────


def _totals(ledger: Ledger) -> tuple[dict[Counted, int], Trouble | None]:
    """Over all instances. What two series say of one process at one time is counted once, and told as long as both go on."""
    sorted_out: dict[Counted, list[tuple[Source, Track]]] = defaultdict(list)
    for (counted, source), track in ledger.tracks.items():
        sorted_out[counted].append((source, track))
    totals: dict[Counted, int] = {}
    trouble = None
    for counted, tracks in sorted_out.items():
        totals[counted], twice = _once(tracks, (ledger.newest or 0.0) - ledger.patience)
        trouble = trouble or twice
    return totals, trouble


def _once(tracks: Sequence[tuple[Source, Track]], fresh: float) -> tuple[int, Trouble | None]:
    total, trouble = 0, None
    open_: dict[str, tuple[Source, Track]] = {}
    """By name of the process: whose series reaches furthest."""
    for source, track in sorted(tracks, key=lambda one: (one[1].first, one[1].last, one[0].labels)):
        before = next(
            (open_[name] for name in source.names if name in open_ and track.first <= open_[name][1].last), None
        )
        total += track.total
        if before is not None:
            total -= min(track.total, before[1].total)
            if min(track.last, before[1].last) >= fresh:
                trouble = _twice(before[0], source)
        for name in source.names:
            reach = open_.get(name)
            if reach is None or reach[1].last < track.last or reach[1].total < track.total:
                open_[name] = source, track
    return total, trouble


def _twice(one: Source, other: Source) -> Trouble:
    differ = sorted({key for key, _ in set(one.labels) ^ set(other.labels)})
    return Trouble(
        "DuplicateSeries",
        f"Prometheus has two series of one gateway, which differ in {', '.join(differ)[:200]}: it is scraped twice. Keep "
        "one of the two scrape jobs",
    )


def _cohorts(totals: Mapping[Counted, int]) -> Iterable[Cohort]:
    groups: dict[tuple[int, str, Arm, int], dict[Counted, int]] = defaultdict(dict)
    for one, total in totals.items():
        groups[one.epoch, one.revision, one.arm, one.percent][one] = total
    for (epoch, revision, arm, percent), counts in sorted(
        groups.items(), key=lambda item: (item[0][0], item[0][1], item[0][2].value, item[0][3])
    ):
        tallies: dict[Question, Tally] = {}
        for one, total in counts.items():
            if one.outcome in (GOOD, BAD):
                question = Question(one.objective, one.stratum, one.known)
                tally = tallies.get(question, Tally())
                good, bad = (total, 0) if one.outcome == GOOD else (0, total)
                tallies[question] = Tally(tally.good + good, tally.bad + bad)
        yield Cohort(
            epoch,
            revision,
            arm,
            percent,
            assigned={one.known: total for one, total in counts.items() if one.outcome == ASSIGNED},
            turns=sum(total for one, total in counts.items() if not one.outcome),
            tallies=tallies,
        )
