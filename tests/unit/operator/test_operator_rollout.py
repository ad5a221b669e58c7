"""A Role whose revisions earn their traffic, as the operator plans it: objects, pods, status."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.observing import PLATFORM, role
from tests.support.rolling import PROGRESSIVE, Cluster, condition, edited
from tests.support.staging import HEALTHY, WAITING, WORSE

from rolehost_operator import clock
from rolehost_operator.handlers.shell import Shell
from rolehost_operator.observed import read_role
from rolehost_operator.plan import Plan, Prune
from rolehost_operator.reconcile import reconcile
from rolehost_operator.telemetry import Metrics


def test_an_edit_begins_a_canary_beside_the_stable_one() -> None:
    cluster = Cluster().edit("You are a dog.")
    old, new = cluster.revision(1), cluster.revision(2)
    assert (cluster.status.stable_revision, cluster.status.canary_revision) == (old, new)
    assert [(one.revision, one.percent) for one in cluster.status.traffic] == [(new, 5), (old, 95)]
    assert cluster.pods() == {1: 1, 2: 2}
    assert condition(cluster.seen, "Ready").status == "True"
    progressing = condition(cluster.seen, "RolloutProgressing")
    assert (progressing.status, progressing.reason) == ("True", "Prepared")


def test_healthy_promotes_through_the_steps_and_the_earlier_one_leaves() -> None:
    cluster = Cluster().edit("You are a dog.")
    for percent in (25, 50, 95):
        cluster.settle(HEALTHY, later=200)
        assert cluster.status.traffic[0].percent == percent
    assert cluster.status.stable_revision == cluster.revision(2)
    assert cluster.pods() == {1: 1, 2: 2}, "kept warm"
    cluster.settle(later=600)
    assert [one.revision for one in cluster.status.leaving] == [cluster.revision(1)]
    assert cluster.pods() == {1: 1, 2: 2}, "its sessions are still there"
    cluster.idle(1, since=cluster.now).settle(later=61)
    assert cluster.status.leaving == []
    assert cluster.pods().keys() == {2}
    assert condition(cluster.seen, "RolloutProgressing").reason == "Promoted"


def test_worse_goes_back_and_says_where_sessions_go_before_anything_else() -> None:
    cluster = Cluster().edit("You are a dog.")
    cluster.found(WORSE)
    plan = cluster.look()
    assert plan.status_first
    assert [note.reason for note in plan.notes] == ["RolloutRolledBack"]
    cluster.settle()
    assert cluster.status.traffic == []
    assert [one.revision for one in cluster.status.leaving] == [cluster.revision(2)]
    assert cluster.pods().keys() == {1, 2}
    assert condition(cluster.seen, "Ready").status == "True"
    cluster.idle(2, since=cluster.now).settle(later=61)
    assert cluster.pods().keys() == {1}
    ready = condition(cluster.seen, "Ready")
    assert (ready.status, cluster.revision(1) in ready.message) == ("True", True)
    assert condition(cluster.seen, "RolloutProgressing").reason == "RolledBack"
    assert cluster.status.latest_created_revision == cluster.revision(2)


def test_annotations_promote_and_give_up() -> None:
    cluster = Cluster(strategy="Manual").edit("You are a dog.")
    cluster.annotate(promote=f"{cluster.status.rollout.id}/1")
    assert cluster.status.traffic[0].percent == 25
    cluster.annotate(abort=cluster.status.rollout.id)
    assert (cluster.status.traffic, cluster.status.canary_revision) == ([], "")
    assert cluster.status.stable_revision == cluster.revision(1)


def test_a_broken_edit_takes_nothing_and_stable_serves_on() -> None:
    cluster = Cluster()
    cluster.seen = edited(cluster.seen, "You are a dog.")
    cluster.look()
    cluster.broken = {cluster.revision(2)}
    cluster.settle(later=3)
    assert cluster.status.stable_revision == cluster.revision(1)
    assert cluster.status.traffic == []
    assert cluster.status.rollout.stage == "Preparing"
    assert condition(cluster.seen, "Ready").status == "Unknown"


def test_all_at_once_is_as_it_was() -> None:
    cluster = Cluster(role())
    assert cluster.status.rollout is None
    cluster.edit("You are a dog.")
    assert cluster.status.stable_revision == cluster.revision(2)
    assert (cluster.status.traffic, cluster.status.rollout, cluster.status.history) == ([], None, [])
    assert "RolloutProgressing" not in {one.type for one in cluster.status.conditions}


@pytest.mark.parametrize("strategy", ["AllAtOnce", "Progressive"])
def test_an_edit_is_not_called_ready_before_its_revision_is_there(strategy: str) -> None:
    cluster = Cluster(role(rollout={"strategy": strategy}))
    cluster.seen = edited(cluster.seen, "You are a dog.")
    plan = cluster.look()
    assert [one["kind"] for one in plan.apply] == ["RoleRevision"]
    told = [one for one in plan.status.conditions if one.type == "Ready"] if plan.status else []
    assert [one for one in told if one.status == "True"] == [], "of what was there before, under the new generation"


def test_stable_keeps_the_pods_that_everybody_needs() -> None:
    cluster = Cluster(role(rollout=PROGRESSIVE, scaling={"targetSessionsPerPod": 10}))
    cluster.edit("You are a dog.")
    both = {cluster.revision(1): 50, cluster.revision(2): 50}
    cluster.seen = replace(cluster.seen, sessions=both)
    cluster.settle()
    assert cluster.pods() == {1: 10, 2: 5}
    for _ in range(3):
        cluster.settle(HEALTHY, later=200)
    assert cluster.status.rollout.stage == "Watching"
    assert cluster.pods()[1] == 10
    cluster.settle(later=600)
    cluster.settle(later=200)
    assert cluster.pods()[1] == 5


@pytest.mark.parametrize("strategy", ["Progressive", "Experiment"])
def test_a_variant_keeps_its_revision_and_pods(strategy: str) -> None:
    cluster = Cluster(role(rollout=PROGRESSIVE, revisionHistoryLimit=0)).edit("You are a dog.")
    if strategy == "Experiment":
        cluster.declare(strategy="Experiment", variants=[{"revision": "@r2", "percent": 50}])
        assert [(one.percent, one.tag) for one in cluster.status.traffic] == [(50, "variant"), (50, "stable")]
    assert {one.spec.sequence for one in cluster.seen.revisions} == {1, 2}
    assert cluster.pods().keys() == {1, 2}


# ── what is told ────────────────────────────────────────────────────────────────────


def test_evidence_that_cannot_be_read_holds_and_is_told() -> None:
    """F18: no promotion, no rollback, the weight stays; it goes on by itself when the evidence is back."""
    cluster = Cluster().edit("You are a dog.")
    before = cluster.status.traffic
    cluster.missing = "PrometheusUnreachable"
    cluster.settle(HEALTHY, later=200)
    assert cluster.status.traffic == before
    healthy = condition(cluster.seen, "RolloutHealthy")
    assert (healthy.status, healthy.reason) == ("Unknown", "AnalysisUnavailable")
    assert "PrometheusUnreachable" in healthy.message
    cluster.missing = ""
    cluster.settle(HEALTHY)
    assert cluster.status.traffic[0].percent == 25
    assert condition(cluster.seen, "RolloutHealthy").reason == "Healthy"


def test_time_goes_on_where_no_evidence_comes() -> None:
    """The evidence's own time stands still while Prometheus is away; the deadline comes all the same."""
    cluster = Cluster().edit("You are a dog.")
    cluster.settle(WAITING, later=10)
    cluster.stands_still = True
    cluster.settle(WAITING, later=10)
    cluster.settle(WAITING, later=3_700)
    assert cluster.status.rollout.stage == "Stopped"


