"""What a judge says of a revision: worse, no worse, or not known yet."""

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    HEALTHY = "Healthy"
    """More than the margin is ruled out, at the declared error, and every gate is passed."""
    UNHEALTHY = "Unhealthy"
    """No worse is ruled out."""
    UNKNOWN = "Unknown"
    """Neither yet; or something is missing. It holds."""


@dataclass(frozen=True, slots=True)
class Bet:
    """How far one proof has got, by one objective in one stratum: evidence adds up session by session, so half of what is
    needed is about half of the way."""

    verdict: Verdict
    """That it proves."""
    metric: str
    """objective/stratum."""
    log_e: float
    """ln of what it has made of 1; below 0: what was seen speaks against it."""
    proof: float
    """ln 1/α: from there on it is proven."""

    @property
    def part(self) -> float:
        """Of the way, 1 where it is proven.

        >>> Bet(Verdict.UNHEALTHY, "fast/whole", 3.6, 7.2).part
        0.5
        """
        return self.log_e / self.proof


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the numbers that it rests on; `status.rollout.lastDecision` takes them as they are."""

    verdict: Verdict
    reason: str
    """A stable CamelCase word, e.g. WorseThanStable, NoWorse, WaitingForSessions, PrometheusUnreachable."""
    message: str
    metric: str = ""
    value: str = ""
    threshold: str = ""
    samples: int = 0
    """Sessions of the new revision that were judged."""
    samples_expected: int = 0
    """That many more are expected to be needed; 0: not known."""
    alpha: str = ""
    bets: tuple[Bet, ...] = ()
    """All that was looked at on the way to it; none of what was not asked, because something stood in the way."""
