"""What a judge says, for people: numbers first, then what to do."""

from collections.abc import Sequence

from rolehost_api.crd.rollout import Analysis
from rolehost_api.slo import FIRST, FIRST_TURNS, LATER, WHOLE
from rolehost_operator.rollout.comparing import Comparison
from rolehost_operator.rollout.eprocess import Counts
from rolehost_operator.rollout.reporting import Standing
from rolehost_operator.rollout.verdict import Judgement, Verdict

ALONE = (
    "All new sessions go to the new revision, so there is no stable one beside it. `rolehost rollout promote` ends the "
    "step; let the last step leave some sessions to the stable revision."
)
_MOST = 1_000
"""Characters of a message."""
_TURNS = {FIRST: " in their first turn", LATER: f" in turns 2 to {FIRST_TURNS}"}


def of(bad: int, sessions: int, what: str = "") -> str:
    """
    >>> of(14, 60), of(0, 0)
    ('14 of 60 (23.3 %)', '0 of 0')
    """
    return f"{bad} of {sessions}{what}" + (f" ({100 * bad / sessions:.1f} %)" if sessions else "")


def candidate_rate(counts: Counts) -> str:
    return of(counts.bad, counts.sessions)


def stable_rate(counts: Counts) -> str:
    return of(counts.baseline_bad, counts.baseline_sessions)


def seen(metric: str, counts: Counts) -> str:
    """Of one objective and stratum.

    >>> seen("fast/first", Counts(46, 14, 1_080, 54))
    'fast: 14 of 60 sessions (23.3 %) were bad in their first turn, 54 of 1134 (4.8 %) on stable'
    """
    objective, _, stratum = metric.partition("/")
    return (
        f"{objective}: {of(counts.bad, counts.sessions, ' sessions')} were bad{_TURNS.get(stratum, '')}, "
        f"{stable_rate(counts)} on stable"
    )


def points(analysis: Analysis) -> str:
    """
    >>> points(Analysis(margin_percent=1)), points(Analysis(margin_percent=2))
    ('1 point', '2 points')
    """
    return f"{analysis.margin_percent} point" + "s" * (analysis.margin_percent != 1)


def waiting(begun: int, turns: int, analysis: Analysis) -> str:
    return (
        f"{begun} of {analysis.min_sessions} sessions and {turns} of {analysis.min_turns} turns on the new revision since "
        "this step began. `rolehost rollout promote` does not wait for them."
    )


def proven(metric: str, counts: Counts, analysis: Analysis) -> str:
    return f"{seen(metric, counts)}: worse by more than {points(analysis)} is ruled out."


def not_proven(metric: str, counts: Counts, analysis: Analysis, more: int, silent: int) -> str:
    total = f"{counts.sessions} of about {counts.sessions + more} sessions" if more else f"{counts.sessions} sessions"
    without = f" {silent} of them gave no outcome and count as bad." if silent else ""
    return (
        f"{total}. {seen(metric, counts)}: that proves neither that it is worse nor that it is within {points(analysis)} of "
        f"stable.{without} "
        "`rolehost rollout promote` does not wait for it."
    )


def worse(one: Comparison) -> Judgement:
    return Judgement(
        Verdict.UNHEALTHY,
        "WorseThanStable",
        f"{seen(one.metric, one.counts)}: that the new revision is no worse is ruled out.",
        one.metric,
        candidate_rate(one.counts),
        stable_rate(one.counts),
        one.counts.sessions,
        alpha=f"{one.alpha:.6g}",
    )


def anonymous(one: Comparison) -> Judgement:
    return unknown(
        "WorseForAnonymous",
        f"{seen(one.metric, one.counts)}: users do not show it, and anonymous traffic alone rolls nothing back. "
        "`rolehost rollout abort` does, `rolehost rollout promote` goes on.",
        metric=one.metric,
        value=candidate_rate(one.counts),
        threshold=stable_rate(one.counts),
        samples=one.counts.sessions,
        alpha=f"{one.alpha:.6g}",
    )


def side_by_side(standings: Sequence[Standing]) -> Judgement:
    """Variants of an experiment, each by its objectives; a difference's two ends hold at every look."""
    lines = [
        f"{one.revision}, {one.objective}: {of(one.bad, one.sessions, ' sessions')} were bad, "
        f"{of(one.stable_bad, one.stable_sessions)} on stable; {100 * one.low:+.1f} to {100 * one.high:+.1f} points"
        for one in standings
        if one.stratum == WHOLE
    ]
    said = "; ".join(lines)
    return unknown(
        "VariantsCompared",
        said if len(said) <= _MOST else said[: _MOST - 1] + "…",
        samples=max((one.sessions for one in standings), default=0),
        alpha=f"{standings[0].alpha:.6g}" if standings else "",
    )


def uneven(counts: Counts, *, more: bool) -> Judgement:
    total = counts.bad + counts.baseline_bad
    return unknown(
        "SharesUneven",
        f"The new revision was given {counts.bad} of {total} sessions, {'more' if more else 'fewer'} than its weight, so "
        "nothing can be compared. See whether all gateways have the weights: `rolehost doctor`.",
        value=of(counts.bad, total),
        threshold=f"{100 * counts.share:.3g} %",
        samples=counts.bad,
    )


def unknown(
    reason: str,
    message: str,
    *,
    metric: str = "",
    value: str = "",
    threshold: str = "",
    samples: int = 0,
    expected: int = 0,
    alpha: str = "",
) -> Judgement:
    return Judgement(Verdict.UNKNOWN, reason, message, metric, value, threshold, samples, expected, alpha)
