"""What a rollout comes to: given what stands in the status, what was judged and what time it is."""

from datetime import timedelta
from typing import Any

import pytest
from tests.support.staging import (
    HEALTHY,
    NOON,
    WAITING,
    WORSE,
    Pilot,
    declared,
    revision,
    runs,
    scene,
    stable,
)

from rolehost_api.crd.role import RoleStatus
from rolehost_operator.rollout.engine import step


def shares(pilot: Pilot) -> list[tuple[str, int, str]]:
    return [(one.revision, one.percent, one.arm.value) for one in pilot.seen.status.traffic]


def leaving(pilot: Pilot) -> list[tuple[str, str, str]]:
    return [(one.revision, one.policy.value, one.reason) for one in pilot.seen.status.leaving]


def past(pilot: Pilot) -> list[tuple[str, str, str, bool]]:
    return [(one.revision, one.action, one.reason, one.automatic) for one in pilot.seen.status.history]


# ── without a rollout ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["AllAtOnce", "Progressive", "Manual", "Experiment"])
def test_the_first_revision_is_stable_at_once(strategy: str) -> None:
    given: dict[str, Any] = {"variants": [{"revision": "@r1", "percent": 50}]} if strategy == "Experiment" else {}
    outcome = step(
        scene(
            declared=declared(strategy=strategy, **given),
            status=RoleStatus(),
            latest="old",
            revisions=runs(revision("old", 1)),
        )
    )
    assert (outcome.stable, outcome.traffic, outcome.rollout, outcome.history) == ("old", (), None, ())


def test_all_at_once_is_stable_as_soon_as_it_serves() -> None:
    pilot = Pilot(
        scene(
            declared=declared(strategy="AllAtOnce"),
            revisions=runs(revision("old", 1), revision("new", 2, serving=False)),
        )
    )
    assert pilot.look().stable == "old"
    assert pilot.look(revisions=runs(revision("old", 1), revision("new", 2))).stable == "new"
    assert pilot.seen.status.rollout is None
    assert shares(pilot) == []
    assert leaving(pilot) == [("old", "Drain", "promotion")]
    [one] = pilot.seen.status.leaving
    assert (one.since, one.until) == ("2030-01-01T12:00:00Z", "2030-01-01T14:00:00Z")


# ── step by step ────────────────────────────────────────────────────────────────────


def test_a_good_revision_goes_through_the_steps() -> None:
    pilot = Pilot()
    pilot.look()
    assert pilot.stage == ("Stepping", 1, 5)
    assert shares(pilot) == [("new", 5, "Candidate"), ("old", 95, "Baseline")]
    first = pilot.rollout.id
    for expected in ((2, 25), (3, 50)):
        pilot.look(HEALTHY, later=120)
        assert pilot.stage == ("Stepping", *expected)
    assert pilot.rollout.epoch == 3
    outcome = pilot.look(HEALTHY, later=120)
    assert (outcome.stable, outcome.canary) == ("new", "")
    assert pilot.stage == ("Watching", 3, 95)
    assert shares(pilot) == [("new", 95, "Candidate"), ("old", 5, "Baseline")]
    assert leaving(pilot) == []
    pilot.look(WAITING, later=600)
    assert pilot.stage == ("", 3, 100)
    assert (shares(pilot), leaving(pilot)) == ([], [("old", "Drain", "promotion")])
    assert past(pilot) == [("new", "Promoted", "Watched", True)]
    assert pilot.rollout.id == first
    assert pilot.events == ["RolloutStarted", *["RolloutAdvanced"] * 3, "RolloutPromoted", "RolloutFinished"]


def test_healthy_does_not_shorten_the_pause() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(HEALTHY, later=59)
    assert pilot.stage == ("Stepping", 1, 5)
    pilot.look(HEALTHY, later=1)
    assert pilot.stage == ("Stepping", 2, 25)


