"""What was seen last: the newest wins, what vanished goes, and rings reach whom it concerns."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.observing import PLATFORM, role

from rolehost_api.names import LINK_SECRET, PLATFORM_KEYS, REVISION, ROLE, TENANT
from rolehost_operator.desired.deployment import runtime_mark
from rolehost_operator.kube.world import World
from rolehost_operator.objects import RUNTIME, KubeObject
from rolehost_operator.observed import Observed

KEY = ("acme", "cat")


def thing(kind: str, name: str, version: int = 1, namespace: str = "acme", **more: Any) -> KubeObject:
    metadata = {"name": name, "uid": f"{kind}-{name}", "resourceVersion": str(version), **more.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}


def space(labels: dict[str, str] | None = None, version: int = 1) -> KubeObject:
    labels = {TENANT: "yes"} if labels is None else labels
    return thing("Namespace", "acme", version, namespace="", metadata={"labels": labels})


def deployment(name: str, version: int = 1) -> KubeObject:
    return thing("Deployment", name, version, metadata={"labels": {ROLE: "cat", REVISION: name}})


def filled(*objects: KubeObject) -> World:
    world = World()
    raw = role()
    raw["metadata"]["resourceVersion"] = "1"
    for one in (space(), raw, *objects):
        world.put(one)
    return world


def observe(world: World) -> Observed | None:
    return world.observe(KEY, PLATFORM, pods=(), gateways=0, listening=False, idle_since={}, sessions={})


def seen(world: World) -> Observed:
    found = observe(world)
    assert found is not None
    return found


def test_an_older_answer_does_not_undo_a_newer_one() -> None:
    world = filled(deployment("r1", version=5))
    assert world.put(deployment("r1", version=4)) == set()
    assert seen(world).deployments[0].meta.resource_version == "5"


def test_what_was_deleted_does_not_come_back_by_a_late_answer() -> None:
    world = filled(deployment("r1", version=5))
    assert world.drop(deployment("r1", version=7)) == {KEY}
    assert world.put(deployment("r1", version=6)) == set()
    assert seen(world).deployments == ()


def test_the_deletion_of_a_former_object_leaves_its_successor() -> None:
    world = filled(deployment("r1", version=5))
    former = deployment("r1", version=9)
    former["metadata"]["uid"] = "another"
    assert world.drop(former) == set()
    assert len(seen(world).deployments) == 1


def test_a_listing_takes_away_what_is_not_in_it_but_not_what_is_newer() -> None:
    world = filled(deployment("r1", version=5), deployment("r2", version=20))
    assert world.sweep("Deployment", (), "10") == {KEY}
    assert [one.revision for one in seen(world).deployments] == ["r2"]


def test_a_role_is_edited_until_what_is_declared_was_looked_at() -> None:
    world, raw = filled(), role()
    world.looked_at(KEY)
    assert not world.is_edited(KEY)
    raw["metadata"] |= {"generation": 2, "resourceVersion": "50"}
    world.put(raw)
    assert world.is_edited(KEY)
    world.looked_at(KEY)
    world.put({**raw, "metadata": {**raw["metadata"], "resourceVersion": "51"}, "status": {"observedGeneration": 2}})
    assert not world.is_edited(KEY)
    world.drop({**raw, "metadata": {**raw["metadata"], "resourceVersion": "52"}})
    assert not world.is_edited(KEY)


def test_of_some_kinds_one_name_matters() -> None:
    world = filled()
    assert world.put(thing("NetworkPolicy", "tenants-own")) == set()
    assert world.put(thing("NetworkPolicy", "rolehost-sandbox")) == {KEY}
    assert world.put(thing("Deployment", "tenants-own")) == set()
    assert seen(world).deployments == ()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(space({}, version=2), id="its-namespace"),
        pytest.param(thing("RuntimeClass", "gvisor", namespace=""), id="the-runtime-class"),
        pytest.param(thing("ModelBackend", "default", namespace="", spec={"type": "Scripted"}), id="a-backend"),
        pytest.param(thing("ServiceAccount", "rolehost-sandbox"), id="the-service-account"),
        pytest.param(thing("PodDisruptionBudget", "rolehost-sandbox"), id="the-disruption-budget"),
        pytest.param(thing("ConfigMap", "text"), id="a-config-map"),
        pytest.param(deployment("r1"), id="its-deployment"),
        pytest.param(thing("RoleRevision", "r1", spec={"roleName": "cat"}), id="its-revision"),
    ],
)
def test_a_role_is_rung_for_what_is_in_its_picture(raw: KubeObject) -> None:
    assert filled().put(raw) == {KEY}


def test_of_secrets_one_name_is_kept() -> None:
    world = filled()
    assert world.put(thing("Secret", "tenants-own")) == set()
    assert world.put(thing("Secret", LINK_SECRET)) == {KEY}
    assert seen(world).link_secret is not None


def test_what_was_asked_for_and_not_found_is_gone_but_not_what_was_made_meanwhile() -> None:
    world = filled(thing("Secret", LINK_SECRET, version=5))
    before = world.version_of("Secret", "acme", LINK_SECRET)
    world.put(thing("Secret", LINK_SECRET, version=7))
    assert world.gone("Secret", "acme", LINK_SECRET, before) == set()
    assert world.gone("Secret", "acme", LINK_SECRET, 7) == {KEY}
    assert seen(world).link_secret is None
    assert world.gone("Secret", "acme", LINK_SECRET, 0) == set()


def test_our_own_config_map_stays_where_nobody_watches_them_any_more() -> None:
    world = filled(thing("ConfigMap", PLATFORM_KEYS), thing("ConfigMap", "text"))
    world.forget_config_maps("acme")
    assert seen(world).platform_keys is not None


def test_another_namespaces_things_do_not_ring() -> None:
    assert filled().put(thing("ServiceAccount", "rolehost-sandbox", namespace="other")) == set()


def test_a_namespace_without_the_label_is_no_tenants() -> None:
    world = filled(space({}, version=2))
    assert not seen(world).namespace.tenant


def test_a_namespace_that_is_going_is_seen_as_that() -> None:
    going = space(version=2)
    going["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    assert not seen(filled()).namespace.leaving
    assert seen(filled(going)).namespace.leaving


def test_a_role_with_references_waits_for_the_listing_of_config_maps() -> None:
    world = World()
    raw = role({"personaFrom": {"configMapRef": {"name": "text"}}})
    world.put(space())
    world.put(raw)
    assert observe(world) is None
    assert world.awaits_config_maps(KEY)
    assert world.config_map_namespaces() == {"acme"}
    world.put(thing("ConfigMap", "text", data={"system": "x"}))
    world.put(thing("ConfigMap", "other"))
    world.listed_config_maps.add("acme")
    assert seen(world).config_maps == {"text": {"system": "x"}}
    world.forget_config_maps("acme")
    assert observe(world) is None


def test_a_backend_that_cannot_be_read_is_as_good_as_not_there() -> None:
    world = filled(thing("ModelBackend", "odd", namespace="", spec={"type": "Telepathy"}))
    assert seen(world).backends == {}


def test_managed_fields_are_not_kept() -> None:
    raw = deployment("r1")
    raw["metadata"]["managedFields"] = [{"manager": "x"}]
    assert "managedFields" not in seen(filled(raw)).deployments[0].raw["metadata"]


def test_no_role_no_picture() -> None:
    assert observe(World()) is None


# ── upgrades, over all tenants ──────────────────────────────────────────────────────

NOW_RUNS = runtime_mark(PLATFORM)


def running(name: str, runtime: str, version: int = 1, **status: Any) -> KubeObject:
    raw = deployment(name, version)
    raw["metadata"] |= {"annotations": {RUNTIME: runtime}, "generation": 1}
    return {**raw, "status": {"observedGeneration": 1, **status}}


def test_a_role_of_an_earlier_runtime_sees_the_room_that_the_whole_cluster_leaves() -> None:
    world = filled(*(running(f"r{number}", "old") for number in range(20)))
    assert seen(world).room == 2
    world.put(running("r0", NOW_RUNS, 2, replicas=2, updatedReplicas=1))
    assert seen(world).room == 1
    world.put(running("r0", NOW_RUNS, 3, replicas=1, updatedReplicas=1))
    assert seen(world).room == 2


def test_a_roll_that_was_told_and_is_not_seen_yet_takes_its_place() -> None:
    world = filled(*(running(f"r{number}", "old") for number in range(20)))
    world.granted.add(("acme", "r0"))
    assert seen(world).room == 1
    world.put(running("r0", NOW_RUNS, 2, replicas=2, updatedReplicas=1))
    assert seen(world).room == 1, "it is not counted twice"


def test_one_that_is_stuck_leaves_no_room_until_it_is_gone() -> None:
    world = filled(*(running(f"r{number}", "old") for number in range(20)))
    gave_up = [{"type": "Progressing", "status": "False"}]
    world.put(running("r0", NOW_RUNS, 2, replicas=2, updatedReplicas=1, readyReplicas=1, conditions=gave_up))
    assert (seen(world).room, seen(world).halted) == (0, True)
    world.drop(running("r0", NOW_RUNS, 3))
    assert (seen(world).room, seen(world).halted) == (1, False)


def test_who_is_stuck_on_the_way_to_another_runtime_holds_up_none_on_the_way_to_this_one() -> None:
    """The platform may change as the operator runs: another address of the gateways' Service is in every pod."""
    world = filled(*(running(f"r{number}", "old") for number in range(20)))
    gave_up = [{"type": "Progressing", "status": "False"}]
    world.put(running("r0", NOW_RUNS, 2, replicas=2, updatedReplicas=1, readyReplicas=1, conditions=gave_up))
    moved = replace(PLATFORM, gateway_targets=("10.96.0.3:8080",))
    assert [world.wave(one).halted for one in (PLATFORM, moved, PLATFORM)] == [True, False, True]


