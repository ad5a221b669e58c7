"""What Kubernetes objects mean for the gateway's tables."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rolehost_api import names
from rolehost_api.crd.common import ObjectMeta
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.revision import RoleRevision
from rolehost_api.crd.role import Role
from rolehost_api.crd.rollout import Arm, SessionPolicy, Share
from rolehost_api.observed import HostFacts
from rolehost_operator.rollout.table import Stage
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.core.warming import Warming
from rolehost_runtime.gateway.tables import KeyEntry, PodEntry, Scope, Tables, Tenant
from rolehost_runtime.gateway.watch.filler import Filler, role_entry
from rolehost_runtime.gateway.watch.views import ConfigMapView, NamespaceView, PodView

IMAGE = "registry/rolehost-sandbox:1"
ACME = Tenant("acme", "uid-1")
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cat-1-abc", "uid": "rs-1", "controller": True}
ALL_SO = HostFacts(runtime=True, account=True, image=True, apart=True, owned=True)
ROLE: dict[str, Any] = {
    "metadata": {"name": "cat", "namespace": "acme", "uid": "u", "annotations": {names.FOLLOW: "true"}},
    "spec": {"template": {"persona": {"system": "You are a cat."}}, "tomorrow": "unknown fields pass by"},
    "status": {"stableRevision": "cat-1"},
}


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def skipped() -> list[str]:
    return []


@pytest.fixture
def filler(tables: Tables, skipped: list[str]) -> Filler:
    filler = Filler(tables, skipped.append)
    filler.images.put(trusting(IMAGE))
    filler.pods.replace([])
    return filler


def trusting(*images: str) -> ConfigMapView:
    return ConfigMapView(
        metadata=ObjectMeta(name=names.TRUSTED_IMAGES), data={names.TRUSTED_IMAGES_ENTRY: ",".join(images)}
    )


def namespace(name: str = "acme", uid: str = "uid-1", *, labelled: bool = True) -> NamespaceView:
    labels = {names.TENANT: "whatever"} if labelled else {}
    return NamespaceView(metadata=ObjectMeta(name=name, uid=uid, labels=labels))


def role() -> Role:
    return msgspec.convert(ROLE, Role)


def pod(**changes: Any) -> PodView:
    """A pod as the apiserver gives it; `changes` by path with `__` for dots."""
    item: dict[str, Any] = {
        "metadata": {
            "name": "cat-1-x", "namespace": "acme", "uid": "pod-1",
            "labels": {names.ROLE: "cat", names.REVISION: "cat-1", names.POD_TEMPLATE_HASH: "abc"},
            "creationTimestamp": "2030-01-01T00:00:00Z", "ownerReferences": [OWNER],
        },
        "spec": {
            "runtimeClassName": "gvisor", "serviceAccountName": names.SANDBOX_SERVICE_ACCOUNT,
            "containers": [{"name": "sandbox", "image": IMAGE}], "nodeName": "n",
        },
        "status": {"phase": "Running", "podIP": "10.0.0.7"},
    }  # fmt: skip
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = item
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return msgspec.json.decode(json.dumps(item), type=PodView)


def key(tenant: str = "acme", uid: str = "uid-1", sha256: str = "a" * 64, scopes: tuple[str, ...] = ("chat",)) -> str:
    return json.dumps({"sha256": sha256, "tenant": tenant, "tenantUID": uid, "scopes": scopes})


def keys(**data: str) -> ConfigMapView:
    return ConfigMapView(metadata=ObjectMeta(name=names.KEYS), data=data)


def test_a_role_belongs_to_its_namespace_by_name_and_uid(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    filler.roles.replace([role()])
    entry = tables.roles.get("acme", "cat")
    assert entry is not None
    assert (entry.tenant, entry.stable, entry.follow) == (ACME, "cat-1", True)


ROLLOUT: dict[str, Any] = {
    "stableRevision": "cat-1",
    "canaryRevision": "cat-2",
    "traffic": [
        {"revision": "cat-2", "percent": 5, "tag": "canary", "arm": "Candidate"},
        {"revision": "cat-1", "percent": 95, "tag": "stable", "arm": "Baseline"},
    ],
    "leaving": [
        {"revision": "cat-0", "policy": "Drain", "reason": "promotion", "since": "2030-01-01T00:00:00Z",
         "until": "2030-01-01T02:00:00Z"},
        {"revision": "cat-3", "policy": "MigrateAtTurn", "reason": "rollback", "since": "soon",
         "memory": "Quarantine"},
        {"revision": "cat-4", "policy": "Drain", "reason": "rollback", "since": "", "until": "later"},
    ],
    "rollout": {"id": "cat-7", "epoch": 3, "stage": "Stepping"},
}  # fmt: skip


def status(**changes: Any) -> Role:
    return msgspec.convert({**ROLE, "status": {**ROLLOUT, **changes}}, Role)


def test_a_roles_traffic_and_what_leaves_it_are_as_its_status_says() -> None:
    entry = role_entry(status(), ACME)
    assert entry.traffic == Traffic(
        "cat-7",
        3,
        (
            Share(revision="cat-2", percent=5, tag="canary", arm=Arm.CANDIDATE),
            Share(revision="cat-1", percent=95, tag="stable", arm=Arm.BASELINE),
        ),
    )
    assert entry.leaving == (
        Departing("cat-0", SessionPolicy.DRAIN, "promotion", 1_893_463_200_000),
        Departing("cat-3", SessionPolicy.MIGRATE_AT_TURN, "rollback", 0),
        Departing("cat-4", SessionPolicy.DRAIN, "rollback", 0),
    )
    assert role_entry(role(), ACME).traffic == Traffic()


def test_what_is_to_be_warmed_is_what_the_operator_waits_for() -> None:
    def asked(**rollout: Any) -> Warming | None:
        return role_entry(status(rollout={"id": "cat-7", "revision": "cat-2", **rollout}), ACME).warming

    since = {"warmingSince": "2030-01-01T00:00:00Z"}
    assert asked(stage=Stage.PREPARING.value, **since) == Warming("cat-7", ("cat-2",))
    variants = [{"revision": "cat-2", "percent": 5}, {"revision": "cat-3", "percent": 5}]
    assert asked(stage="Preparing", variants=variants, **since) == Warming("cat-7", ("cat-2", "cat-3"))
    assert [asked(stage="Preparing"), asked(stage="Stepping", **since), asked(), role_entry(role(), ACME).warming] == [
        None
    ] * 4


def test_a_changed_weight_is_news_of_the_role_and_an_unchanged_one_is_none(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    told: list[tuple[str, ...]] = []
    filler.roles.put(status())
    tables.roles.listen(told.append)
    filler.roles.put(status())
    assert told == []
    filler.roles.put(status(rollout={"id": "cat-7", "epoch": 4}))
    filler.roles.put(status(traffic=[]))
    assert told == [("acme", "cat")] * 2


PAST = [
    {"revision": "cat-9", "action": "Promoted", "at": "5"},
    {"revision": "cat-8", "action": "RolledBack", "at": "4"},
    {"revision": "cat-9", "action": "RolledBack", "at": "3"},
    {"revision": "cat-2", "action": "Aborted", "at": "2"},
    {"revision": "cat-5", "action": "Aborted", "at": "1"},
]


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param("Quarantine", ("cat-3", "cat-5", "cat-8"), id="while-the-role-says-so"),
        pytest.param("Keep", ("cat-3",), id="taken-back"),
    ],
)
def test_memories_of_what_was_given_up_are_quarantined_until_it_comes_back(
    memory: str, expected: tuple[str, ...]
) -> None:
    spec = {**ROLE["spec"], "rollout": {"rollback": {"memory": memory}}}
    declared = msgspec.convert({**ROLE, "spec": spec, "status": {**ROLLOUT, "history": PAST}}, Role)
    assert role_entry(declared, ACME).quarantined == expected


def test_the_order_in_which_watches_arrive_does_not_matter(tables: Tables, filler: Filler) -> None:
    filler.roles.replace([role()])
    filler.pods.replace([pod()])
    filler.keys.replace([keys(k1=key())])
    assert [*tables.roles.values(), *tables.pods.values(), *tables.keys.values()] == []
    filler.namespaces.replace([namespace()])
    assert tables.roles.get("acme", "cat") is not None
    assert tables.pods.get("pod-1") is not None
    assert tables.keys.get("a" * 64) is not None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda filler: filler.namespaces.put(namespace(labelled=False)), id="label-taken-away"),
        pytest.param(lambda filler: filler.namespaces.drop(ObjectMeta(name="acme", uid="uid-1")), id="deleted"),
        pytest.param(lambda filler: filler.namespaces.replace([]), id="not-in-the-next-listing"),
    ],
)
def test_a_namespace_that_is_no_tenant_any_more_takes_all_of_its_rows_away(
    tables: Tables, filler: Filler, change: Any
) -> None:
    filler.namespaces.replace([namespace()])
    filler.roles.put(role())
    filler.pods.put(pod())
    filler.keys.replace([keys(k1=key())])
    change(filler)
    assert [*tables.roles.values(), *tables.pods.values(), *tables.keys.values()] == []


def test_a_recycled_namespace_inherits_no_key_and_its_roles_are_the_new_tenants(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    filler.keys.replace([keys(k1=key())])
    filler.roles.put(role())
    filler.namespaces.put(namespace(uid="uid-2"))
    assert list(tables.keys.values()) == []
    entry = tables.roles.get("acme", "cat")
    assert entry is not None
    assert entry.tenant == Tenant("acme", "uid-2")


def test_a_late_goodbye_of_the_old_namespace_does_not_end_the_new_one(tables: Tables, filler: Filler) -> None:
    filler.namespaces.put(namespace(uid="uid-2"))
    filler.namespaces.drop(ObjectMeta(name="acme", uid="uid-1"))
    assert tables.tenants.get("acme") == Tenant("acme", "uid-2")


def test_a_pod_of_ours_may_be_dialled(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod())
    assert tables.pods.get("pod-1") == PodEntry(ACME, "pod-1", "cat-1-x", "cat", "cat-1", "10.0.0.7:7420", host=ALL_SO)
    assert list(tables.strangers.values()) == []


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        pytest.param({"spec__runtimeClassName": "runc"}, "runtime", id="another-runtime"),
        pytest.param({"spec__runtimeClassName": ""}, "runtime", id="no-runtime-class"),
        pytest.param({"spec__serviceAccountName": "default"}, "account", id="another-account"),
        pytest.param({"spec__containers": [{"image": "evil/sandbox:1"}]}, "image", id="another-image"),
        pytest.param({"spec__containers": [{"image": IMAGE}, {"image": "evil/sidecar"}]}, "image", id="a-sidecar"),
        pytest.param({"spec__initContainers": [{"image": "evil/init"}]}, "image", id="a-foreign-init-container"),
        pytest.param({"spec__ephemeralContainers": [{"image": "busybox"}]}, "image", id="a-debug-container"),
        pytest.param({"spec__containers": []}, "image", id="no-container"),
        pytest.param({"spec__hostNetwork": True}, "apart", id="the-nodes-network"),
        pytest.param({"metadata__ownerReferences": []}, "owned", id="nobodys"),
        pytest.param({"metadata__ownerReferences": [{**OWNER, "controller": False}]}, "owned", id="not-controlled"),
        pytest.param({"metadata__ownerReferences": [{**OWNER, "kind": "Job"}]}, "owned", id="a-jobs"),
        pytest.param({"metadata__ownerReferences": [{**OWNER, "apiVersion": "mine/v1"}]}, "owned", id="another-group"),
        pytest.param({"metadata__ownerReferences": [{**OWNER, "name": "dog-1-abc"}]}, "owned", id="anothers"),
        pytest.param({"metadata__ownerReferences": [{**OWNER, "name": "cat-1"}]}, "owned", id="only-named-alike"),
        pytest.param({"metadata__labels": {names.ROLE: "cat", names.REVISION: "dog-1", names.POD_TEMPLATE_HASH: "abc"}}, "owned", id="another-revision"),
        pytest.param({"metadata__labels": {names.ROLE: "cat", names.REVISION: "cat-1"}}, "owned", id="no-template"),
    ],
)  # fmt: skip
def test_a_pod_that_only_says_it_is_a_sandbox_is_reported_and_not_dialled(
    tables: Tables, filler: Filler, changes: dict[str, Any], fact: str
) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod())
    filler.pods.put(pod(**changes))
    assert list(tables.pods.values()) == []
    (stranger,) = tables.strangers.values()
    assert stranger.host == msgspec.structs.replace(ALL_SO, **{fact: False})
    filler.pods.put(pod())
    assert (len(list(tables.pods.values())), list(tables.strangers.values())) == (1, [])


def test_a_stranger_goes_as_any_pod_does(tables: Tables, filler: Filler) -> None:
    runc = pod(spec__runtimeClassName="")
    ways: list[Callable[[], None]] = [
        lambda: filler.pods.replace([]),
        lambda: filler.pods.drop(runc.metadata),
        lambda: filler.pods.put(pod(spec__runtimeClassName="", status__phase="Failed")),
        lambda: filler.namespaces.replace([]),
    ]
    for goes in ways:
        filler.namespaces.replace([namespace()])
        filler.pods.replace([runc])
        assert len(list(tables.strangers.values())) == 1
        goes()
        assert list(tables.strangers.values()) == []


@pytest.mark.parametrize(
    ("conditions", "ready"),
    [
        pytest.param([{"type": "Ready", "status": "True"}], True, id="ready"),
        pytest.param([{"type": "Ready", "status": "False"}], False, id="not-ready"),
        pytest.param([{"type": "ContainersReady", "status": "True"}], False, id="another-condition"),
        pytest.param([], False, id="nobody-looked-yet"),
    ],
)
def test_a_pod_is_ready_when_kubernetes_says_so(
    tables: Tables, filler: Filler, conditions: list[Any], ready: bool
) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod(status__conditions=conditions))
    entry = tables.pods.get("pod-1")
    assert entry is not None
    assert entry.ready is ready


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"status__podIP": ""}, id="no-address-yet"),
        pytest.param({"status__conditions": [{"type": "Initialized", "status": "False"}]}, id="nobody-listens-yet"),
        pytest.param({"status__phase": "Failed"}, id="ended"),
        pytest.param({"metadata__labels": {names.REVISION: "cat-1"}}, id="no-role"),
        pytest.param({"metadata__namespace": "other"}, id="not-a-tenants-namespace"),
    ],
)
def test_any_other_pod_may_not_be_dialled(tables: Tables, filler: Filler, changes: dict[str, Any]) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod())
    filler.pods.put(pod(**changes))
    assert [*tables.pods.values(), *tables.strangers.values()] == []


def test_a_pod_that_leaves_says_so_and_ipv6_is_bracketed(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod(metadata__deletionTimestamp="2030-01-01T00:00:00Z", status__podIP="fd00::7"))
    entry = tables.pods.get("pod-1")
    assert entry is not None
    assert (entry.leaving, entry.address) == (True, "[fd00::7]:7420")
    filler.pods.drop(ObjectMeta(uid="pod-1"))
    assert tables.pods.get("pod-1") is None


def test_keys_are_found_by_their_hash_and_bad_entries_harm_no_others(
    tables: Tables, filler: Filler, skipped: list[str]
) -> None:
    filler.namespaces.replace([namespace()])
    filler.keys.replace(
        [
            keys(
                good=key(scopes=("chat", "push")),
                no_json="{",
                no_hash=key(sha256="x"),
                odd_scope=key(sha256="b" * 64, scopes=("root",)),
                foreign=key(tenant="other", sha256="c" * 64),
                recycled=key(uid="uid-0", sha256="d" * 64),
            )
        ]
    )
    assert list(tables.keys.values()) == [KeyEntry("good", "a" * 64, ACME, frozenset({Scope.CHAT, Scope.PUSH}))]
    assert sorted(skipped) == ["no_hash", "no_json", "odd_scope"]
    filler.keys.put(keys())
    assert list(tables.keys.values()) == []


def test_without_its_config_map_there_are_no_keys(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    filler.keys.replace([])
    assert tables.keys.filled
    filler.keys.put(keys(k1=key()))
    filler.keys.drop(ObjectMeta(name=names.KEYS))
    assert list(tables.keys.values()) == []


def test_the_tables_are_filled_once_every_listing_came(tables: Tables, filler: Filler) -> None:
    for sink in (filler.namespaces, filler.roles, filler.revisions, filler.pods, filler.backends, filler.gateways):
        sink.replace([])
        assert not tables.filled
    filler.keys.replace([])
    assert tables.filled


def test_revisions_and_backends_are_taken_as_they_are(tables: Tables, filler: Filler) -> None:
    filler.namespaces.replace([namespace()])
    meta = {"name": "cat-1", "namespace": "acme", "uid": "r"}
    spec = {"roleName": "cat", "sequence": 1, "hashVersion": 1, "hash": "0" * 64, "template": ROLE["spec"]["template"]}
    filler.revisions.put(msgspec.convert({"metadata": meta, "spec": spec}, RoleRevision))
    backend = msgspec.convert({"metadata": {"name": "default"}, "spec": {"type": "Scripted"}}, ModelBackend)
    filler.backends.put(backend)
    revision = tables.revisions.get("acme", "cat-1")
    assert revision is not None
    assert revision.tenant == ACME
    assert tables.backends.get("default") == backend.spec
    filler.backends.drop(backend.metadata)
    assert tables.backends.get("default") is None


# ── images that are trusted ─────────────────────────────────────────────────────────


def test_before_it_is_known_which_images_are_trusted_no_pod_is_anything(tables: Tables) -> None:
    filler = Filler(tables, lambda _: None)
    filler.namespaces.replace([namespace()])
    filler.pods.replace([pod()])
    assert (tables.pods.filled, tables.strangers.filled) == (False, False)
    filler.images.replace([])
    filler.pods.put(pod())
    assert "images" in tables.unfilled
    filler.images.put(trusting(IMAGE))
    assert tables.pods.filled
    assert tables.pods.get("pod-1") is not None
    assert tables.strangers.get("pod-1") is None


def test_pods_are_looked_at_again_when_other_images_are_trusted(filler: Filler, tables: Tables) -> None:
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod())
    filler.images.put(trusting("another:1"))
    assert tables.pods.get("pod-1") is None
    stranger = tables.strangers.get("pod-1")
    assert stranger is not None
    assert not stranger.host.image
    filler.images.put(trusting("another:1", f" {IMAGE} "))
    assert tables.pods.get("pod-1") is not None
    assert tables.strangers.get("pod-1") is None


def test_a_list_of_images_that_is_gone_changes_nothing(filler: Filler, tables: Tables) -> None:
    """At every upgrade helm deletes it and makes it anew: conversations must not notice."""
    filler.namespaces.replace([namespace()])
    filler.pods.put(pod())
    rung: list[tuple[str, ...]] = []
    tables.pods.listen(rung.append)
    filler.images.drop(ObjectMeta(name=names.TRUSTED_IMAGES))
    filler.images.replace([])
    filler.images.put(trusting(IMAGE, "next:1"))
    assert tables.pods.get("pod-1") is not None
    assert rung == []
