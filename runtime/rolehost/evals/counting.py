"""How often it went well, and how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964
"""Of a two-sided interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario, played once."""

    scenario: str
    repeat: int
    seed: int
    faults: tuple[str, ...]
    """Each with the number of its turn; empty: it passed."""
    seconds: float
    played: bool = True
    """False: there was no session to play it in, so it says nothing of the Role."""

    @property
    def passed(self) -> bool:
        return not self.faults


def wilson(passed: int, runs: int, z: float = Z) -> tuple[float, float]:
    """Between which rates the true one lies, by Wilson's score: also for none, for all and for few.

    >>> [tuple(round(one, 3) for one in wilson(*pair)) for pair in ((9, 10), (10, 10), (0, 10), (900, 1000))]
    [(0.596, 0.982), (0.722, 1.0), (0.0, 0.278), (0.88, 0.917)]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if not runs:
        return 0.0, 1.0
    rate, square = passed / runs, z * z / runs
    middle = (rate + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(rate * (1 - rate) / runs + square / (4 * runs))
    low = 0.0 if passed == 0 else max(0.0, middle - half)
    return low, 1.0 if passed == runs else min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Result:
    """Of one file."""

    file: str
    role: str
    runs: Sequence[Run]
    min_pass_rate: float

    @property
    def passed(self) -> int:
        return sum(run.passed for run in self.runs)

    @property
    def rate(self) -> float:
        return self.passed / len(self.runs) if self.runs else 0.0

    @property
    def unplayed(self) -> int:
        return sum(not run.played for run in self.runs)

    @property
    def good(self) -> bool:
        """As many passed as must: the rate itself, not its interval."""
        return bool(self.runs) and self.rate >= self.min_pass_rate - 1e-12

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.passed, len(self.runs))