def in_stage(stage: str, version: int, **status: Any) -> KubeObject:
    raw = role()
    raw["metadata"]["resourceVersion"] = str(version)
    raw["status"] = {"rollout": {"id": "1-ab", "stage": stage}, **status}
    return raw


def test_rollouts_are_found_without_reading_the_other_roles() -> None:
    world = filled(in_stage("Stepping", 2))
    assert [key for key, _ in world.in_rollout({"Stepping"})] == [KEY]
    assert list(world.in_rollout({"Watching"})) == []
    assert (world.rollout_id(KEY, {"Stepping"}), world.rollout_id(KEY, {"Watching"})) == ("1-ab", "")
    assert [one["metadata"]["name"] for one in world.with_rollouts()] == ["cat"]

    world.put(in_stage("", 3))
    assert list(world.in_rollout({"", "Stepping"})) == []
    assert list(world.with_rollouts()) == []
    world.put(in_stage("", 4, history=[{"revision": "r1", "action": "RolledBack", "at": "2030-01-01T12:00:00Z"}]))
    assert len(list(world.with_rollouts())) == 1, "what ended is told of as well"
    world.drop(in_stage("", 5))
    assert list(world.with_rollouts()) == []


def test_what_is_read_of_it_may_be_changed_without_harm() -> None:
    world = filled(deployment("r1"))
    seen(world).deployments[0].raw["metadata"]["labels"].clear()
    assert seen(world).deployments[0].raw["metadata"]["labels"] == {ROLE: "cat", REVISION: "r1"}
