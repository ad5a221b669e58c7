"""Two rules on the same traffic: ours, the judge itself with nothing left out, and Flagger's."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from rolehost_api.crd.rollout import Analysis, Arm
from rolehost_api.slo import FIRST_TURNS, USER
from rolehost_operator.rollout.eprocess import RATIOS, STAKES, Counts, log_bet, log_ratio
from rolehost_operator.rollout.evidence import Cohort, Evidence, Question, Tally
from rolehost_operator.rollout.judging import judge
from rolehost_operator.rollout.verdict import Verdict
from rolehost_operator.simulation.traffic import Epoch, Seen, Series, Traffic

OBJECTIVE = "turn-success"
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Found:
    """When a rule said it."""

    verdict: Verdict
    seconds: int
    sessions: int
    """That the candidate had been given by then."""


@dataclass(frozen=True, slots=True)
class Flagger:
    """Flagger's rule: every interval, the share of the candidate's requests in it that succeeded; below the minimum,
    or without any request, the check failed; with `threshold` failed checks, which need not be in a row, it rolls back.

    Its documentation counts interval × threshold until the rollback; its controller acts one interval later, which
    is not counted here.
    """

    minimum: float = 99.0
    """thresholdRange.min of request-success-rate, in percent."""
    interval: int = 60
    threshold: int = 5

    def look(self, seen: Seen) -> Found | None:
        """
        >>> seen = Seen(360, good_turns=[97] * 360, bad_turns=[3] * 360)
        >>> Flagger().look(seen).seconds, Flagger(minimum=97.0).look(seen), Flagger().look(Seen(300, [], [0] * 300, [0] * 300)).seconds
        (300, None, 300)
        """
        failed = 0
        for end in range(self.interval, seen.seconds + 1, self.interval):
            good, bad = (sum(turns[end - self.interval : end]) for turns in (seen.good_turns, seen.bad_turns))
            failed += not good + bad or 100 * good / (good + bad) < self.minimum
            if failed >= self.threshold:
                return Found(Verdict.UNHEALTHY, end, sum(sum(one.assigned[0][:end]) for one in seen.epochs))
        return None


@dataclass(frozen=True, slots=True)
class Ours:
    """The judge, every `look` seconds on what was scraped last."""

    analysis: Analysis
    every: int = 5
    scrape: int = 5

    def look(self, seen: Seen, traffic: Traffic, stop: Verdict) -> Found | None:
        """The first look with this verdict on the epoch of that moment; none if there is none.

        The judge is asked only where it could say so: a mixture of bets has made no more than the best of them.
        """
        sums = [_Sums(epoch, place) for place, epoch in enumerate(seen.epochs, 1)]
        begins = list(accumulate((seconds for _, seconds in traffic.steps), initial=0))
        for second in range(self.every, seen.seconds + 1, self.every):
            known = second - second % self.scrape
            each = sums[sum(begin < second for begin in begins[:-1]) - 1]
            if not known or not self._could(each, known - 1, stop):
                continue
            evidence = Evidence("simulated", _START + timedelta(seconds=known), each.cohorts(known - 1))
            at = _START + timedelta(seconds=second)
            if judge(evidence, self.analysis, epoch=each.number, now=at).verdict is stop:
                return Found(stop, second, sum(one.assigned[0][second - 1] for one in sums))
        return None

    def _could(self, each: "_Sums", second: int, stop: Verdict) -> bool:
        """
        >>> from random import Random
        >>> from rolehost_operator.simulation.traffic import draw
        >>> traffic = Traffic(candidate=0.5, steps=((50, 60),), pace=0)
        >>> sums, ours = _Sums(draw(Random(1), traffic).epochs[0], 1), Ours(Analysis())
        >>> [ours._could(sums, second, Verdict.UNHEALTHY) for second in (0, 59)], ours._could(sums, 59, Verdict.HEALTHY)
        ([False, True], False)
        """
        enough = -math.log(self.analysis.false_alarms_per_million / 1e6)
        counts = each.counts(second)
        if stop is Verdict.UNHEALTHY:
            return any(log_ratio(one, ratio) >= enough for one in counts for ratio, _ in RATIOS)
        return any(log_bet(counts[0], self.analysis.margin_percent / 100, stake) >= enough for stake, _ in STAKES)


class _Sums:
    """An epoch's counts up to every second."""

    def __init__(self, epoch: Epoch, number: int) -> None:
        self.number, self.percent = number, epoch.percent
        self.assigned = tuple(list(accumulate(series)) for series in epoch.assigned)
        self.scores: tuple[list[tuple[Question, Series, Series]], ...] = tuple(
            [
                (Question(OBJECTIVE, stratum, USER), list(accumulate(good)), list(accumulate(bad)))
                for stratum, (good, bad) in side.items()
            ]
            for side in epoch.scores
        )

    def counts(self, second: int) -> list[Counts]:
        """Of the whole session first, then of the other strata."""
        return [
            Counts(good[second], bad[second], baseline_good[second], baseline_bad[second], self.percent / 100)
            for (_, good, bad), (_, baseline_good, baseline_bad) in zip(*self.scores, strict=True)
        ]

    def cohorts(self, second: int) -> tuple[Cohort, Cohort]:
        one, other = (
            Cohort(
                self.number,
                arm.value,
                arm,
                percent,
                {USER: assigned[second]},
                assigned[second] * FIRST_TURNS,
                {question: Tally(good[second], bad[second]) for question, good, bad in scores},
            )
            for arm, percent, assigned, scores in zip(
                (Arm.CANDIDATE, Arm.BASELINE),
                (self.percent, 100 - self.percent),
                self.assigned,
                self.scores,
                strict=True,
            )
        )
        return one, other