def test_a_bad_revision_is_rolled_back_whatever_the_step() -> None:
    for number in (1, 2, 3):
        pilot = Pilot().to_step(number)
        outcome = pilot.look(WORSE, later=1)
        assert (outcome.stable, outcome.canary, outcome.traffic) == ("old", "", ())
        assert pilot.stage == ("", number, 0)
        assert leaving(pilot) == [("new", "MigrateAtTurn", "rollback")]
        assert past(pilot) == [("new", "RolledBack", "WorseThanStable", True)]
        said = pilot.rollout.last_decision
        assert said is not None
        assert (said.action, said.verdict, said.metric, said.value, said.threshold, said.window_seconds) == (
            "Rollback", "Unhealthy", "turn-success/whole", "14 of 60", "4 of 99", 1,
        )  # fmt: skip
        later = pilot.look(HEALTHY, later=100_000)
        assert (later.rollout, later.notes) == (outcome.rollout, ())


def test_a_bad_revision_is_rolled_back_while_it_is_watched() -> None:
    pilot = Pilot().promoted()
    outcome = pilot.look(WORSE, later=10)
    assert (outcome.stable, outcome.traffic) == ("old", ())
    assert leaving(pilot) == [("new", "MigrateAtTurn", "rollback")]
    assert past(pilot) == [("new", "RolledBack", "WorseThanStable", True)]


def test_what_is_not_known_holds_and_says_what_is_missing() -> None:
    pilot = Pilot().to_step(1)
    outcome = pilot.look(WAITING, later=300)
    assert pilot.stage == ("Stepping", 1, 5)
    said = pilot.rollout.last_decision
    assert said is not None
    assert (said.action, said.verdict, said.reason, said.message) == (
        "Hold", "Unknown", "WaitingForSessions", "3 of 50 sessions",
    )  # fmt: skip
    assert (said.samples, said.samples_expected) == (3, 47)
    assert outcome.look_in == timedelta(seconds=5)


def test_no_traffic_ends_with_the_deadline_and_nobody_is_moved() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WAITING, later=3_659)
    assert pilot.stage == ("Stepping", 1, 5)
    outcome = pilot.look(WAITING, later=1)
    assert pilot.stage == ("Stopped", 1, 0)
    assert (outcome.stable, outcome.canary, shares(pilot), leaving(pilot)) == ("old", "new", [], [])
    said = pilot.rollout.last_decision
    assert said is not None
    assert (said.action, said.reason) == ("Pause", "ProgressDeadlineExceeded")
    assert pilot.look(HEALTHY, later=100_000).rollout == outcome.rollout


# ── what people say ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["Progressive", "Manual"])
def test_a_promotion_ends_the_step(strategy: str) -> None:
    pilot = Pilot(scene(declared=declared(strategy=strategy)))
    pilot.look()
    for number in (1, 2, 3):
        pilot.look(HEALTHY if strategy == "Manual" else WAITING, later=1_000)
        assert pilot.rollout.step == number
        pilot.look(WAITING, promote=f"{pilot.rollout.id}/{number}")
    assert pilot.stage == ("Watching", 3, 95)
    pilot.look(WAITING, promote=f"{pilot.rollout.id}/watch")
    assert pilot.stage == ("", 3, 100)
    assert past(pilot) == [("new", "Promoted", "Promoted", False)]


def test_a_bare_id_is_said_once_and_again_once_it_was_taken_back() -> None:
    pilot = Pilot().to_step(1)
    word = pilot.rollout.id
    for _ in range(3):
        pilot.look(WAITING, promote=word)
        assert pilot.rollout.step == 2
    pilot.look(WAITING, promote="")
    pilot.look(WAITING, promote=word)
    assert pilot.rollout.step == 3


@pytest.mark.parametrize("word", ["", "1-00000000", "{id}/2", "{id}/watch", "{id}x"])
def test_a_word_for_another_rollout_or_step_is_void(word: str) -> None:
    pilot = Pilot().to_step(1)
    word = word.format(id=pilot.rollout.id)
    pilot.look(WAITING, promote=word, abort=word)
    assert pilot.stage == ("Stepping", 1, 5)


