"""The questions: how many sessions, how often wrong, how soon beside the other rule. Each answers with figures."""

import math
from dataclasses import dataclass, field, replace
from random import Random

from rolehost_api.crd.rollout import Analysis
from rolehost_operator.rollout.verdict import Verdict
from rolehost_operator.simulation import bounds
from rolehost_operator.simulation.queue import sessions_until
from rolehost_operator.simulation.rules import Flagger, Found, Ours
from rolehost_operator.simulation.traffic import Model, Traffic, draw, share_of_bad

STEPS = ((5, 500), (25, 500), (50, 500))
"""Of runs that look for errors: a whole rollout, longer than steps are by default, judged to its end."""
RATE = 10.0
"""Of these runs, new sessions a second."""
_GRAIN = 5
_EVERY = 10
"""Seconds between two looks of these runs; a bet that is fair at every look is so at every second one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What an SRE knows of their Role."""

    stable: float = 0.01
    """Turns that fail on the stable revision, as a share."""
    candidate: float = 0.05
    """And on a new one that should be found."""
    percent: int = 5
    """Of new sessions, to the new one."""
    analysis: Analysis = field(default_factory=Analysis)
    pace: float = 6.0
    """Seconds from one turn of a session to the next."""
    scrape: int = 5
    """Seconds between two scrapes."""
    minima: tuple[float, ...] = (97.0, 99.0)
    """Of Flagger's rule, in percent of good turns; ours is held against the first."""
    runs: int = 100
    seed: int = 1

    @property
    def alpha(self) -> float:
        return self.analysis.false_alarms_per_million / 1e6

    @property
    def margin(self) -> float:
        return self.analysis.margin_percent / 100

    def rng(self, *names: object) -> Random:
        """Of one run: the same for the same names, whatever else is asked."""
        return Random("/".join(map(str, (self.seed, *names))))  # noqa: S311


@dataclass(frozen=True, slots=True)
class Spread:
    """Over all runs; what never came is infinite."""

    median: float
    mean: float
    p90: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """
        >>> Spread.of([1, 2, 3, 4])
        Spread(median=2.5, mean=2.5, p90=4)
        """
        order = sorted(values)
        return cls(bounds.median(order), math.fsum(order) / len(order), order[math.ceil(0.9 * len(order)) - 1])


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of the candidate until a verdict, each judged as soon as it was drawn."""

    model: str
    percent: int
    verdict: str
    stable: float
    """Share of bad sessions."""
    candidate: float
    needed: Spread
    bound: float | None
    """Wald's, for two samples whose rates are known; none for Healthy."""
    bound_coins: float | None
    """The same where only bad sessions say something."""
    ratio: float | None
    """Median through bound."""
    ratio_of_means: float | None


@dataclass(frozen=True, slots=True)
class Errors:
    """How often a verdict was wrong, over the whole of a rollout."""

    model: str
    rule: str
    verdict: str
    runs: int
    wrong: int
    rate: float
    at_most: float
    """The rate that so many runs leave possible, with 95 % certainty."""
    allowed: float | None


@dataclass(frozen=True, slots=True)
class Race:
    """Both rules on the same traffic, from the first session on."""

    rate: float
    """New sessions a second, of both revisions."""
    runs: int
    minimum: float
    """Of Flagger's rule."""
    seconds: Spread
    sessions: Spread
    missed: int
    flagger_seconds: Spread
    flagger_sessions: Spread
    flagger_missed: int
    ratio: float
    """Our median of seconds through theirs."""
    flagger_wrong: float
    """Share of revisions as good as stable that their rule rolls back in 30 minutes of this traffic."""
    wrong: float
    """And ours."""


def sessions_to_unhealthy(setting: Setting, model: Model = Model.IID) -> Sessions:
    """To find the candidate, beside what no test can do better than."""
    share = setting.percent / 100
    stable, candidate = share_of_bad(setting.stable, model), share_of_bad(setting.candidate, model)
    needed = Spread.of(
        [
            sessions_until(
                setting.rng("worse", model, run), setting.stable, setting.candidate, model, share, setting.analysis,
                Verdict.UNHEALTHY,
            )
            for run in range(setting.runs)
        ]
    )  # fmt: skip
    bound = bounds.wald(candidate, stable, share, setting.alpha)
    return Sessions(
        model.value,
        setting.percent,
        Verdict.UNHEALTHY.value,
        stable,
        candidate,
        needed,
        bound,
        bounds.wald_coins(candidate, stable, share, setting.alpha),
        needed.median / bound,
        needed.mean / bound,
    )


