"""How many more sessions a verdict will take, if those to come are like those that came. A guess, and said as one."""

import math
from collections.abc import Sequence

from rolehost_operator.rollout.eprocess import RATIOS, STAKES, Counts, log_bet, log_ratio

_PRIOR = 0.02
"""The share of bad sessions that is supposed before there is any."""
_SMOOTH = 10
"""As many sessions like the baseline's are added to the candidate's: three sessions are no rate yet."""
MOST = 1_000_000
"""Above it, nothing is said."""


def rates(counts: Counts) -> tuple[float, float]:
    """Shares of bad sessions as they will go on: candidate's, baseline's.

    >>> [round(rate, 3) for rate in rates(Counts(good=3, baseline_good=90, baseline_bad=10, share=0.05))]
    [0.076, 0.099]
    """
    baseline = (counts.baseline_bad + _PRIOR) / (counts.baseline_sessions + 1)
    return (counts.bad + _SMOOTH * baseline) / (counts.sessions + _SMOOTH), baseline


def _one(counts: Counts) -> Sequence[tuple[Counts, float]]:
    """What one more session of the candidate brings, the baseline's beside it, and how often."""
    candidate, baseline = rates(counts)
    beside = (1 - counts.share) / counts.share
    return (
        (Counts(good=1, share=counts.share), 1 - candidate),
        (Counts(bad=1, share=counts.share), candidate),
        (Counts(baseline_bad=1, share=counts.share), baseline * beside),
    )


def _fewest(have: Sequence[tuple[float, float]], needed: float) -> int:
    """Of bets with what they made so far and what they make of one more session: the first to get there."""
    fewest = min((max(0.0, needed - made) / gain for made, gain in have if gain > 1e-9), default=math.inf)
    return math.ceil(fewest) if fewest < MOST else 0


def until_within(counts: Counts, margin: float, alpha: float) -> int:
    """Sessions of the candidate until "worse by the margin" is ruled out; 0: not to be expected.

    >>> until_within(Counts(good=100, baseline_good=2_000, share=0.05), 0.02, 0.001)
    306
    >>> until_within(Counts(good=100, bad=20, baseline_good=2_000, share=0.05), 0.02, 0.001)
    0
    """
    coming = _one(counts)
    return _fewest(
        [
            (
                math.log(part) + log_bet(counts, margin, stake),
                math.fsum(often * log_bet(one, margin, stake) for one, often in coming),
            )
            for stake, part in STAKES
        ],
        -math.log(alpha),
    )


def until_worse(counts: Counts, alpha: float) -> int:
    """Sessions of the candidate until "no worse" is ruled out; 0: not to be expected.

    >>> until_worse(Counts(good=30, bad=6, baseline_good=600, baseline_bad=30, share=0.05), 0.001)
    104
    """
    coming = _one(counts)
    return _fewest(
        [
            (
                math.log(part) + log_ratio(counts, ratio),
                math.fsum(often * log_ratio(one, ratio) for one, often in coming),
            )
            for ratio, part in RATIOS
        ],
        -math.log(alpha),
    )