def test_who_gives_it_up_ends_it() -> None:
    pilot = Pilot().to_step(2)
    pilot.look(HEALTHY, abort=pilot.rollout.id)
    assert pilot.stage == ("", 2, 0)
    assert past(pilot) == [("new", "Aborted", "Aborted", False)]
    assert leaving(pilot) == [("new", "MigrateAtTurn", "rollback")]
    for _ in range(3):
        assert pilot.look(HEALTHY, later=10_000).notes == ()


def test_a_word_that_stood_when_it_ended_does_not_begin_it_again() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WORSE, promote=pilot.rollout.id)
    assert pilot.stage == ("", 1, 0)
    pilot.look(WAITING)
    assert (pilot.stage, pilot.rollout.attempt) == (("", 1, 0), 1)


def test_what_was_rolled_back_is_tried_again_by_hand_and_rolled_back_by_itself_only_once() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WORSE)
    pilot.look(promote=f"{pilot.rollout.id}/again")
    assert (pilot.stage, pilot.rollout.attempt) == (("Stepping", 1, 5), 2)
    outcome = pilot.look(WORSE, later=1)
    assert pilot.stage == ("Stopped", 1, 0)
    assert (outcome.leaving, len(past(pilot))) == ((), 1)


# ── another wish ────────────────────────────────────────────────────────────────────


def test_a_new_edit_ends_the_canary_and_begins_at_step_0() -> None:
    pilot = Pilot().to_step(2)
    first = pilot.rollout.id
    three = runs(revision("old", 1), revision("new", 2), revision("newer", 3, ready=0, serving=False))
    outcome = pilot.look(HEALTHY, latest="newer", revisions=three)
    assert (outcome.stable, outcome.canary, outcome.traffic) == ("old", "newer", ())
    assert pilot.stage == ("Preparing", 0, 0)
    assert pilot.rollout.id != first
    assert leaving(pilot) == [("new", "MigrateAtTurn", "rollback")]
    assert past(pilot) == [("new", "Superseded", "NewRevision", False)]


def test_the_stable_ones_content_again_ends_the_canary() -> None:
    pilot = Pilot().to_step(2)
    outcome = pilot.look(HEALTHY, latest="old")
    assert (outcome.stable, outcome.canary, pilot.stage) == ("old", "", ("", 2, 0))
    assert past(pilot) == [("new", "Superseded", "StableAgain", False)]
    pilot.look(latest="new")
    assert (pilot.stage, leaving(pilot)) == (("Stepping", 1, 5), [])


def test_the_earlier_content_again_while_it_is_watched_is_a_rollout_like_any_other() -> None:
    pilot = Pilot().promoted()
    outcome = pilot.look(latest="old")
    assert (outcome.stable, outcome.canary) == ("new", "old")
    assert pilot.stage == ("Stepping", 1, 5)
    assert leaving(pilot) == []


# ── before the first step ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        pytest.param({"ready": 1}, "WaitingForPods", id="one-pod"),
        pytest.param({"serving": False}, "WaitingForPods", id="does-not-serve"),
        pytest.param({"refused": "exceeded quota: pods"}, "InsufficientQuota", id="no-quota"),
        pytest.param({"failing": "ImagePullBackOff"}, "PodsFailing", id="pods-fail"),
        pytest.param({"schema_version": 2}, "RollbackWouldResetState", id="stable-cannot-read-it"),
    ],
)
def test_no_weight_before_all_is_in_place(new: dict[str, Any], reason: str) -> None:
    pilot = Pilot(scene(revisions=runs(revision("old", 1), revision("new", 2, **new))))
    pilot.look()
    said = pilot.rollout.last_decision
    assert said is not None
    assert (pilot.stage, said.action, said.reason, shares(pilot)) == (("Preparing", 0, 0), "Hold", reason, [])
    pilot.look(later=10, revisions=runs(revision("old", 1), revision("new", 2)))
    assert pilot.stage == ("Stepping", 1, 5)


