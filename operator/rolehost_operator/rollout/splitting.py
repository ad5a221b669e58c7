"""The error that one rollout may make, split over everything that could make it."""

from collections.abc import Mapping

from rolehost_api.slo import FIRST, LATER, WHOLE

WEIGHTS = {WHOLE: 18, FIRST: 1, LATER: 1}
"""Most for the whole session, which shows nearly everything; the others see what is bad in one kind of turn only."""
WEIGHTS_WITHOUT_WHOLE = {FIRST: 1, LATER: 2}


_FIRST_EPOCH = 0.8


def of_epoch(alpha: float, epoch: int) -> float:
    """An epoch's part of α: most for the first, where most of what is bad shows; all of them together have no more than α.

    >>> [f"{of_epoch(0.001, epoch):.3g}" for epoch in (1, 2, 3, 4)]
    ['0.0008', '0.0001', '3.33e-05', '1.67e-05']
    >>> round(sum(of_epoch(0.001, epoch) for epoch in range(1, 10_000)), 6)
    0.001
    """
    return alpha * (_FIRST_EPOCH if epoch <= 1 else (1 - _FIRST_EPOCH) / (epoch * (epoch - 1)))


def strata(seen: frozenset[str]) -> tuple[str, ...]:
    """What an objective is compared by. A session that is bad in part is bad as a whole in the same moment, so
    no comparison can reject before it is known whether there is a whole.

    >>> strata(frozenset({"first", "whole"})), strata(frozenset({"first"}))
    (('whole', 'first', 'later'), ('first', 'later'))
    """
    return tuple(WEIGHTS if WHOLE in seen else WEIGHTS_WITHOUT_WHOLE)


def deciding(seen: frozenset[str]) -> tuple[str, ...]:
    """Strata that must each be no worse. The whole holds the others: bad in one of them is bad in it.

    >>> deciding(frozenset({"first", "whole"})), deciding(frozenset({"first"}))
    (('whole',), ('first', 'later'))
    """
    return (WHOLE,) if WHOLE in seen else tuple(WEIGHTS_WITHOUT_WHOLE)


def split(alpha: float, objectives: Mapping[str, frozenset[str]]) -> dict[tuple[str, str], float]:
    """Each comparison's part of α, by objective and stratum: the parts' sum is α, so the errors' is at most.

    Only "worse" is split. "No worse" has to be shown of every objective, so a revision that is worse by one
    has to fool that one comparison, and its error is α as it stands, whatever else is compared.

    >>> {which[1]: f"{part:.6g}" for which, part in split(0.001, {"fast": frozenset({"whole", "first"})}).items()}
    {'whole': '0.0009', 'first': '5e-05', 'later': '5e-05'}
    >>> round(sum(split(0.001, {"fast": frozenset(), "right": frozenset({"whole"})}).values()), 9)
    0.001
    """
    parts = {}
    for objective, seen in objectives.items():
        weights = WEIGHTS if WHOLE in seen else WEIGHTS_WITHOUT_WHOLE
        for stratum in strata(seen):
            parts[objective, stratum] = alpha * weights[stratum] / (sum(weights.values()) * len(objectives))
    return parts
