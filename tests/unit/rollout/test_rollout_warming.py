"""The first share waits until gateways have warmed what is new; for a bounded time, and for nothing that is switched off."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.observing import observed, role
from tests.support.staging import HEALTHY, NOON, Pilot, declared, revision, runs, scene

from rolehost_api.crd.role import RoleSpec
from rolehost_api.crd.rollout import WARM_UP_SECONDS, WARM_UP_WAIT_SECONDS
from rolehost_api.names import EXTERNAL, REPLICAS
from rolehost_operator.rollout.scene import Warmth
from rolehost_operator.rollout.view import CANARY_PODS, enough, warmth

COLD, WARM = Warmth(0, 2), Warmth(2, 2)
VARIANTS = [{"revision": "new", "percent": 20}]


def cold(**given: Any) -> Pilot:
    """Two gateways, neither of which has warmed anything."""
    return Pilot(scene(warmth=COLD, **given))


def test_it_waits_for_all_gateways_and_goes_on_when_the_last_is_done() -> None:
    pilot = cold()
    outcome = pilot.look()
    assert pilot.stage == ("Preparing", 0, 0)
    assert (outcome.traffic, outcome.hold and outcome.hold.reason) == ((), "WarmingUp")
    assert pilot.rollout.warming_since == "2030-01-01T12:00:00Z"
    assert outcome.look_in == timedelta(seconds=WARM_UP_WAIT_SECONDS)

    outcome = pilot.look(later=2, warmth=Warmth(1, 2))
    assert outcome.hold is not None
    assert "1 of 2 gateways" in outcome.hold.message
    outcome = pilot.look(later=1, warmth=WARM)
    assert (pilot.stage, outcome.traffic[0].percent) == (("Stepping", 1, 5), 5)
    assert pilot.events == ["RolloutStarted", "RolloutAdvanced"]


def test_a_gateway_is_done_before_it_is_given_up() -> None:
    assert 0 < WARM_UP_SECONDS < WARM_UP_WAIT_SECONDS


def test_without_a_word_it_goes_on_at_its_deadline_and_not_before() -> None:
    pilot = cold()
    pilot.look()
    pilot.look(later=WARM_UP_WAIT_SECONDS - 1)
    assert pilot.stage == ("Preparing", 0, 0)
    pilot.look(later=1)
    assert pilot.stage == ("Stepping", 1, 5)


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, 3), st.booleans()), min_size=20, max_size=30
    )
)
def test_whatever_gateways_say_it_ends_once_by_the_deadline(looks: list[tuple[int, int, int, bool]]) -> None:
    """Each look is a fresh operator: it knows the status and nothing else."""
    pilot = cold()
    pilot.look()
    for later, by, of, paused in looks:
        before = pilot.rollout
        pilot.look(later=later, warmth=Warmth(by, of), declared=declared(paused=paused))
        waited = (pilot.seen.at - NOON).total_seconds()
        if before.stage == "Preparing" and not paused:
            assert (pilot.rollout.stage == "Stepping") == (by >= of or waited >= WARM_UP_WAIT_SECONDS)
        assert pilot.rollout.warming_since == "2030-01-01T12:00:00Z"
        assert pilot.rollout.stage in ("Preparing", "Stepping")


@pytest.mark.parametrize("strategy", ["Progressive", "Manual"])
def test_no_turns_no_wait(strategy: str) -> None:
    pilot = cold(declared=declared(strategy=strategy, warmUp={"turns": 0}))
    pilot.look()
    assert (pilot.stage, pilot.rollout.warming_since) == (("Stepping", 1, 5), "")


def test_all_at_once_waits_for_nothing() -> None:
    outcome = cold(declared=declared(strategy="AllAtOnce")).look()
    assert (outcome.stable, outcome.rollout) == ("new", None)


def test_an_experiment_waits_too() -> None:
    pilot = cold(declared=declared(strategy="Experiment", variants=VARIANTS))
    outcome = pilot.look()
    assert (pilot.stage, outcome.hold and outcome.hold.reason) == (("Preparing", 0, 0), "WarmingUp")
    assert pilot.rollout.warming_since
    pilot.look(later=1, warmth=WARM)
    assert pilot.stage == ("Stepping", 1, 20)

    pilot = cold(declared=declared(strategy="Experiment", variants=VARIANTS))
    pilot.look()
    pilot.look(later=WARM_UP_WAIT_SECONDS)
    assert pilot.stage == ("Stepping", 1, 20)


def test_gateways_begin_only_when_all_else_is_ready() -> None:
    """What is warmed for hours before its first session is cold again, and a gate may never pass."""
    few = runs(revision("old", 1), revision("new", 2, ready=1))
    gates = {"gates": [{"name": "evals"}]}
    gated = declared(analysis=gates)
    passed = revision("new", 2, gates={"evals": "Passed"})
    pilot = cold(declared=gated, revisions=few)
    for reason, changed in (
        ("WaitingForPods", {}),
        ("GatesPending", {"revisions": runs(revision("old", 1), revision("new", 2))}),
        ("Paused", {"declared": declared(analysis=gates, paused=True)}),
    ):
        outcome = pilot.look(later=100, **changed)
        assert (outcome.hold and outcome.hold.reason, pilot.rollout.warming_since) == (reason, "")
    pilot.look(later=100, declared=gated, revisions=runs(revision("old", 1), passed))
    assert pilot.rollout.warming_since == "2030-01-01T12:06:40Z"
    assert pilot.stage == ("Preparing", 0, 0)


def test_pods_that_go_meanwhile_hold_it_and_cost_no_second_wait() -> None:
    pilot = cold()
    pilot.look()
    outcome = pilot.look(later=20, revisions=runs(revision("old", 1), revision("new", 2, ready=1)))
    assert outcome.hold is not None
    assert outcome.hold.reason == "WaitingForPods"
    pilot.look(later=20, revisions=runs(revision("old", 1), revision("new", 2)))
    assert pilot.stage == ("Stepping", 1, 5)


def test_a_promotion_does_not_wait() -> None:
    pilot = cold()
    pilot.look()
    pilot.look(later=1, promote=pilot.rollout.id)
    assert pilot.stage == ("Stepping", 1, 5)


def test_it_does_not_count_against_the_progress_deadline() -> None:
    pilot = cold(declared=declared(progressDeadlineSeconds=10))
    pilot.look()
    pilot.look(later=WARM_UP_WAIT_SECONDS - 1)
    assert pilot.stage == ("Preparing", 0, 0), "not stopped"
    pilot.look(later=1)
    assert pilot.stage == ("Stepping", 1, 5)


def test_but_pods_that_never_come_do() -> None:
    pilot = cold(declared=declared(progressDeadlineSeconds=10))
    pilot.look()
    none = runs(revision("old", 1), revision("new", 2, ready=0))
    pilot.look(later=WARM_UP_WAIT_SECONDS + 9, revisions=none)
    assert pilot.rollout.stage == "Preparing"
    pilot.look(later=1)
    assert pilot.rollout.stage == "Stopped"


def test_each_attempt_is_warmed_and_later_steps_are_not() -> None:
    pilot = cold()
    pilot.look()
    pilot.look(later=1, warmth=WARM)
    pilot.look(HEALTHY, later=200, warmth=COLD)
    assert pilot.stage == ("Stepping", 2, 25)
    newer = runs(revision("old", 1), revision("new", 2), revision("newer", 3))
    pilot.look(later=1, latest="newer", revisions=newer)
    assert (pilot.rollout.revision, pilot.stage) == ("newer", ("Preparing", 0, 0))
    assert pilot.rollout.warming_since == "2030-01-01T12:03:22Z"


# ── as it is seen ───────────────────────────────────────────────────────────────────


def test_where_no_gateway_is_known_one_is_waited_for() -> None:
    assert warmth(observed(expected=0)) == Warmth(0, 1)


def test_gateways_of_another_rollout_say_nothing_of_this_one() -> None:
    raw = role()
    raw["status"] = {"rollout": {"id": "2-ab", "stage": "Preparing"}}
    seen = observed(raw, expected=2, warmed={"1-cd": 2, "2-ab": 1})
    assert warmth(seen) == Warmth(1, 2)


@pytest.mark.parametrize(("most", "external", "pods"), [(20, False, 2), (2, False, 2), (1, False, 1), (20, True, 1)])
def test_a_canary_has_two_pods_wherever_there_may_be_two(most: int, external: bool, pods: int) -> None:
    assert CANARY_PODS == 2
    raw = role(scaling={"maxReplicas": most})
    raw["metadata"]["annotations"] = {REPLICAS: EXTERNAL} if external else {}
    seen = observed(raw).role
    assert isinstance(seen.spec, RoleSpec)
    assert enough(seen.spec, seen.meta) == pods

    pilot = Pilot(scene(pods=pods, revisions=runs(revision("old", 1), revision("new", 2, ready=pods - 1))))
    hold = pilot.look().hold
    assert hold is not None
    assert (hold.reason, hold.message) == ("WaitingForPods", f"{pods - 1} of {pods} pods of new are Ready")
    pilot.look(revisions=runs(revision("old", 1), revision("new", 2, ready=pods)))
    assert pilot.stage == ("Stepping", 1, 5)