@pytest.mark.parametrize(
    ("old", "rollout"),
    [
        pytest.param({"reads": frozenset({2})}, {}, id="stable-reads-it"),
        pytest.param({"schema_version": 2}, {}, id="the-same"),
        pytest.param({}, {"allowStateReset": True}, id="a-reset-is-allowed"),
    ],
)
def test_a_rollback_that_keeps_state_or_may_reset_it_holds_nothing(
    old: dict[str, Any], rollout: dict[str, Any]
) -> None:
    given = runs(revision("old", 1, **old), revision("new", 2, schema_version=2))
    pilot = Pilot(scene(declared=declared(**rollout), revisions=given))
    pilot.look()
    assert pilot.stage == ("Stepping", 1, 5)


def test_gates_open_the_way_or_close_it() -> None:
    def with_gate(**gates: str) -> dict[str, Any]:
        return {"revisions": runs(revision("old", 1), revision("new", 2, gates=gates))}

    pilot = Pilot(scene(declared=declared(analysis={"gates": [{"name": "evals"}]})))
    pilot.look(**with_gate())
    said = pilot.rollout.last_decision
    assert said is not None
    assert (pilot.stage[0], said.reason) == ("Preparing", "GatesPending")
    pilot.look(**with_gate(evals="Failed"))
    assert (pilot.stage, past(pilot)[0]) == (("", 0, 0), ("new", "Aborted", "GateFailed", True))
    assert leaving(pilot) == []
    assert pilot.look(later=9, **with_gate(evals="Failed")).notes == ()
    pilot.look(**with_gate(evals="Passed"))
    assert pilot.stage == ("Stepping", 1, 5)


def test_after_a_rollback_nothing_begins_by_itself_for_a_while() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WORSE)
    three = runs(revision("old", 1), revision("new", 2), revision("newer", 3))
    pilot.look(later=60, latest="newer", revisions=three)
    said = pilot.rollout.last_decision
    assert said is not None
    assert (pilot.stage[0], said.reason) == ("Preparing", "Cooldown")
    pilot.look(later=1_739)
    assert pilot.stage[0] == "Preparing"
    pilot.look(later=1)
    assert pilot.stage == ("Stepping", 1, 5)


def test_a_cooldown_may_be_cut_short_by_hand() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WORSE)
    pilot.look(later=60, latest="newer", revisions=runs(revision("old", 1), revision("newer", 3)))
    pilot.look(promote=pilot.rollout.id)
    assert pilot.stage == ("Stepping", 1, 5)


def test_what_was_rolled_back_is_not_tried_again_by_itself_when_it_comes_back() -> None:
    pilot = Pilot(scene(declared=declared(cooldownSeconds=0))).to_step(1)
    pilot.look(WORSE)
    three = runs(revision("old", 1), revision("new", 2), revision("newer", 3))
    pilot.look(later=60, latest="newer", revisions=three)
    assert pilot.stage == ("Stepping", 1, 5)
    pilot.look(later=60, latest="new")
    said = pilot.rollout.last_decision
    assert said is not None
    assert (pilot.stage[0], said.reason) == ("Preparing", "RolledBackBefore")


# ── paused, pinned ──────────────────────────────────────────────────────────────────


def test_paused_holds_the_weight_and_not_the_rollback() -> None:
    pilot = Pilot().to_step(1)
    outcome = pilot.look(HEALTHY, later=7_200, declared=declared(paused=True))
    assert pilot.stage == ("Stepping", 1, 5)
    assert shares(pilot) == [("new", 5, "Candidate"), ("old", 95, "Baseline")]
    assert outcome.rollout is not None
    assert outcome.rollout.last_decision is not None
    assert (outcome.rollout.last_decision.action, outcome.rollout.last_decision.reason) == ("Pause", "Paused")
    pilot.look(WAITING, later=7_200, declared=declared())
    assert pilot.stage == ("Stepping", 1, 5), "the time that it was paused does not count"
    pilot.look(WORSE, declared=declared(paused=True))
    assert past(pilot)[0][1] == "RolledBack"


