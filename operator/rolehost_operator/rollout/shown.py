"""Rollouts as figures, for alerts and dashboards: read from what is in the Roles' status, so an operator that begins anew
tells the same."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from rolehost_api.crd.rollout import Rollout, RolloutStatus

LABELS = ("tenant", "role")
SESSIONS, EVIDENCE = "sessions", "evidence"
_TRAFFIC = frozenset({"WaitingForSessions"})
"""Reasons of a hold that more traffic ends."""
_OTHERWISE = frozenset(
    {
        "AwaitingPromotion",
        "GatesPending",
        "InsufficientQuota",
        "PodsFailing",
        "StepNotOver",
        "WaitingForPods",
        "Watching",
    }
)
"""Those that wait for neither: for somebody's word, for pods, or for the clock."""
FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "stage": ("1 in the stage that a rollout is in.", (*LABELS, "stage")),
    "progress_age_seconds": ("Since a rollout last got on.", LABELS),
    "pause_seconds": ("So long its present step lasts at least; 0 outside of the steps.", LABELS),
    "unknown": ("1 while a rollout holds without a verdict: it waits for sessions, or evidence is missing.", (*LABELS, "why")),
    "rolled_back_timestamp_seconds": ("When a revision was last rolled back, without being asked to or at a word.", (*LABELS, "automatic")),
}  # fmt: skip
"""Without `rolehost_rollout_` before it, each with what it says and its labels."""


class Figure(NamedTuple):
    """One sample; `family` is a key of FAMILIES, `labels` are in its order."""

    family: str
    labels: tuple[str, ...]
    value: float


def figures(role: Mapping[str, Any], now: datetime) -> Iterator[Figure]:
    """Of one Role as the apiserver tells it. A status that cannot be read has none.

    >>> noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    >>> rollout = {"id": "1-ab", "stage": "Stepping", "step": 2, "progressedAt": "2030-01-01T11:55:00Z",
    ...     "lastDecision": {"action": "Hold", "verdict": "Unknown", "reason": "WaitingForSessions"}}
    >>> role = {"metadata": {"namespace": "acme", "name": "cat"}, "spec": {}, "status": {"rollout": rollout}}
    >>> for one in figures(role, noon): print(*one)
    stage ('acme', 'cat', 'Stepping') 1.0
    progress_age_seconds ('acme', 'cat') 300.0
    pause_seconds ('acme', 'cat') 120.0
    unknown ('acme', 'cat', 'sessions') 1.0
    """
    status = role.get("status") or {}
    names = (str(role["metadata"].get("namespace", "")), str(role["metadata"]["name"]))
    yield from _rolled_back(names, status.get("history") or ())
    try:
        rollout = msgspec.convert(status.get("rollout"), RolloutStatus | None)
    except msgspec.ValidationError:
        return
    if rollout is None or not rollout.stage:
        return
    yield Figure("stage", (*names, rollout.stage), 1.0)
    began = _at(rollout.progressed_at) or _at(rollout.step_started_at) or _at(rollout.started_at)
    if began is not None:
        yield Figure("progress_age_seconds", names, max(0.0, (now - began).total_seconds()))
    yield Figure("pause_seconds", names, float(_pause(role.get("spec") or {}, rollout.step)))
    last = rollout.last_decision
    if last is not None and (last.action, last.verdict) == ("Hold", "Unknown") and last.reason not in _OTHERWISE:
        yield Figure("unknown", (*names, SESSIONS if last.reason in _TRAFFIC else EVIDENCE), 1.0)


def _pause(spec: Mapping[str, Any], step: int) -> int:
    """Nothing else of the spec has to be readable."""
    declared = (spec.get("rollout") or {}).get("steps") or []
    try:
        return msgspec.convert({"steps": declared}, Rollout).pause_of(step)
    except msgspec.ValidationError:
        return 0


def _rolled_back(names: tuple[str, str], history: Iterable[Mapping[str, Any]]) -> Iterator[Figure]:
    """The newest of each kind: history has the newest first."""
    for automatic in (True, False):
        times = (
            _at(str(one.get("at", "")))
            for one in history
            if one.get("action") == "RolledBack" and bool(one.get("automatic")) is automatic
        )
        at = next((at for at in times if at is not None), None)
        if at is not None:
            yield Figure("rolled_back_timestamp_seconds", (*names, str(automatic).lower()), at.timestamp())


def _at(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
