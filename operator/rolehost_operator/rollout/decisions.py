"""`status.rollout.lastDecision`: what was decided, on which numbers, and when that is worth a write."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from rolehost_api.crd.rollout import Decision
from rolehost_operator.rollout.scene import Hold
from rolehost_operator.rollout.times import since, stamp
from rolehost_operator.rollout.verdict import Judgement

ADVANCE, PROMOTE, HOLD, ROLLBACK, PAUSE, ABORT, FINISH = (
    "Advance",
    "Promote",
    "Hold",
    "Rollback",
    "Pause",
    "Abort",
    "Finish",
)
REFRESH = timedelta(seconds=30)
"""Between two writes that only bring counts up to date."""
MAX_MESSAGE, MAX_SHORT = 1024, 64


def decision(
    action: str,
    at: datetime,
    judgement: Judgement | None = None,
    *,
    reason: str = "",
    message: str = "",
    window: timedelta = timedelta(0),
    confounders: tuple[str, ...] = (),
) -> Decision:
    """With the judgement's numbers where there are some; `reason` and `message` are told in place of its own."""
    said = Decision(
        action=action,
        reason=reason,
        message=message[:MAX_MESSAGE],
        window_seconds=int(window.total_seconds()),
        confounders=[one[:256] for one in confounders[:8]],
        at=stamp(at),
    )
    if judgement is None:
        return said
    return replace(
        said,
        verdict=judgement.verdict.value,
        reason=reason or judgement.reason[:MAX_SHORT],
        message=(message or judgement.message)[:MAX_MESSAGE],
        metric=judgement.metric[:128],
        value=judgement.value[:MAX_SHORT],
        threshold=judgement.threshold[:MAX_SHORT],
        samples=judgement.samples,
        samples_expected=judgement.samples_expected,
        alpha=judgement.alpha[:32],
    )


def held(
    hold: Hold, at: datetime, judgement: Judgement | None, window: timedelta, confounders: tuple[str, ...] = ()
) -> Decision:
    return decision(
        hold.action,
        at,
        judgement,
        reason=hold.reason,
        message=hold.message,
        window=window,
        confounders=confounders,
    )


def worth_writing(before: Decision | None, fresh: Decision, at: datetime) -> Decision:
    """`fresh`, or what is written already: a hold's counts are brought up to date every 30 s, its reason at once.

    What was done stands for that long too, so that whoever looks finds it.

    >>> from datetime import UTC
    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> first = decision("Hold", noon, reason="WaitingForSessions", message="3 of 10")
    >>> second = decision("Hold", noon.replace(second=5), reason="WaitingForSessions", message="4 of 10")
    >>> worth_writing(first, second, noon.replace(second=5)).message, worth_writing(
    ...     first, second, noon.replace(second=30)
    ... ).message
    ('3 of 10', '4 of 10')
    >>> worth_writing(first, replace(second, reason="PrometheusUnreachable"), noon.replace(second=5)).reason
    'PrometheusUnreachable'
    """
    if before is None:
        return fresh
    unchanged = replace(fresh, at=before.at, window_seconds=before.window_seconds) == before
    if unchanged:
        return before
    young = since(before.at, at) < REFRESH
    if young and fresh.action == HOLD and before.action in (ADVANCE, PROMOTE):
        return before
    return before if young and _gist(before) == _gist(fresh) else fresh


def _gist(one: Decision) -> tuple[object, ...]:
    return one.action, one.verdict, one.reason, one.metric, one.confounders