def test_a_pin_takes_all_new_sessions_and_ends_what_runs() -> None:
    pilot = Pilot().to_step(2)
    three = runs(revision("older", 0), revision("old", 1), revision("new", 2))
    outcome = pilot.look(HEALTHY, revisions=three, declared=declared(pinnedRevision="@r0"))
    assert (outcome.stable, outcome.canary, outcome.traffic) == ("older", "", ())
    assert past(pilot) == [("new", "Superseded", "PinnedRevision", False)]
    assert leaving(pilot) == [("new", "MigrateAtTurn", "rollback"), ("old", "Drain", "promotion")]
    assert outcome.hold is not None
    assert outcome.hold.reason == "Pinned"


def test_a_pin_that_leads_nowhere_changes_nothing() -> None:
    pilot = Pilot().to_step(2)
    pilot.look(HEALTHY, later=500, declared=declared(pinnedRevision="@r9"))
    said = pilot.rollout.last_decision
    assert said is not None
    assert (pilot.stage, said.reason) == (("Stepping", 2, 25), "PinnedRevisionNotFound")


# ── leaving ─────────────────────────────────────────────────────────────────────────


def test_who_leaves_is_gone_when_no_gateway_has_a_session_of_it() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WORSE)
    idle = runs(revision("old", 1), revision("new", 2, idle=True))
    pilot.look(later=59, revisions=idle)
    assert len(leaving(pilot)) == 1
    pilot.look(later=1, revisions=idle)
    assert leaving(pilot) == []


def test_a_drain_that_is_over_moves_who_is_left() -> None:
    pilot = Pilot(scene(declared=declared(strategy="AllAtOnce", drain={"maxSeconds": 100})))
    assert pilot.look().look_in == timedelta(seconds=60)
    pilot.look(later=99)
    assert leaving(pilot) == [("old", "Drain", "promotion")]
    pilot.look(later=1)
    assert leaving(pilot) == [("old", "MigrateAtTurn", "promotion")]


def test_the_policies_are_as_declared() -> None:
    rollback = {"sessionPolicy": "Drain", "memory": "Quarantine"}
    pilot = Pilot(scene(declared=declared(rollback=rollback, drain={"maxSeconds": 60}))).to_step(1)
    pilot.look(WORSE)
    [one] = pilot.seen.status.leaving
    assert (one.policy.value, one.memory.value, one.reason) == ("Drain", "Quarantine", "rollback")
    assert one.until > one.since


# ── time ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("skew", [-600, 600])
def test_another_operators_clock_makes_no_time_negative(skew: int) -> None:
    """F24: the next operator's clock is ten minutes off."""
    pilot = Pilot().to_step(1)
    outcome = pilot.look(WAITING, later=skew)
    assert outcome.rollout is not None
    assert outcome.rollout.last_decision is not None
    assert outcome.rollout.last_decision.window_seconds >= 0
    assert outcome.look_in is not None
    assert outcome.look_in >= timedelta(0)
    assert pilot.stage == ("Stepping", 1, 5)


def test_counts_never_fall() -> None:
    from rolehost_api.crd.rollout import Counts

    pilot = Pilot().to_step(1)
    pilot.look(WORSE, counts=Counts(migrated=5))
    outcome = pilot.look(counts=Counts(migrated=3, reset=1))
    assert outcome.rollout is not None
    assert (outcome.rollout.sessions.migrated, outcome.rollout.sessions.reset) == (5, 1)