def sessions_to_healthy(setting: Setting, model: Model = Model.IID) -> Sessions:
    """To prove a candidate that is as good as stable."""
    share, bad = setting.percent / 100, share_of_bad(setting.stable, model)
    needed = [
        sessions_until(
            setting.rng("good", model, run), setting.stable, setting.stable, model, share, setting.analysis,
            Verdict.HEALTHY,
        )
        for run in range(setting.runs)
    ]  # fmt: skip
    return Sessions(
        model.value, setting.percent, Verdict.HEALTHY.value, bad, bad, Spread.of(needed), None, None, None, None
    )


def false_rollbacks(setting: Setting, model: Model) -> list[Errors]:
    """Of candidates as good as stable: rolled back in any step; by our rule, then by Flagger's with each minimum."""
    traffic = Traffic(RATE, setting.stable, setting.stable, 0.0, STEPS, setting.pace, model, _GRAIN)
    ours = Ours(setting.analysis, max(_EVERY, setting.analysis.interval_seconds), setting.scrape)
    wrong = dict.fromkeys(("rolehost", *map(_name, setting.minima)), 0)
    for run in range(setting.runs):
        seen = draw(setting.rng("alike", model, run), traffic)
        wrong["rolehost"] += ours.look(seen, traffic, Verdict.UNHEALTHY) is not None
        for minimum in setting.minima:
            wrong[_name(minimum)] += Flagger(minimum).look(seen) is not None
    return [
        _errors(setting, model, rule, Verdict.UNHEALTHY, count, setting.alpha if rule == "rolehost" else None)
        for rule, count in wrong.items()
    ]


def false_promotions(setting: Setting, model: Model) -> Errors:
    """Of candidates that are worse than stable by exactly the margin: Healthy at any look, in a long step at 25 %."""
    traffic = Traffic(RATE, setting.stable, setting.stable, setting.margin, ((25, 1_500),), setting.pace, model, _GRAIN)
    ours = Ours(setting.analysis, max(_EVERY, setting.analysis.interval_seconds), setting.scrape)
    wrong = sum(
        ours.look(draw(setting.rng("margin", model, run), traffic), traffic, Verdict.HEALTHY) is not None
        for run in range(setting.runs)
    )
    return _errors(setting, model, "rolehost", Verdict.HEALTHY, wrong, setting.alpha)


def race(setting: Setting, rate: float, model: Model = Model.IID) -> Race:
    """Until either rule gives the candidate up; and how often each gives up one that is as good as stable."""
    share = setting.percent / 100
    bound = bounds.wald(
        share_of_bad(setting.candidate, model), share_of_bad(setting.stable, model), share, setting.alpha
    )
    seconds = min(4 * 3_600, max(1_800, round(6 * bound / (rate * share))))
    worse = Traffic(rate, setting.stable, setting.candidate, 0.0, ((setting.percent, seconds),), setting.pace, model)
    alike = replace(worse, candidate=setting.stable, steps=((setting.percent, 1_800),))
    ours = Ours(setting.analysis, setting.analysis.interval_seconds, setting.scrape)
    theirs = Flagger(setting.minima[0])
    found: list[tuple[Found | None, Found | None]] = []
    wrong = [0, 0]
    for run in range(setting.runs):
        seen = draw(setting.rng("race", rate, run), worse)
        found.append((ours.look(seen, worse, Verdict.UNHEALTHY), theirs.look(seen)))
        good = draw(setting.rng("calm", rate, run), alike)
        wrong[0] += ours.look(good, alike, Verdict.UNHEALTHY) is not None
        wrong[1] += theirs.look(good) is not None
    one, other = ([pair[side] for pair in found] for side in range(2))
    seconds_of, seconds_of_theirs = _spread(one, "seconds"), _spread(other, "seconds")
    return Race(
        rate,
        setting.runs,
        theirs.minimum,
        seconds_of,
        _spread(one, "sessions"),
        one.count(None),
        seconds_of_theirs,
        _spread(other, "sessions"),
        other.count(None),
        seconds_of.median / seconds_of_theirs.median,
        wrong[1] / setting.runs,
        wrong[0] / setting.runs,
    )


def _spread(found: list[Found | None], what: str) -> Spread:
    return Spread.of([math.inf if one is None else getattr(one, what) for one in found])


def _name(minimum: float) -> str:
    return f"Flagger, min {minimum:g}"


def _errors(setting: Setting, model: Model, rule: str, verdict: Verdict, wrong: int, allowed: float | None) -> Errors:
    rate = wrong / setting.runs
    return Errors(
        model.value, rule, verdict.value, setting.runs, wrong, rate, bounds.at_most(wrong, setting.runs), allowed
    )
