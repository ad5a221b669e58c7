"""What an experiment showed so far: each variant beside the stable revision, with an interval that may be looked at
at any time. Nobody is promoted or rolled back by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rolehost_api.crd.rollout import Analysis, Arm
from rolehost_operator.rollout import eprocess
from rolehost_operator.rollout.comparing import compare
from rolehost_operator.rollout.eprocess import Counts
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.pairing import Pair, pairs

_LEAST, _MOST = -0.999, 0.999


@dataclass(frozen=True, slots=True)
class Standing:
    """One variant by one objective and stratum. Shares are of sessions, 0 to 1; a difference is the variant's less stable's."""

    revision: str
    objective: str
    stratum: str
    sessions: int
    bad: int
    stable_sessions: int
    stable_bad: int
    low: float
    """The difference is at least this, and"""
    high: float
    """at most this: both hold at every look together, and for all lines of a report, but for α of all experiments."""
    worse: float
    """e-value against "no worse than stable"; 1,000 and more is proof at α = 0.001."""
    better: float
    """e-value against "no better than stable"."""
    alpha: float
    """This line's part of the error."""

    @property
    def difference(self) -> float:
        """As seen.

        >>> Standing("v", "o", "whole", 100, 5, 200, 20, -1, 1, 1, 1, 0.001).difference
        -0.05
        """
        return self.bad / max(1, self.sessions) - self.stable_bad / max(1, self.stable_sessions)


def report(evidence: Evidence, analysis: Analysis) -> list[Standing]:
    """Every variant, by name, in every objective and stratum. α is split over all lines, as `splitting` says, and over both
    ends of the interval. Where evidence is missing the report says what was seen; `evidence.missing` says that it is old.

    >>> from rolehost_operator.rollout.evidence import Cohort, Question, Tally
    >>> whole = Question("turn-success", "whole", "user")
    >>> def cohort(revision, arm, percent, good, bad):
    ...     return Cohort(1, revision, arm, percent, {"user": good + bad}, 0, {whole: Tally(good, bad)})
    >>> given = cohort("a", Arm.BASELINE, 40, 760, 40), cohort("b", Arm.CANDIDATE, 20, 400, 0), cohort("c", Arm.CANDIDATE, 40, 600, 200)
    >>> for one in report(Evidence("r", cohorts=given), Analysis(false_alarms_per_million=50_000)):
    ...     if one.stratum == "whole":
    ...         print(one.revision, f"{one.difference:+.3f} in {one.low:+.3f} … {one.high:+.3f}", one.worse > 1_000, one.better > 1_000)
    b -0.050 in -0.082 … -0.027 False True
    c +0.200 in +0.129 … +0.263 True False
    """
    variants = sorted({one.revision for one in evidence.cohorts if one.arm is Arm.CANDIDATE and one.percent > 0})
    alpha = analysis.false_alarms_per_million / 1e6 / max(1, len(variants))
    return [one for revision in variants for one in _standings(revision, pairs(evidence.cohorts, revision), alpha)]


def _standings(revision: str, found: Sequence[Pair], alpha: float) -> list[Standing]:
    """In the last epoch that has both sides: an experiment has one."""
    return [
        Standing(
            revision,
            one.objective,
            one.stratum,
            one.counts.sessions,
            one.counts.bad,
            one.counts.baseline_sessions,
            one.counts.baseline_bad,
            *interval(one.counts, one.alpha),
            _value(one.everybody),
            _value(eprocess.log_worse(one.counts.swapped())),
            one.alpha,
        )
        for pair in found[-1:]
        for one in compare(pair, alpha)
    ]


def interval(counts: Counts, alpha: float) -> tuple[float, float]:
    """Differences of the shares of bad sessions that are not ruled out at α/2 each way.

    A difference is ruled out by the bet that rules out a margin: "at least d" by the one as it is, "at most d" by
    the same with the arms changed over. Where nothing is left, the sides were not drawn by their weights, and
    nothing is said.

    >>> [round(end, 3) for end in interval(Counts(good=95, bad=5, baseline_good=95, baseline_bad=5), 0.05)]
    [-0.112, 0.112]
    >>> interval(Counts(), 0.05)
    (-1.0, 1.0)
    """
    low, high = -_upper(counts.swapped(), alpha / 2), _upper(counts, alpha / 2)
    return (low, high) if low <= high else (-1.0, 1.0)


def _upper(counts: Counts, alpha: float) -> float:
    """The least difference of which all above are ruled out. The larger the difference that is bet against, the more
    the bet has gained, so halving finds where it begins to be enough."""
    enough = -math.log(alpha)
    low, high = _LEAST, _MOST
    if eprocess.log_within(counts, high) < enough:
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if eprocess.log_within(counts, middle) >= enough else (middle, high)
    return high


def _value(log_e: float) -> float:
    return math.exp(min(log_e, 700.0))
