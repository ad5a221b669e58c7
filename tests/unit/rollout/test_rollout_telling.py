"""What `rolehost rollout` says of a Role's object, and with which exit code."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rolehost_api.errors import RolehostError
from rolehost_operator.rollout_commands import telling
from rolehost_operator.rollout_commands.reading import (
    Exit,
    MovedOn,
    NoRollout,
    NothingToUndo,
    Picture,
    earlier,
    picture,
    word_for,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def ago(**time: int) -> str:
    return (NOON - timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


DECISION = {
    "action": "Hold",
    "verdict": "Unknown",
    "reason": "WaitingForSessions",
    "message": "18 of some 50 sessions",
    "metric": "turn-success, first turns, users",
    "value": "0 of 18 bad",
    "threshold": "2 points above 1 of 341",
    "samples": 18,
    "samplesExpected": 32,
    "windowSeconds": 180,
    "alpha": "0.00025",
    "confounders": ["another backend"],
    "at": ago(seconds=5),
}
ROLLOUT = {
    "id": "3-27d3d70a",
    "attempt": 3,
    "strategy": "Progressive",
    "revision": "cat-new",
    "previous": "cat-old",
    "stage": "Stepping",
    "step": 2,
    "steps": 3,
    "percent": 25,
    "startedAt": ago(minutes=12),
    "stepStartedAt": ago(minutes=1),
    "progressedAt": ago(minutes=3),
    "epoch": 2,
    "lastDecision": DECISION,
}
TRAFFIC = [{"revision": "cat-new", "percent": 25, "tag": "canary", "arm": "Candidate"}]


def role(rollout: dict[str, Any] | None = None, declared: dict[str, Any] | None = None, **status: Any) -> Picture:
    return picture(
        {
            "metadata": {"name": "cat", "namespace": "acme"},
            "spec": {"template": {"persona": {"system": "Miau"}}, "rollout": declared or {}},
            "status": {
                "stableRevision": "cat-old",
                **({"rollout": {**ROLLOUT, **rollout}} if rollout is not None else {}),
                **status,
            },
        }
    )


def past(action: str, revision: str = "cat-new", *, automatic: bool = True) -> dict[str, Any]:
    return {
        "revision": revision,
        "action": action,
        "at": ago(minutes=1),
        "reason": "WorseThanStable",
        "automatic": automatic,
    }


def test_a_step_is_told_in_one_screen() -> None:
    assert telling.status(role({}, traffic=TRAFFIC), NOON) == [
        "cat: cat-new earns its traffic: step 2 of 3, 25 %",
        "  stable      cat-old",
        "  new         cat-new, rollout 3-27d3d70a",
        "  traffic     25 % to cat-new, 75 % to cat-old",
        "  since       12 min, 1 min of them as it is",
        "  lasts       1 min more at least",
        "  deadline    in 57 min: then it takes no new sessions and waits for you",
        "  evidence    18 sessions scored, some 32 more expected, in 3 min",
        "  verdict     Unknown: WaitingForSessions",
        "              18 of some 50 sessions",
        "  differs too another backend",
        "  you can     rolehost rollout promote cat   go on without more evidence",
        "              rolehost rollout abort cat     give it up",
    ]


def test_a_rollback_says_what_became_of_the_sessions() -> None:
    leaving = {"revision": "cat-new", "policy": "MigrateAtTurn", "reason": "rollback", "since": ago(minutes=1)}
    sessions = {"migrated": 7, "drained": 1, "dropped": 0, "reset": 2}
    one = role({"stage": "", "percent": 0, "sessions": sessions}, leaving=[leaving], history=[past("RolledBack")])
    lines = telling.status(one, NOON)
    assert lines[0] == "cat: cat-new was rolled back by itself: WorseThanStable"
    assert "  leaving     cat-new: MigrateAtTurn, by rollback, 1 min ago" in lines
    assert "  sessions    7 moved (2 of them began their state anew), 1 ended where they were, 0 cut" in lines
    assert "  traffic     100 % to cat-old" in lines


def test_why_has_every_number_of_the_decision() -> None:
    lines = telling.why(role({}, history=[past("Promoted", "cat-old", automatic=False)]), NOON)
    told = "\n".join(lines)
    for key in ("action", "verdict", "reason", "message", "metric", "value", "threshold", "alpha"):
        assert str(DECISION[key]) in told, key
    assert "18 sessions scored, some 32 more expected" in told
    assert "another backend" in told
    assert "3 min, since this step began" in told
    assert f"{ago(minutes=1)}  Promoted    cat-old" in told


def test_nothing_goes_on() -> None:
    one = role()
    assert telling.status(one, NOON) == [
        "cat: no rollout goes on",
        "  stable      cat-old",
        "  traffic     100 % to cat-old",
    ]
    assert telling.why(one, NOON)[-1] == "Nothing was decided yet."


def test_an_overview_has_a_line_for_each() -> None:
    lines = telling.overview([role({}), role()])
    assert [line.split()[:3] for line in lines] == [
        ["ROLE", "STAGE", "STEP"],
        ["cat", "Stepping", "2/3"],
        ["cat", "-", "-"],
    ]


def test_what_drives_a_terminal_is_shown_not_obeyed() -> None:
    lines = telling.status(role({"lastDecision": {**DECISION, "message": "x\x1b[2Jy"}}), NOON)
    assert "\x1b" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("one", "code"),
    [
        pytest.param(role(), Exit.GOOD, id="nothing"),
        pytest.param(role({}), Exit.GOOD, id="stepping"),
        pytest.param(role({"stage": "Watching"}), Exit.GOOD, id="watching"),
        pytest.param(role({"stage": ""}, history=[past("Promoted")]), Exit.GOOD, id="promoted"),
        pytest.param(role({"stage": ""}, history=[past("RolledBack")]), Exit.ROLLED_BACK, id="rolled-back"),
        pytest.param(role({"stage": ""}, history=[past("Aborted", automatic=False)]), Exit.ROLLED_BACK, id="aborted"),
        pytest.param(
            role({}, history=[past("RolledBack", "cat-older")]), Exit.GOOD, id="the-one-before-was-rolled-back"
        ),
        pytest.param(role({"stage": "Stopped"}), Exit.HELD, id="stopped"),
        pytest.param(role({}, {"paused": True}), Exit.HELD, id="paused"),
        pytest.param(role(None, {"paused": True}), Exit.GOOD, id="paused-without-a-rollout"),
        pytest.param(role({"lastDecision": {**DECISION, "reason": "AwaitingPromotion"}}), Exit.HELD, id="manual"),
    ],
)
def test_scripts_know_by_the_exit_code(one: Picture, code: Exit) -> None:
    assert one.exit() is code


# ── what is told ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rollout", "word"),
    [
        ({"stage": "Preparing", "step": 0}, "3-27d3d70a/0"),
        ({}, "3-27d3d70a/2"),
        ({"stage": "Stopped"}, "3-27d3d70a/2"),
        ({"stage": "Watching", "step": 3}, "3-27d3d70a/watch"),
        ({"stage": ""}, "3-27d3d70a/again"),
    ],
)
def test_a_word_is_for_one_place_of_one_rollout(rollout: dict[str, Any], word: str) -> None:
    assert word_for(role(rollout), "", ended=True) == word


@pytest.mark.parametrize(
    ("one", "wanted", "ended", "error"),
    [
        pytest.param(role(), "", True, NoRollout, id="never-any"),
        pytest.param(role({"stage": ""}), "", False, NoRollout, id="it-ended"),
        pytest.param(role({}), "2-aaaaaaaa", False, MovedOn, id="another-one"),
    ],
)
def test_nothing_is_told_to_what_was_not_meant(
    one: Picture, wanted: str, ended: bool, error: type[RolehostError]
) -> None:
    with pytest.raises(error) as caught:
        word_for(one, wanted, ended=ended)
    assert caught.value.hint


def revision(name: str, sequence: int) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"sequence": sequence, "roleName": "cat"}}


KEPT = [revision("cat-new", 3), revision("cat-old", 2), revision("cat-older", 1)]


@pytest.mark.parametrize(
    ("one", "kept", "name"),
    [
        pytest.param(role({}), KEPT, "cat-old", id="a-canary: the stable one"),
        pytest.param(role({"stage": "Watching"}, stableRevision="cat-new"), KEPT, "cat-old", id="watched"),
        pytest.param(role({"stage": ""}, stableRevision="cat-new"), KEPT, "cat-old", id="promoted"),
        pytest.param(
            role({"stage": ""}, stableRevision="cat-new"), [KEPT[0], KEPT[2]], "cat-older", id="its-predecessor-is-gone"
        ),
        pytest.param(role(None, stableRevision="cat-new"), KEPT, "cat-old", id="all-at-once"),
        pytest.param(role({"stage": ""}), KEPT, "cat-older", id="after-a-rollback"),
    ],
)
def test_undo_goes_to_the_one_before(one: Picture, kept: list[dict[str, Any]], name: str) -> None:
    assert earlier(one, kept) == name


def test_without_an_earlier_one_there_is_nothing_to_undo() -> None:
    with pytest.raises(NothingToUndo):
        earlier(role(None, stableRevision="cat-older"), KEPT)
