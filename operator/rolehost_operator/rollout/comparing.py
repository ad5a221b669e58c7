"""A candidate against its baseline in one epoch, by every objective and in every stratum."""

import math
from dataclasses import dataclass

from rolehost_api.slo import USER
from rolehost_operator.rollout import eprocess, splitting
from rolehost_operator.rollout.eprocess import Counts
from rolehost_operator.rollout.pairing import Pair, names
from rolehost_operator.rollout.verdict import Bet, Verdict

CORROBORATION = 20.0
"""E-value that users alone must give before a revision is rolled back."""
SKEW = 10_000.0
"""E-value against the weights at which sessions are taken not to be drawn by them."""
_SKEWS = ((1.15, 0.4), (1.5, 0.3), (3.0, 0.3))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One objective and stratum."""

    objective: str
    stratum: str
    counts: Counts
    alpha: float
    """Its part."""
    everybody: float
    """ln of the e-value."""
    users: float

    @property
    def log_e(self) -> float:
        """Of the two halves of the stake."""
        return eprocess.log_sum([self.everybody, self.users]) - math.log(2)

    @property
    def rejects(self) -> bool:
        return self.log_e >= -math.log(self.alpha)

    @property
    def corroborated(self) -> bool:
        return self.users >= min(math.log(CORROBORATION), -math.log(self.alpha))

    @property
    def bet(self) -> Bet:
        return Bet(Verdict.UNHEALTHY, self.metric, self.log_e, -math.log(self.alpha))

    @property
    def metric(self) -> str:
        return f"{self.objective}/{self.stratum}"


def compare(pair: Pair, alpha: float) -> list[Comparison]:
    """Every objective in every stratum, each with its part of `alpha`."""
    comparisons = []
    for (objective, stratum), part in splitting.split(alpha, names([pair])).items():
        counts, users = pair.counts(objective, stratum), pair.counts(objective, stratum, (USER,))
        everybody = eprocess.log_worse(counts)
        comparisons.append(
            Comparison(
                objective,
                stratum,
                counts,
                part,
                everybody,
                everybody if users == counts else eprocess.log_worse(users),
            )
        )
    return comparisons


def skew(pair: Pair) -> int:
    """1: the candidate was given more sessions than its weight, by more than chance; −1: fewer; 0: as told.

    More would make every revision look worse, fewer no worse: neither may then be said.
    """
    assigned = pair.assigned()
    if eprocess.log_worse(assigned, _SKEWS) >= math.log(SKEW):
        return 1
    return -1 if eprocess.log_worse(assigned.swapped(), _SKEWS) >= math.log(SKEW) else 0
