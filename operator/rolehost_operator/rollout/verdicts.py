"""What the judge says of each rollout that goes on, as figures: the last verdict, and how near it is to another.

Kept in memory by who leads and judges; a Role without a rollout is not in it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rolehost_api import slo
from rolehost_operator.observed import Key
from rolehost_operator.rollout.shown import LABELS, Figure
from rolehost_operator.rollout.verdict import Judgement, Verdict

LINGER = 60.0
"""Seconds for which a verdict that decides is told: it ends a step or the rollout in the same moment, and the evidence of
the next step begins at nothing, so no scrape would see that it was reached."""
MOST_BETS = 32
"""Of one rollout: those of eight objectives, each in three strata and as a proof that it is no worse."""
FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    slo.EVIDENCE: ("ln of the e-value for a verdict, by what it rests on. Below 0 it speaks against it.", (*LABELS, "metric", "direction")),
    slo.EVIDENCE_THRESHOLD: ("From here on that verdict is proven by that metric: ln 1/alpha.", (*LABELS, "metric", "direction")),
    slo.VERDICT: ("1 for the last verdict, 0 for the others. One that decides is told for a minute.", (*LABELS, "verdict")),
    slo.SAMPLES: ("Sessions of the new revision that the last verdict rests on.", LABELS),
    slo.SAMPLES_WANTED: ("So many are expected to be needed for one; none where that is not known.", LABELS),
}  # fmt: skip
"""By the series' name, with what it says and its labels."""


@dataclass(frozen=True, slots=True)
class _Said:
    judgement: Judgement
    at: float


@dataclass(frozen=True, slots=True)
class _Kept:
    newest: _Said
    decided: _Said | None = None
    """The newest that was not Unknown."""

    def told(self, now: float) -> Judgement:
        decided = self.decided
        return (decided if decided is not None and now - decided.at <= LINGER else self.newest).judgement


class Verdicts:
    """`goes_on`: whether a Role's rollout is one that is judged. All times are seconds of one clock that does not jump."""

    def __init__(self, goes_on: Callable[[Key], bool]) -> None:
        self._goes_on = goes_on
        self._kept: dict[Key, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def say(self, key: Key, judgement: Judgement | None, now: float) -> None:
        """Of the last look at this Role; None where nothing was judged."""
        if judgement is None:
            return
        said, before = _Said(judgement, now), self._kept.get(key)
        decides = judgement.verdict is not Verdict.UNKNOWN
        self._kept[key] = _Kept(said, said if decides else before.decided if before else None)

    def forget(self) -> None:
        """Who does not lead judges nothing."""
        self._kept.clear()

    def figures(self, now: float) -> Iterator[Figure]:
        """Of every rollout that goes on, and of one that ended for LINGER; what is older is forgotten here."""
        for key, kept in list(self._kept.items()):
            if now - kept.newest.at > LINGER and not self._goes_on(key):
                del self._kept[key]
            else:
                yield from figures(key, kept.told(now))


def figures(key: Key, judgement: Judgement) -> Iterator[Figure]:
    """Of one Role's rollout; `Figure.family` is a key of FAMILIES.

    >>> from rolehost_operator.rollout.verdict import Bet
    >>> bets = (Bet(Verdict.UNHEALTHY, "fast/whole", 3.5, 7.25), Bet(Verdict.HEALTHY, "fast/whole", -1.0, 6.875))
    >>> said = Judgement(Verdict.UNKNOWN, "NotProven", "", samples=102, samples_expected=98, bets=bets)
    >>> for one in figures(("acme", "cat"), said): print(one.family.removeprefix("rolehost_rollout_"), *one[1:])
    verdict ('acme', 'cat', 'Healthy') 0.0
    verdict ('acme', 'cat', 'Unhealthy') 0.0
    verdict ('acme', 'cat', 'Unknown') 1.0
    samples ('acme', 'cat') 102.0
    samples_wanted ('acme', 'cat') 200.0
    evidence ('acme', 'cat', 'fast/whole', 'Unhealthy') 3.5
    evidence_threshold ('acme', 'cat', 'fast/whole', 'Unhealthy') 7.25
    evidence ('acme', 'cat', 'fast/whole', 'Healthy') -1.0
    evidence_threshold ('acme', 'cat', 'fast/whole', 'Healthy') 6.875
    """
    for verdict in Verdict:
        yield Figure(slo.VERDICT, (*key, verdict.value), float(verdict is judgement.verdict))
    yield Figure(slo.SAMPLES, key, float(judgement.samples))
    if judgement.samples_expected:
        yield Figure(slo.SAMPLES_WANTED, key, float(judgement.samples + judgement.samples_expected))
    for bet in sorted(judgement.bets, key=lambda one: one.part, reverse=True)[:MOST_BETS]:
        labels = (*key, bet.metric, bet.verdict.value)
        yield Figure(slo.EVIDENCE, labels, bet.log_e)
        yield Figure(slo.EVIDENCE_THRESHOLD, labels, bet.proof)