def test_a_role_without_rollouts_says_nothing_of_them_and_one_that_had_one_says_how_it_ended() -> None:
    cluster = Cluster(role()).edit("You are a dog.")
    assert not {one.type for one in cluster.status.conditions} & {"RolloutProgressing", "RolloutHealthy"}
    cluster.declare(strategy="Manual").edit("You are an owl.")
    assert condition(cluster.seen, "RolloutProgressing").reason == "Prepared"
    cluster.settle(later=40)
    said = condition(cluster.seen, "RolloutProgressing")
    assert (said.reason, "`rolehost rollout promote` ends it" in said.message) == ("AwaitingPromotion", True)
    cluster.annotate(abort=cluster.status.rollout.id)
    said = condition(cluster.seen, "RolloutProgressing")
    assert (said.status, said.reason) == ("False", "Aborted")
    assert "RolloutHealthy" not in {one.type for one in cluster.status.conditions}


def test_an_idle_hold_writes_nothing_and_counts_are_written_every_half_minute() -> None:
    cluster = Cluster().edit("You are a dog.").settle(WAITING, later=60)
    writes = []
    for number in range(12):
        more = replace(WAITING, samples=4 + number)
        cluster.found(more)
        cluster.now += timedelta(seconds=5)
        writes.append(cluster.look().writes)
    assert sum(writes) == 2
    for _ in range(12):
        cluster.now += timedelta(seconds=5)
        assert cluster.look().writes <= 1
    cluster.now += timedelta(seconds=100)
    assert cluster.look().writes == 0


