"""What a Role's status says of its rollout, as figures that alerts look at."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from rolehost_api.crd.rollout import Rollout
from rolehost_operator.rollout import shown
from rolehost_operator.rollout.shown import Figure, figures
from rolehost_operator.telemetry import Metrics

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def role(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "acme", "name": "cat"}, "spec": spec or {}, "status": status}


def told(one: dict[str, Any]) -> dict[tuple[str, ...], float]:
    return {(figure.family, *figure.labels[2:]): figure.value for figure in figures(one, NOON)}


def rollout(**given: Any) -> dict[str, Any]:
    return {"id": "1-ab", "stage": "Stepping", "step": 1, "startedAt": "2030-01-01T11:50:00Z", **given}


def test_who_has_no_rollout_shows_nothing() -> None:
    assert told(role()) == told({"metadata": {"name": "cat"}}) == told(role(rollout={"id": "1-ab", "stage": ""})) == {}


def test_its_age_is_that_of_the_last_progress_and_never_negative() -> None:
    assert told(role(rollout=rollout()))["progress_age_seconds",] == 600
    later = rollout(progressedAt="2030-01-01T11:59:00Z")
    assert told(role(rollout=later))["progress_age_seconds",] == 60
    assert told(role(rollout=rollout(progressedAt="2030-01-01T13:00:00Z")))["progress_age_seconds",] == 0


def test_the_pause_is_that_of_the_step_as_it_is_declared() -> None:
    spec = {"rollout": {"steps": [{"percent": 10, "pauseSeconds": 7}, {"percent": 20}]}}
    assert [told(role(spec, rollout=rollout(step=step)))["pause_seconds",] for step in range(4)] == [0, 7, 60, 60]
    usual = [0, *(step.pause_seconds for step in Rollout().ladder)]
    usual.append(usual[-1])
    without: list[dict[str, Any]] = [{}, {"rollout": {}}, {"rollout": {"steps": [], "strategy": "OfTomorrow"}}]
    for none in without:
        assert [told(role(none, rollout=rollout(step=step)))["pause_seconds",] for step in range(5)] == usual
    assert told(role({"rollout": {"steps": [{"percent": "many"}]}}, rollout=rollout()))["pause_seconds",] == 0


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        ({"action": "Hold", "verdict": "Unknown", "reason": "WaitingForSessions"}, "sessions"),
        ({"action": "Hold", "verdict": "Unknown", "reason": "PrometheusUnreachable"}, "evidence"),
        ({"action": "Hold", "verdict": "Unknown", "reason": "AwaitingPromotion"}, ""),
        ({"action": "Hold", "verdict": "Healthy", "reason": "NoWorse"}, ""),
        ({"action": "Advance", "verdict": "Unknown"}, ""),
    ],
)
def test_what_it_waits_for(decision: dict[str, Any], why: str) -> None:
    shown = told(role(rollout=rollout(lastDecision=decision)))
    assert [key[1] for key in shown if key[0] == "unknown"] == ([why] if why else [])


def test_the_newest_rollback_of_each_kind_stays_told_when_nothing_goes_on() -> None:
    history = [
        {"revision": "c", "action": "Promoted", "at": "2030-01-01T11:00:00Z"},
        {"revision": "b", "action": "RolledBack", "at": "2030-01-01T10:00:00Z", "automatic": True},
        {"revision": "a", "action": "RolledBack", "at": "2030-01-01T09:00:00Z", "automatic": True},
        {"revision": "a", "action": "RolledBack", "at": "2030-01-01T08:00:00Z"},
    ]
    shown = told(role(history=history))
    name = "rolled_back_timestamp_seconds"
    assert shown == {(name, "true"): NOON.timestamp() - 7200, (name, "false"): NOON.timestamp() - 14_400}


def test_a_status_that_cannot_be_read_does_not_end_the_scrape() -> None:
    assert list(figures(role(rollout={"stage": 7}, history=[{"action": "RolledBack", "at": "soon"}]), NOON)) == []


def test_the_operator_tells_them() -> None:
    metrics = Metrics()
    metrics.rollouts(lambda: [role(rollout=rollout(stage="Stopped"))])
    assert (
        'rolehost_rollout_stage{role="cat",stage="Stopped",tenant="acme"} 1.0'
        in generate_latest(metrics.registry).decode()
    )
    assert Figure("stage", ("acme", "cat", "Stopped"), 1.0) in list(
        figures(role(rollout=rollout(stage="Stopped")), NOON)
    )


def test_the_reasons_are_those_that_holds_have() -> None:
    source = "\n".join(path.read_text() for path in Path(shown.__file__).parent.glob("*.py") if path.stem != "shown")
    assert [reason for reason in shown._TRAFFIC | shown._OTHERWISE if f'"{reason}"' not in source] == []
