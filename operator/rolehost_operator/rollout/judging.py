"""Is a revision worse than the stable one, no worse, or is that not known yet?

    evidence is missing ──────────────────────────▶ Unknown
    "no worse" is ruled out, at its part of α ────▶ Unhealthy   `eprocess.log_worse`
    a metric that may roll back, beyond its bound ▶ Unhealthy
    anything stands in the way, or a floor ───────▶ Unknown
    "worse by the margin" is ruled out, at α ─────▶ Healthy     `eprocess.log_within`
    otherwise ────────────────────────────────────▶ Unknown, with what is expected to be needed

Several candidates at once are an experiment: what each shows is told, and nothing is said of them (`reporting`).

Only sessions of the present epoch count, of both arms: like is compared with like. Both are bets that may be looked at after every session. "Not ruled out" is never taken for its contrary.

**Anonymous traffic is never the sole cause of a rollback.** Who has no name can come as often as he likes and
see which side he is on. So the stake is halved between the bet on users alone and the bet on all traffic, and a
rollback needs 1/α of both halves together and, of users alone, at least CORROBORATION: with traffic of his own an
attacker makes a rollback of a good revision no more likely than 1 in 20, and nobody can hide a bad one from users
with anonymous traffic that looks good. Without users there is no rollback, but no promotion either: Unknown,
`WorseForAnonymous`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rolehost_api.crd.rollout import Analysis, Arm
from rolehost_operator.rollout import comparing, customs, sentences, splitting
from rolehost_operator.rollout.comparing import Comparison
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.pairing import Pair, pairs
from rolehost_operator.rollout.proving import no_worse
from rolehost_operator.rollout.reporting import report
from rolehost_operator.rollout.verdict import Judgement, Verdict

STALE = timedelta(minutes=5)
"""Evidence older than this says nothing of now, whatever its reader thought of it."""


def judge(evidence: Evidence, analysis: Analysis, *, epoch: int, now: datetime) -> Judgement:
    """What is known of the candidate at `now`, with the numbers that it rests on.

    >>> from datetime import timezone
    >>> from rolehost_operator.rollout.evidence import Cohort, Question, Tally
    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> def seen(good, bad, stable_good, stable_bad):
    ...     whole = Question("turn-success", "whole", "user")
    ...     return Evidence("r", now, (
    ...         Cohort(1, "new", Arm.CANDIDATE, 5, {"user": good + bad}, 5 * (good + bad), {whole: Tally(good, bad)}),
    ...         Cohort(1, "old", Arm.BASELINE, 95, {"user": stable_good + stable_bad}, 0,
    ...             {whole: Tally(stable_good, stable_bad)})))
    >>> bad = judge(seen(46, 14, 1_080, 54), Analysis(), epoch=1, now=now)
    >>> bad.verdict, bad.reason, bad.value, bad.threshold, bad.samples, bad.alpha
    (<Verdict.UNHEALTHY: 'Unhealthy'>, 'WorseThanStable', '14 of 60 (23.3 %)', '54 of 1134 (4.8 %)', 60, '0.00072')
    >>> good = judge(seen(420, 0, 7_990, 5), Analysis(), epoch=1, now=now)
    >>> good.verdict, good.reason, good.alpha
    (<Verdict.HEALTHY: 'Healthy'>, 'NoWorse', '0.001')
    >>> print(judge(seen(100, 2, 1_900, 20), Analysis(), epoch=1, now=now).message)
    102 of about 3420 sessions. turn-success: 2 of 102 sessions (2.0 %) were bad, 20 of 1920 (1.0 %) on stable: that \
proves neither that it is worse nor that it is within 2 points of stable. `rolehost rollout promote` does not wait for it.
    >>> judge(Evidence("r", missing="PrometheusUnreachable"), Analysis(), epoch=1, now=now).reason
    'PrometheusUnreachable'
    """
    if evidence.missing:
        return sentences.unknown(evidence.missing, evidence.detail or f"Nothing can be said now: {evidence.missing}.")
    if evidence.at is None or now - evidence.at > STALE:
        when = "none yet" if evidence.at is None else f"from {evidence.at:%H:%M:%S}"
        return sentences.unknown(
            "EvidenceStale", f"The newest evidence is {when}. See that Prometheus scrapes the gateways."
        )
    variants = {one.revision for one in evidence.cohorts if one.arm is Arm.CANDIDATE and one.epoch == epoch}
    if len(variants) > 1:
        return sentences.side_by_side(report(evidence, analysis))
    pair = next((one for one in pairs(evidence.cohorts) if one.epoch == epoch), None)
    alpha = analysis.false_alarms_per_million / 1e6
    found = comparing.compare(pair, splitting.of_epoch(alpha, epoch)) if pair else []
    said = _compared(evidence, analysis, epoch, pair, found)
    return replace(said, bets=(*(one.bet for one in found), *said.bets))


def _compared(
    evidence: Evidence, analysis: Analysis, epoch: int, pair: Pair | None, found: Sequence[Comparison]
) -> Judgement:
    """`found`: whether it is worse, by every objective in every stratum."""
    hindrances = customs.hindrances(analysis.metrics, evidence)
    skewed = comparing.skew(pair) if pair else 0
    rejected = [one for one in found if one.rejects]
    worst = max(rejected, key=lambda one: (one.corroborated, one.log_e + math.log(one.alpha)), default=None)
    if worst and worst.corroborated and skewed <= 0:
        return sentences.worse(worst)
    for hindrance in hindrances:
        if hindrance.rolls_back:
            return _hindered(Verdict.UNHEALTHY, hindrance)
    if pair and skewed:
        return sentences.uneven(pair.assigned(), more=skewed > 0)
    if worst:
        return sentences.anonymous(worst)
    for hindrance in hindrances:
        return _hindered(Verdict.UNKNOWN, hindrance)
    alone = any(one.epoch == epoch and one.arm is Arm.CANDIDATE and one.percent == 100 for one in evidence.cohorts)
    return no_worse(pair, analysis, analysis.false_alarms_per_million / 1e6, alone=alone)


def _hindered(verdict: Verdict, hindrance: customs.Hindrance) -> Judgement:
    return Judgement(
        verdict, hindrance.reason, hindrance.message, hindrance.metric, hindrance.value, hindrance.threshold
    )
