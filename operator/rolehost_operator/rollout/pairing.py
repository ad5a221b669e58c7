"""Which sessions are held against which: the two arms of one epoch, drawn at the same time by known weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rolehost_api.crd.rollout import Arm
from rolehost_api.slo import ANONYMOUS, USER
from rolehost_operator.rollout.eprocess import Counts
from rolehost_operator.rollout.evidence import Cohort, Question, Tally

ANYBODY = (USER, ANONYMOUS)
_NONE = Tally()


@dataclass(frozen=True, slots=True)
class Pair:
    """Both arms of one epoch."""

    candidate: Cohort
    baseline: Cohort

    @property
    def epoch(self) -> int:
        return self.candidate.epoch

    @property
    def share(self) -> float:
        """The candidate's part of the sessions that either arm gets."""
        return self.candidate.percent / (self.candidate.percent + self.baseline.percent)

    def counts(self, objective: str, stratum: str, known: Iterable[str] = ANYBODY) -> Counts:
        """Of one objective and stratum; `known` says whose sessions."""
        good = bad = baseline_good = baseline_bad = 0
        for one in known:
            question = Question(objective, stratum, one)
            ours, theirs = self.candidate.tallies.get(question, _NONE), self.baseline.tallies.get(question, _NONE)
            good, bad = good + ours.good, bad + ours.bad
            baseline_good, baseline_bad = baseline_good + theirs.good, baseline_bad + theirs.bad
        return Counts(good, bad, baseline_good, baseline_bad, self.share)

    def assigned(self) -> Counts:
        """As if every session that was given away were a bad one: what shows whether the draw was as told.

        >>> candidate = Cohort(1, "b", Arm.CANDIDATE, 5, assigned={"user": 3, "anonymous": 1})
        >>> Pair(candidate, Cohort(1, "a", Arm.BASELINE, 95, assigned={"user": 80})).assigned()
        Counts(good=0, bad=4, baseline_good=0, baseline_bad=80, share=0.05)
        """
        return Counts(
            bad=sum(self.candidate.assigned.values()),
            baseline_bad=sum(self.baseline.assigned.values()),
            share=self.share,
        )


def pairs(cohorts: Iterable[Cohort], revision: str = "") -> tuple[Pair, ...]:
    """The epochs in order that have both arms, each with a part of the sessions; of one candidate, if it is named.

    An epoch that knows two weights of an arm, or without a name two candidates, is left out: what
    was drawn there, and how, is not known.

    >>> def cohort(epoch, revision, arm, percent=50): return Cohort(epoch, revision, arm, percent)
    >>> given = [cohort(2, "b", Arm.CANDIDATE), cohort(2, "a", Arm.BASELINE), cohort(1, "b", Arm.CANDIDATE)]
    >>> [pair.epoch for pair in pairs(given)]
    [2]
    >>> pairs([*given, cohort(2, "c", Arm.CANDIDATE)]), len(pairs([*given, cohort(2, "c", Arm.CANDIDATE)], "c"))
    ((), 1)
    """
    arms: dict[tuple[int, Arm], list[Cohort]] = {}
    for one in cohorts:
        if one.percent > 0 and (
            one.arm is Arm.BASELINE or (one.arm is Arm.CANDIDATE and revision in ("", one.revision))
        ):
            arms.setdefault((one.epoch, one.arm), []).append(one)
    found = []
    for epoch in sorted({epoch for epoch, _ in arms}):
        candidates, baselines = arms.get((epoch, Arm.CANDIDATE), []), arms.get((epoch, Arm.BASELINE), [])
        if len(candidates) == 1 and len(baselines) == 1:
            found.append(Pair(candidates[0], baselines[0]))
    return tuple(found)


def names(found: Iterable[Pair]) -> Mapping[str, frozenset[str]]:
    """Objectives that any session was scored by, in alphabetical order, each with its strata."""
    strata: dict[str, set[str]] = {}
    for pair in found:
        for cohort in (pair.candidate, pair.baseline):
            for question in cohort.tallies:
                strata.setdefault(question.objective, set()).add(question.stratum)
    return {objective: frozenset(strata[objective]) for objective in sorted(strata)}
