"""An upgrade of the runtime goes in waves: never more at a time than may, never two of one Role, and to its end."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.observing import NOON, PLATFORM, observed
from tests.unit.operator.test_operator_reconcile import condition, edited, kinds, ready, settled

from rolehost_api.names import READY, RUNTIME_DRIFT
from rolehost_operator.desired import deployment as module
from rolehost_operator.desired.deployment import DRAIN, runtime_mark
from rolehost_operator.objects import RUNTIME, KubeObject
from rolehost_operator.observed import Observed, read_deployment
from rolehost_operator.platform import Platform
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out
from rolehost_operator.waves import Standing, limit, wave

NEW = replace(PLATFORM, sandbox_image="registry.example/rolehost-sandbox:2")


def upgraded(seen: Observed, *, room: int = 1, platform: Platform = NEW, **given: Any) -> Observed:
    return replace(seen, platform=platform, room=room, **given)


def with_status(seen: Observed, **status: Any) -> Observed:
    """As the controller sees the newest Deployment."""
    *others, last = seen.deployments
    return replace(seen, deployments=(*others, read_deployment({**last.raw, "status": status})))


def image(one: KubeObject) -> str:
    return str(one["spec"]["template"]["spec"]["containers"][0]["image"])


# ── the wave as a whole ─────────────────────────────────────────────────────────────


@settings(max_examples=200)
@given(st.data())
def test_never_more_roll_than_may_and_all_come_to_the_end(data: st.DataObject) -> None:
    """Any Deployments of any Roles ask in any order; rolls end when they like."""
    percent = data.draw(st.integers(1, 100), "percent")
    roles = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=25), "the Role of each")
    every = [Standing("old") for _ in roles]
    most = limit(len(every), percent)
    for _ in range(8 * len(every)):
        if all(one == Standing("new") for one in every):
            return
        now = wave(every, "new", percent)
        rolling = {number for number, one in enumerate(every) if one.rolling}
        assert len(rolling) <= most
        assert now.room == most - len(rolling)
        assert now.with_granted(1).room == max(0, now.room - 1)
        busy = {roles[number] for number in rolling}
        may = [n for n, one in enumerate(every) if one == Standing("old") and roles[n] not in busy]
        if now.room and may and (not rolling or data.draw(st.booleans(), "begin one")):
            every[data.draw(st.sampled_from(may))] = Standing("new", rolling=True)
        else:
            every[data.draw(st.sampled_from(sorted(rolling)))] = Standing("new")
    assert all(one == Standing("new") for one in every)


@given(st.integers(1, 30), st.integers(1, 100), st.integers(0, 29))
def test_one_that_is_stuck_stops_the_others_and_a_better_image_mends_it(count: int, percent: int, at: int) -> None:
    every = [Standing("old") for _ in range(count)]
    every[at % count] = Standing("new", stuck=True)
    assert (wave(every, "new", percent).room, wave(every, "new", percent).halted) == (0, True)
    assert wave(every, "better", percent).room == limit(count, percent)


# ── one Role in it ──────────────────────────────────────────────────────────────────


def test_without_room_nothing_is_written_but_that_it_waits() -> None:
    seen = upgraded(ready(observed()), room=0)
    plan = reconcile(seen, NOON)
    assert (kinds(plan), plan.waits, plan.rolls) == ([], True, ())
    drift = condition(plan, RUNTIME_DRIFT)
    assert (drift.status, drift.reason) == ("True", "AwaitingTurn")
    assert "sandbox:1, the platform's is registry.example/rolehost-sandbox:2" in drift.message
    assert "at most 10 %" in drift.message
    assert condition(plan, READY).status == "True"
    assert reconcile(carried_out(seen, plan), NOON).writes == 0


def test_with_room_it_rolls_and_the_condition_goes_when_the_pods_are_new() -> None:
    seen = upgraded(ready(observed()), room=0)
    seen = replace(carried_out(seen, reconcile(seen, NOON)), room=1)
    plan = reconcile(seen, NOON)
    assert (image(plan.apply[0]), plan.waits) == (NEW.sandbox_image, False)
    assert plan.rolls == (seen.deployments[0].meta.name,)
    assert condition(plan, RUNTIME_DRIFT).reason == "Upgrading"
    rolling = with_status(carried_out(seen, plan), replicas=2, updatedReplicas=1, readyReplicas=1)
    assert reconcile(rolling, NOON).writes == 0
    done = reconcile(with_status(rolling, replicas=1, updatedReplicas=1, readyReplicas=1), NOON)
    assert done.status is not None
    assert RUNTIME_DRIFT not in {one.type for one in done.status.conditions}
    assert done.notes == ()


def test_whose_turn_comes_at_once_says_nothing_of_drift() -> None:
    plan = reconcile(upgraded(ready(observed())), NOON)
    assert (kinds(plan), plan.status) == (["Deployment"], None)


def test_what_the_tenant_decides_takes_effect_while_it_waits_with_the_pods_that_run() -> None:
    seen = ready(observed())
    stored = copy.deepcopy(seen.deployments[0].raw)
    stored["spec"]["template"]["spec"]["restartPolicy"] = "Always"  # what the apiserver fills in
    stored["spec"]["template"]["metadata"]["creationTimestamp"] = None
    seen = replace(seen, deployments=(read_deployment(stored),))
    longer = {"turnTimeoutSeconds": 100}
    seen = upgraded(edited(seen, "You are a cat.", sessions=longer, scaling={"minReplicas": 3}), room=0)
    plan = reconcile(seen, NOON)
    [applied] = plan.apply
    pod = applied["spec"]["template"]["spec"]
    assert (applied["spec"]["replicas"], pod["terminationGracePeriodSeconds"]) == (3, 130)
    assert {"name": DRAIN, "value": "120"} in pod["containers"][0]["env"]
    assert (image(applied), pod["restartPolicy"]) == (PLATFORM.sandbox_image, "Always")
    assert applied["metadata"]["annotations"][RUNTIME] == runtime_mark(PLATFORM)
    assert "creationTimestamp" not in applied["spec"]["template"]["metadata"]
    assert plan.waits
    assert kinds(reconcile(carried_out(seen, plan), NOON)) == []


def test_another_template_of_the_same_image_waits_too() -> None:
    """A new operator may put other things into a pod: that replaces pods as a new image does."""
    seen = upgraded(ready(observed()), room=0, platform=replace(PLATFORM, probe_targets=("10.0.0.9:443",)))
    plan = reconcile(seen, NOON)
    assert kinds(plan) == []
    assert "an earlier version of the platform" in condition(plan, RUNTIME_DRIFT).message


def test_a_hand_on_a_deployment_is_undone_without_waiting() -> None:
    seen = ready(observed())
    opened = copy.deepcopy(seen.deployments[0].raw)
    opened["spec"]["template"]["spec"]["runtimeClassName"] = "runc"
    seen = replace(seen, deployments=(read_deployment(opened),), room=0)
    [applied] = reconcile(seen, NOON).apply
    assert applied["spec"]["template"]["spec"]["runtimeClassName"] == "gvisor"


def test_a_new_revision_does_not_wait_for_the_wave() -> None:
    seen = upgraded(edited(ready(observed()), "You are a dog."), room=0)
    plan = reconcile(settled(seen), NOON)
    assert plan.writes == 0
    images = {one.meta.name: one.image for one in settled(seen).deployments}
    assert sorted(images.values()) == [PLATFORM.sandbox_image, NEW.sandbox_image]


def test_two_revisions_of_a_role_do_not_roll_together() -> None:
    seen = upgraded(ready(edited(ready(observed()), "You are a dog.")), room=5)
    assert len(seen.deployments) == 2
    plan = reconcile(seen, NOON)
    assert (len(plan.rolls), plan.waits) == (1, True)
    seen = carried_out(seen, plan)
    rolling = with_status(seen, replicas=2, updatedReplicas=1, readyReplicas=1)
    assert reconcile(rolling, NOON).rolls == ()
    assert len(reconcile(with_status(seen, replicas=1, updatedReplicas=1), NOON).rolls) == 1


def test_pods_that_do_not_come_up_are_told_and_the_earlier_ones_serve_on() -> None:
    seen = upgraded(ready(observed()))
    seen = carried_out(seen, reconcile(seen, NOON))
    given_up = {"type": "Progressing", "status": "False", "message": "it has timed out progressing"}
    seen = with_status(seen, replicas=2, updatedReplicas=1, readyReplicas=1, conditions=[given_up])
    plan = reconcile(seen, NOON)
    assert (condition(plan, RUNTIME_DRIFT).reason, condition(plan, READY).status) == ("UpgradeStuck", "True")
    assert "timed out progressing" in condition(plan, RUNTIME_DRIFT).message


def test_who_waits_for_a_stopped_upgrade_learns_it_and_no_other_tenants_name() -> None:
    plan = reconcile(upgraded(ready(observed()), room=0, halted=True), NOON)
    assert condition(plan, RUNTIME_DRIFT).reason == "UpgradeHalted"
    assert condition(plan, READY).status == "True"


@pytest.mark.parametrize(
    ("status", "rolling", "behind", "stuck"),
    [
        pytest.param({"replicas": 1, "updatedReplicas": 1}, False, False, False, id="new-and-not-ready-yet"),
        pytest.param({"replicas": 1, "updatedReplicas": 1, "up": "False"}, False, False, False, id="new-and-broken"),
        pytest.param({"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}, True, False, False, id="mixed"),
        pytest.param(
            {"replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "up": "False"}, False, True, True, id="stuck"
        ),
        pytest.param({"replicas": 2, "updatedReplicas": 1, "up": "False"}, False, True, False, id="was-broken-before"),
        pytest.param(
            {"replicas": 1, "readyReplicas": 1, "up": "False", "refused": "True"}, False, True, False, id="no-quota"
        ),
    ],
)
def test_what_a_status_says_of_a_roll(status: dict[str, Any], rolling: bool, behind: bool, stuck: bool) -> None:
    kept = {"Progressing": status.pop("up", "True"), "ReplicaFailure": status.pop("refused", "False")}
    told = [{"type": kind, "status": word} for kind, word in kept.items()]
    raw = {"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": told, **status}}
    one = read_deployment(raw).standing
    assert (one.rolling, one.behind, one.stuck) == (rolling, behind, stuck)


def test_the_mark_is_the_platforms_and_not_the_roles() -> None:
    marks = {
        one.standing.runtime
        for seen in (ready(observed()), ready(edited(observed(), "x", sessions={"turnTimeoutSeconds": 9})))
        for one in seen.deployments
    }
    assert marks == {runtime_mark(PLATFORM)}
    others = [NEW, replace(PLATFORM, probe_targets=("10.0.0.9:443",)), replace(PLATFORM, image_pull_policy="Always")]
    assert len({runtime_mark(one) for one in (PLATFORM, *others)}) == 4
    outside = replace(PLATFORM, upgrade_percent=50, gateway_url="ws://x", public_keys=("bmV4dA==",))
    assert runtime_mark(outside) == runtime_mark(PLATFORM)


def test_the_mark_covers_what_runs_before_the_sandbox_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = runtime_mark.__wrapped__(PLATFORM)
    monkeypatch.setattr(module, "ATTEST_MEMORY", module.ATTEST_MEMORY * 2)
    assert runtime_mark.__wrapped__(PLATFORM) != before


def test_new_keys_of_the_gateways_in_the_middle_of_an_upgrade_do_not_end_the_wait() -> None:
    """A namespace that is not guarded as it should be waits with its pods, and says on that it does."""
    seen = upgraded(ready(observed()), room=0)
    seen = carried_out(seen, reconcile(seen, NOON))
    seen = replace(seen, room=1, platform=replace(NEW, public_keys=("a2V5", "bmV4dA==")))
    plan = reconcile(seen, NOON)
    assert (kinds(plan), plan.status, plan.waits, plan.rolls) == (["ConfigMap"], None, True, ())
    assert len(reconcile(carried_out(seen, plan), NOON).rolls) == 1
