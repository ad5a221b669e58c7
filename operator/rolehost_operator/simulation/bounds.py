"""What no test can do better than, and what a simulation can say of a rate."""

import math


def _divergence(seen: float, held: float) -> float:
    """Kullback and Leibler's, of two coins: what one throw says, in nats."""
    return seen * math.log(seen / held) + (1 - seen) * math.log((1 - seen) / (1 - held))


def wald(candidate: float, stable: float, share: float, alpha: float) -> float:
    """Sessions of the candidate that a sequential test needs on average to find `candidate` bad ones where the others
    have `stable`; shares of sessions, both between 0 and 1. `share`: the candidate's part of all sessions.

    Wald's bound, ln(1/α) through what a session says, for two samples: it is held against the one common share
    of bad sessions that explains both arms best. It is for one comparison whose rates are known beforehand.

    >>> round(wald(0.2262, 0.049, 0.05, 0.001), 1), round(wald(0.2262, 0.049, 0.5, 0.001), 1)
    (40.5, 97.3)
    """
    common = share * candidate + (1 - share) * stable
    beside = (1 - share) / share
    return -math.log(alpha) / (_divergence(candidate, common) + beside * _divergence(stable, common))


def wald_coins(candidate: float, stable: float, share: float, alpha: float) -> float:
    """The same where only bad sessions are looked at, each as a coin that shows its side.

    >>> round(wald_coins(0.2262, 0.049, 0.05, 0.001), 1)
    45.0
    """
    coins = candidate + stable * (1 - share) / share
    return -math.log(alpha) / (coins * _divergence(candidate / coins, share))


def at_most(found: int, runs: int, sure: float = 0.95) -> float:
    """The rate that `found` of `runs` leave possible (Clopper and Pearson, one side).

    >>> [round(at_most(found, 2_000), 5) for found in (0, 1, 2)]
    [0.0015, 0.00237, 0.00314]
    """
    if found >= runs:
        return 1.0
    low, high = found / runs, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        chance = math.fsum(
            math.exp(
                math.lgamma(runs + 1) - math.lgamma(k + 1) - math.lgamma(runs - k + 1)
                + k * math.log(rate) + (runs - k) * math.log1p(-rate)
            )
            for k in range(found + 1)
        )  # fmt: skip
        low, high = (rate, high) if chance > 1 - sure else (low, rate)
    return high


def median(values: list[float]) -> float:
    """The middle one; of an even number the mean of two. What never came is infinite.

    >>> median([3.0, 1.0, math.inf]), median([1.0, 2.0])
    (3.0, 1.5)
    """
    order = sorted(values)
    middle = len(order) // 2
    return order[middle] if len(order) % 2 else (order[middle - 1] + order[middle]) / 2