# ── what is kept ────────────────────────────────────────────────────────────────────


def test_history_is_cut_and_takes_nothing_that_is_needed() -> None:
    cluster = Cluster(role(rollout={"strategy": "AllAtOnce"}, revisionHistoryLimit=0))
    cluster.pin("@r1")
    for name in ("dog", "cow", "owl"):
        cluster.edit(f"You are a {name}.").settle(later=200)
    assert cluster.status.stable_revision == cluster.revision(1)
    assert {one.spec.sequence for one in cluster.seen.revisions} == {1, 4}
    everybody = {one.spec.sequence for one in cluster.seen.revisions}
    cluster.pin("").idle(*everybody, since=cluster.now).settle(later=200)
    cluster.settle(later=200)
    assert [one.spec.sequence for one in cluster.seen.revisions] == [4]
    assert cluster.pods().keys() == {4}


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_revision_that_somebody_pins_meanwhile_is_not_deleted(
    pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was made before the pin was seen: it is looked at again just before the deletion."""
    cluster = Cluster(role(rollout={"strategy": "AllAtOnce"}, revisionHistoryLimit=0)).edit("You are a dog.")
    cluster.idle(1, since=cluster.now)
    cluster.now += timedelta(seconds=200)
    monkeypatch.setattr(clock, "now", lambda: cluster.now)
    for _ in range(4):
        plan = reconcile(cluster.seen, cluster.now)
        if any(gone.kind == "RoleRevision" for gone in plan.prune):
            break
        cluster.look()
    raw = cluster.seen.role.raw
    meanwhile = {**raw, "spec": {**raw["spec"], "rollout": {"pinnedRevision": "@r1"}}} if pinned else raw
    client = Recording()
    shell = Shell(client, PLATFORM, Metrics(), "me")  # type: ignore[arg-type]
    shell.observe = lambda key: replace(cluster.seen, role=read_role(meanwhile))  # type: ignore[method-assign]
    await shell._carry_out(cluster.seen, Plan(prune=plan.prune))
    assert client.pruned == ([] if pinned else [cluster.revision(1)])


class Recording:
    def __init__(self) -> None:
        self.pruned: list[str] = []

    async def prune(self, gone: Prune) -> None:
        self.pruned.append(gone.name)


def test_a_spec_that_cannot_be_read_takes_no_pods_from_who_has_sessions() -> None:
    cluster = Cluster().edit("You are a dog.")
    raw = cluster.seen.role.raw
    cluster.seen = replace(cluster.seen, role=read_role({**raw, "spec": {**raw["spec"], "rollout": {"steps": "many"}}}))
    traffic = cluster.status.traffic
    cluster.idle(1, 2, since=cluster.now).settle(later=100)
    assert cluster.seen.role.spec is None
    assert cluster.status.traffic == traffic
    assert cluster.pods().keys() == {1, 2}