def test_an_idle_hold_writes_nothing() -> None:
    pilot = Pilot().to_step(1)
    first = pilot.look(WAITING, later=60)
    for _ in range(20):
        assert pilot.look(WAITING, later=5).rollout == first.rollout
    assert pilot.seen.at > NOON
    assert stable().rollout is None


# ── what else differs ───────────────────────────────────────────────────────────────


def answered_by(old: str, new: str) -> dict[str, Any]:
    return {"revisions": runs(revision("old", 1, backend=old), revision("new", 2, backend=new))}


def test_two_models_are_named() -> None:
    pilot = Pilot(scene(**answered_by("default/@1", "default/small@1"))).to_step(1)
    pilot.look(WAITING, later=60)
    said = pilot.rollout.last_decision
    assert said is not None
    assert said.confounders == ["another model: new is answered by default/small, old by default"]


def test_a_model_backend_that_changes_begins_the_evidence_anew() -> None:
    pilot = Pilot(scene(**answered_by("default/@1", "default/@1"))).to_step(1)
    pilot.look(HEALTHY, later=300, **answered_by("default/@2", "default/@2"))
    assert (pilot.stage, pilot.rollout.epoch) == (("Stepping", 1, 5), 2)
    assert pilot.events[-1] == "RolloutEvidenceRestarted"
    pilot.look(WAITING, later=300)
    said = pilot.rollout.last_decision
    assert said is not None
    assert said.confounders == ["a ModelBackend was changed meanwhile: evidence from before does not promote"]
    pilot.look(HEALTHY)
    assert (pilot.stage, pilot.rollout.epoch) == (("Stepping", 2, 25), 3)


# ── an experiment ───────────────────────────────────────────────────────────────────

AB = {"strategy": "Experiment", "variants": [{"revision": "@r2", "percent": 30}, {"revision": "third", "percent": 20}]}
THREE = runs(revision("old", 1), revision("new", 2), revision("third", 3))


def test_an_experiment_runs_until_it_is_taken_away() -> None:
    pilot = Pilot(scene(declared=declared(**AB), revisions=THREE))
    outcome = pilot.look()
    assert shares(pilot) == [("new", 30, "Candidate"), ("third", 20, "Candidate"), ("old", 50, "Baseline")]
    assert (outcome.canary, [one.tag for one in outcome.traffic]) == ("", ["variant", "variant", "stable"])
    assert [one.revision for one in pilot.rollout.variants] == ["new", "third"]
    for judgement in (HEALTHY, WORSE, WAITING):
        outcome = pilot.look(judgement, later=10_000)
        assert (pilot.stage, outcome.notes) == (("Stepping", 1, 50), ())
    assert pilot.rollout.last_decision is not None
    assert pilot.rollout.last_decision.message.endswith("3 of 50 sessions")
    outcome = pilot.look(declared=declared(strategy="AllAtOnce"), latest="old")
    assert (outcome.stable, shares(pilot), pilot.stage) == ("old", [], ("", 1, 0))
    assert leaving(pilot) == [("new", "Drain", "experiment"), ("third", "Drain", "experiment")]
    assert past(pilot) == [("new", "Finished", "Undeclared", False)]


def test_an_experiments_variants_stay_as_they_were() -> None:
    pilot = Pilot(scene(declared=declared(**AB), revisions=THREE))
    pilot.look()
    more = {**AB, "variants": [{"revision": "@r2", "percent": 80}]}
    outcome = pilot.look(WAITING, declared=declared(**more))
    assert shares(pilot)[0] == ("new", 30, "Candidate")
    assert outcome.hold is not None
    assert outcome.hold.reason == "ImmutableWhileItRuns"


def test_an_experiment_waits_for_every_variants_pods() -> None:
    late = runs(revision("old", 1), revision("new", 2), revision("third", 3, serving=False))
    pilot = Pilot(scene(declared=declared(**AB), revisions=late))
    pilot.look()
    assert (pilot.stage, shares(pilot)) == (("Preparing", 0, 0), [])
    pilot.look(revisions=THREE)
    assert pilot.stage == ("Stepping", 1, 50)


