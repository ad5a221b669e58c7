"""Evidence that may be looked at after every session: e-values of two hypotheses, as logarithms.

An e-value is what a bet against a hypothesis has made of 1: nobody who bets against what is so makes
1/α of it with more than α chance, however often he looks (Ville). Both bets here rest on what the
platform did itself, the draw of the revision, and on nothing that it would have to know of the
traffic: its rate, its bursts and outages that both sides share do not matter.

One epoch is one draw. A unit that comes again in the next epoch is on the side that its bucket says, as before:
its coin is not thrown again, so e-values of epochs are not multiplied. Ten users who always fail, of whom the
draw put two to the candidate, would else count anew in every step. Each epoch has its own part of α instead
(`splitting.of_epoch`), and a good past does not have to be paid back before a bad present shows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

RATIOS = ((1.5, 0.08), (2.5, 0.22), (5.0, 0.48), (12.0, 0.22))
"""Of the shares of bad sessions, candidate's to baseline's: those that are bet on, each with its part of the stake."""
STAKES = ((0.97, 0.35), (0.65, 0.20), (0.40, 0.15), (0.22, 0.12), (0.12, 0.10), (0.06, 0.08))
"""Parts of the largest bet that cannot lose everything, each with its part of the stake."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sessions of two arms that were drawn side by side."""

    good: int = 0
    """Of the candidate."""
    bad: int = 0
    """Of the candidate."""
    baseline_good: int = 0
    baseline_bad: int = 0
    share: float = 0.5
    """Of the sessions of both arms, the candidate's part by its weight; above 0, below 1."""

    @property
    def sessions(self) -> int:
        return self.good + self.bad

    @property
    def baseline_sessions(self) -> int:
        return self.baseline_good + self.baseline_bad

    def swapped(self) -> "Counts":
        return Counts(self.baseline_good, self.baseline_bad, self.good, self.bad, 1 - self.share)


def log_sum(terms: Sequence[float]) -> float:
    """ln Σ exp(term); of nothing −∞.

    >>> round(math.exp(log_sum([math.log(2), math.log(3)])), 9), log_sum([])
    (5.0, -inf)
    """
    top = max(terms, default=-math.inf)
    return top if math.isinf(top) else top + math.log(math.fsum(math.exp(term - top) for term in terms))


def log_ratio(counts: Counts, ratio: float) -> float:
    """ln of the likelihood that the candidate is `ratio` times as often bad, to that of its being as often.

    Every bad session is a coin that shows the candidate with chance ratio·w/(ratio·w + 1 − w), where w is
    its share. One bad session of a candidate that gets 5 % says much, one of the baseline says little:

    >>> one, other = Counts(bad=1, share=0.05), Counts(baseline_bad=1, share=0.05)
    >>> round(math.exp(log_ratio(one, 5)), 3), round(math.exp(log_ratio(other, 5)), 3)
    (4.167, 0.833)

    As a likelihood ratio it is 1 on average where the candidate is as often bad: 0.05·4.167 + 0.95·0.833.
    Where it is less often bad, it is less.
    """
    odds = counts.share * (ratio - 1)
    return counts.bad * math.log(ratio) - (counts.bad + counts.baseline_bad) * math.log1p(odds)


def log_worse(counts: Counts, ratios: Sequence[tuple[float, float]] = RATIOS) -> float:
    """ln of the e-value against "the candidate is no more often bad": a stake laid on several ratios at once.

    At 5 % and 50 bad sessions of the baseline, 2 or 3 of the candidate are to be expected; 6 prove nothing:

    >>> [round(math.exp(log_worse(Counts(bad=bad, baseline_bad=50, share=0.05))), 1) for bad in (2, 6, 12)]
    [0.1, 1.4, 1597.6]
    >>> round(log_worse(Counts()), 9) == 0
    True
    """
    return log_sum([math.log(part) + log_ratio(counts, ratio) for ratio, part in ratios])


def log_bet(counts: Counts, margin: float, stake: float) -> float:
    """ln of what one bet against "worse by at least the margin" has made of 1. `margin` is above −1 and below 1,
    `stake` above 0 and below 1.

    Of each session, Y = (bad − margin)/w if the candidate got it, −bad/(1 − w) if the baseline did. By the
    draw its mean is p − q − margin, whatever p and q are at that moment: at least 0 if the hypothesis
    holds. So 1 − λY is at most 1 on average, and their product a bet that gains nothing. λ is `stake` of
    the largest with which no session can take all.

    >>> round(math.exp(log_bet(Counts(good=342, share=0.05), 0.02, 0.97)))
    816
    >>> round(0.98 ** -342)  # no bet on 342 good sessions gains more against 2 % of bad ones
    1002
    """
    share = counts.share
    step = stake / (1 - margin)
    return (
        counts.good * math.log1p(step * margin)
        + (counts.bad * math.log1p(-stake) if counts.bad else 0.0)
        + counts.baseline_bad * math.log1p(step * share / (1 - share))
    )


def log_within(counts: Counts, margin: float, stakes: Sequence[tuple[float, float]] = STAKES) -> float:
    """ln of the e-value against "the candidate is worse by at least the margin", a share such as 0.02.

    >>> round(math.exp(log_within(Counts(good=400, share=0.05), 0.02)))
    934
    >>> round(math.exp(log_within(Counts(good=400, bad=8, baseline_good=7_600, share=0.05), 0.02)), 2)
    0.35
    >>> round(math.exp(log_within(Counts(2_375, 125, 2_375, 125, share=0.5), 0.02)))  # 5 % in both
    24
    """
    return log_sum([math.log(part) + log_bet(counts, margin, stake) for stake, part in stakes])
