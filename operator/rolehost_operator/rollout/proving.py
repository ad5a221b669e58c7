"""Promotion needs proof too: more than the margin is ruled out, or it is not known, and what is missing is said."""

import math
from dataclasses import dataclass, replace

from rolehost_api.crd.rollout import Analysis
from rolehost_operator.rollout import eprocess, sentences, splitting
from rolehost_operator.rollout.eprocess import Counts
from rolehost_operator.rollout.expecting import until_within, until_worse
from rolehost_operator.rollout.pairing import Pair, names
from rolehost_operator.rollout.sentences import candidate_rate, stable_rate, unknown
from rolehost_operator.rollout.verdict import Bet, Judgement, Verdict


def unscored(pair: Pair, objective: str, stratum: str) -> int:
    """Of the candidate's sessions: those without an outcome that cannot be put down to their being young.

    Sessions of both arms are of the same age, so the baseline shows how many are still open. What the
    candidate has more than that, and more than chance (three deviations and three), counts as bad where
    it is to be promoted: a revision that hangs says nothing, and nothing is not good.
    """
    counts, assigned = pair.counts(objective, stratum), pair.assigned()
    odds = pair.share / (1 - pair.share)
    expected = max(0, assigned.baseline_bad - counts.baseline_sessions) * odds
    return max(0, math.floor(assigned.bad - counts.sessions - expected - 3 * math.sqrt(expected * (1 + odds)) - 3))


@dataclass(frozen=True, slots=True)
class _Proof:
    """How far one objective is from "no worse"."""

    metric: str
    counts: Counts
    """Sessions that say nothing are among the bad ones."""
    silent: int
    log_e: float


def no_worse(current: Pair | None, analysis: Analysis, alpha: float, *, alone: bool) -> Judgement:
    """Healthy, if every objective says so; else what is waited for. `alone`: there is no baseline by design."""
    if current is None and alone:
        return unknown("NothingToCompare", sentences.ALONE)
    proofs = _proofs(current, analysis.margin_percent / 100) if current else []
    said = _said(current, min(proofs, key=lambda one: one.log_e, default=None), analysis, alpha)
    return replace(said, bets=tuple(Bet(Verdict.HEALTHY, one.metric, one.log_e, -math.log(alpha)) for one in proofs))


def _said(current: Pair | None, weakest: _Proof | None, analysis: Analysis, alpha: float) -> Judgement:
    """By the objective that is farthest from it; none before the first score."""
    begun = current.assigned().bad if current else 0
    turns = current.candidate.turns if current else 0
    more = _expected(weakest, analysis, alpha) if weakest else 0
    if weakest is None or begun < analysis.min_sessions or turns < analysis.min_turns:
        return unknown(
            "WaitingForSessions",
            sentences.waiting(begun, turns, analysis),
            samples=begun,
            threshold=f"{analysis.min_sessions} sessions",
            expected=max(more, analysis.min_sessions - begun),
        )
    if weakest.log_e >= -math.log(alpha):
        verdict, reason, message = (
            Verdict.HEALTHY,
            "NoWorse",
            sentences.proven(weakest.metric, weakest.counts, analysis),
        )
        more = 0
    else:
        verdict, reason = Verdict.UNKNOWN, "NotProven"
        message = sentences.not_proven(weakest.metric, weakest.counts, analysis, more, weakest.silent)
    return Judgement(
        verdict,
        reason,
        message,
        weakest.metric,
        candidate_rate(weakest.counts),
        stable_rate(weakest.counts),
        weakest.counts.sessions,
        more,
        f"{alpha:.6g}",
    )


def _proofs(current: Pair, margin: float) -> list[_Proof]:
    """Of every objective."""
    proofs = []
    for objective, seen in names([current]).items():
        for stratum in splitting.deciding(seen):
            silent = unscored(current, objective, stratum)
            counts = current.counts(objective, stratum)
            counts = replace(counts, bad=counts.bad + silent)
            proofs.append(_Proof(f"{objective}/{stratum}", counts, silent, eprocess.log_within(counts, margin)))
    return proofs


def _expected(proof: _Proof, analysis: Analysis, alpha: float) -> int:
    """More sessions until either verdict, whichever comes sooner; 0: neither is to be expected."""
    ways = until_within(proof.counts, analysis.margin_percent / 100, alpha), until_worse(proof.counts, alpha)
    return min((way for way in ways if way), default=0)