@pytest.mark.parametrize(
    ("variants", "reason"),
    [
        pytest.param(["@r9"], "VariantNotFound", id="none"),
        pytest.param(["@r1"], "VariantTwice", id="the-stable-one"),
        pytest.param(["@r2", "new"], "VariantTwice", id="twice"),
    ],
)
def test_variants_that_cannot_be(variants: list[str], reason: str) -> None:
    ask = [{"revision": one, "percent": 10} for one in variants]
    outcome = step(scene(declared=declared(strategy="Experiment", variants=ask), revisions=THREE))
    assert (outcome.traffic, outcome.rollout) == ((), None)
    assert outcome.hold is not None
    assert outcome.hold.reason == reason


def test_an_experiment_that_somebody_ends_does_not_begin_again_until_it_is_another() -> None:
    pilot = Pilot(scene(declared=declared(**AB), revisions=THREE))
    pilot.look()
    pilot.look(abort=pilot.rollout.id)
    assert (pilot.stage, past(pilot)[0][1]) == (("", 1, 0), "Aborted")
    assert pilot.look(later=100).notes == ()
    pilot.look(declared=declared(**{**AB, "variants": [{"revision": "@r2", "percent": 80}]}))
    assert pilot.stage == ("Stepping", 1, 80)


def test_a_new_revision_waits_while_an_experiment_runs() -> None:
    pilot = Pilot(scene(declared=declared(**AB), revisions=THREE))
    pilot.look()
    four = {**THREE, "fourth": revision("fourth", 4)}
    pilot.look(latest="fourth", revisions=four)
    assert (pilot.seen.status.stable_revision, pilot.stage) == ("old", ("Stepping", 1, 50))
    pilot.look(declared=declared())
    assert (pilot.rollout.revision, pilot.stage) == ("fourth", ("Stepping", 1, 5))


# ── what is rare ────────────────────────────────────────────────────────────────────


def reason(pilot: Pilot) -> str:
    assert pilot.rollout.last_decision is not None
    return pilot.rollout.last_decision.reason


def test_a_gateway_that_stopped_by_itself_holds() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(HEALTHY, later=300, breaker=True)
    assert (pilot.stage, reason(pilot)) == (("Stepping", 1, 5), "BreakerOpen")
    pilot.look(HEALTHY, later=300, breaker=False)
    assert pilot.stage == ("Stepping", 2, 25)


def test_no_weight_moves_where_pods_are_missing_whatever_the_verdict() -> None:
    pilot = Pilot().to_step(1)
    refused = runs(revision("old", 1), revision("new", 2, ready=2, refused="exceeded quota: pods"))
    pilot.look(HEALTHY, later=300, revisions=refused)
    assert (pilot.stage, reason(pilot)) == (("Stepping", 1, 5), "InsufficientQuota")


def test_somebody_goes_on_with_what_stopped() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(WAITING, later=4_000)
    assert pilot.stage == ("Stopped", 1, 0)
    pilot.look(promote=f"{pilot.rollout.id}/1")
    assert pilot.stage == ("Stepping", 2, 25)
    pilot.look(abort=pilot.rollout.id)
    assert past(pilot) == [("new", "Aborted", "Aborted", False)]


def test_worse_again_while_it_is_watched_is_told_and_left_to_people() -> None:
    pilot = Pilot(scene(declared=declared(cooldownSeconds=0))).to_step(1)
    pilot.look(WORSE)
    pilot.look(promote=f"{pilot.rollout.id}/again")
    pilot.promoted()
    outcome = pilot.look(WORSE, later=700)
    assert (outcome.stable, pilot.stage[0], reason(pilot)) == ("new", "Watching", "WorseThanStable")
    outcome = pilot.look(WORSE, abort=pilot.rollout.id)
    assert (outcome.stable, past(pilot)[0]) == ("old", ("new", "RolledBack", "Aborted", False))


def test_without_a_watch_promoted_is_finished() -> None:
    pilot = Pilot(scene(declared=declared(watchSeconds=0, promotion={"sessionPolicy": "MigrateAtTurn"}))).to_step(3)
    pilot.look(HEALTHY, later=200)
    assert (pilot.stage, shares(pilot)) == (("", 3, 100), [])
    assert leaving(pilot) == [("old", "MigrateAtTurn", "promotion")]


def test_another_strategy_ends_what_runs() -> None:
    pilot = Pilot().to_step(2)
    outcome = pilot.look(HEALTHY, declared=declared(strategy="AllAtOnce"))
    assert (outcome.stable, shares(pilot)) == ("new", [])
    assert past(pilot) == [("new", "Superseded", "StrategyChanged", False)]
    assert leaving(pilot) == [("old", "Drain", "promotion")]


def test_a_revision_that_is_deleted_by_hand_ends_its_rollout() -> None:
    pilot = Pilot().to_step(2)
    pilot.look(HEALTHY, latest="", revisions=runs(revision("old", 1)))
    assert past(pilot) == [("new", "Superseded", "RevisionGone", False)]
    assert leaving(pilot) == []


def test_where_the_stable_one_is_gone_the_newest_that_serves_is() -> None:
    pilot = Pilot().to_step(1)
    outcome = pilot.look(revisions=runs(revision("older", 0), revision("new", 2)))
    assert (outcome.stable, outcome.traffic) == ("new", ())


def test_a_template_that_cannot_be_read_stops_nothing() -> None:
    pilot = Pilot().to_step(1)
    pilot.look(HEALTHY, later=300, latest="")
    assert pilot.stage == ("Stepping", 2, 25)


def test_an_experiment_keeps_state_readable_too() -> None:
    other = runs(revision("old", 1), revision("new", 2, schema_version=3))
    asked = declared(strategy="Experiment", variants=[{"revision": "@r2", "percent": 30}])
    outcome = step(scene(declared=asked, revisions=other))
    assert outcome.traffic == ()
    assert outcome.hold is not None
    assert outcome.hold.reason == "RollbackWouldResetState"


def test_a_breached_sandbox_is_worse_than_anything_that_is_counted() -> None:
    pilot = Pilot().to_step(1)
    fault = ("SandboxBreached", "its kernel is not gVisor's")
    breached = runs(revision("old", 1), revision("new", 2, breached=True, serving=False, fault=fault))
    pilot.look(HEALTHY, later=10, revisions=breached)
    assert past(pilot) == [("new", "RolledBack", "SandboxBreached", True)]


def test_logic_that_does_not_load_is_named() -> None:
    fault = ("LogicInvalid", "NameError at story.py:7")
    pilot = Pilot(scene(revisions=runs(revision("old", 1), revision("new", 2, serving=False, fault=fault))))
    pilot.look()
    assert (pilot.stage[0], reason(pilot)) == ("Preparing", "LogicInvalid")


def test_paused_holds_all_at_once_too() -> None:
    pilot = Pilot(scene(declared=declared(strategy="AllAtOnce", paused=True)))
    outcome = pilot.look()
    assert (outcome.stable, outcome.rollout) == ("old", None)
    assert outcome.hold is not None
    assert outcome.hold.reason == "Paused"
    assert pilot.look(declared=declared(strategy="AllAtOnce")).stable == "new"


def test_an_experiment_that_ends_lets_the_newest_serve_at_once() -> None:
    pilot = Pilot(scene(declared=declared(**AB), revisions=THREE))
    pilot.look()
    outcome = pilot.look(declared=declared(strategy="AllAtOnce"))
    assert outcome.stable == "new"
    assert leaving(pilot) == [("third", "Drain", "experiment"), ("old", "Drain", "promotion")]
