"""What the operator plans, one claim each."""

import base64
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.support.observing import GOOD_HOST, NOON, ago, observed, report, role

from rolehost_api.crd.common import Condition
from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.link.attestation import NOT_ATTESTED, namespace_key
from rolehost_api.link.messages import LoadError, Probe
from rolehost_api.names import LINK_SECRET, LINK_SECRET_KEY, PLATFORM_KEYS_ENTRY
from rolehost_api.observed import HostFacts
from rolehost_operator.desired.tenancy import link_secret
from rolehost_operator.living import MOST_LIVE
from rolehost_operator.observed import Memory, Namespace, Observed, read_deployment, read_role
from rolehost_operator.plan import NOW, Plan
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out
from rolehost_operator.status.health import FACTS


def settled(seen: Observed, now: datetime = NOON) -> Observed:
    """After carrying out plans until none comes at once."""
    for _ in range(10):
        plan = reconcile(seen, now)
        if not plan.writes:
            return seen
        seen = carried_out(seen, plan)
    raise AssertionError(f"the operator never rests: {plan}")


def ready(seen: Observed, now: datetime = NOON) -> Observed:
    """As `settled`, with the latest revision's pods loaded and the status told."""
    seen = settled(seen, now)
    newest = max(seen.revisions, key=lambda one: one.spec.sequence).meta.name
    raw = next(one.raw for one in seen.deployments if one.revision == newest)
    counted = read_deployment({**raw, "status": {"readyReplicas": 1}})
    others = tuple(one for one in seen.deployments if one.revision != newest)
    pods = (*(pod for pod in seen.pods if pod.revision != newest), report(newest))
    return settled(replace(seen, deployments=(*others, counted), pods=pods), now)


def edited(seen: Observed, system: str, **spec: Any) -> Observed:
    raw = {**seen.role.raw, "spec": {**seen.role.raw["spec"], "template": {"persona": {"system": system}}, **spec}}
    raw["metadata"] = {**raw["metadata"], "generation": raw["metadata"]["generation"] + 1}
    return replace(seen, role=read_role(raw))


def condition(plan_or_seen: Plan | Observed, kind: str) -> Condition:
    status = plan_or_seen.status if isinstance(plan_or_seen, Plan) else plan_or_seen.role.status
    assert status is not None
    return next(one for one in status.conditions if one.type == kind)


def kinds(plan: Plan) -> list[str]:
    return [one["kind"] for one in plan.apply]


def told(seen: Observed) -> Plan:
    """The plan after patience has run out, so that what is on its way says so."""
    return reconcile(replace(seen, memory=Memory(ago(3))), NOON)


# ── order, and the number of writes ─────────────────────────────────────────────────


def test_the_way_out_is_closed_before_any_pod() -> None:
    first = reconcile(observed(), NOON)
    guards = ["NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap", "PodDisruptionBudget"]
    assert kinds(first) == [*guards, "RoleRevision"]
    assert first.requeue_after == NOW
    second = reconcile(carried_out(observed(), first), NOON)
    assert kinds(second) == ["Deployment"]


@pytest.mark.parametrize(
    "missing", ["network_policy", "service_account", "link_secret", "platform_keys", "disruption_budget"]
)
def test_no_deployment_while_a_guard_is_not_observed(missing: str) -> None:
    seen = replace(settled(observed()), deployments=(), **{missing: None})  # type: ignore[arg-type]
    assert "Deployment" not in kinds(reconcile(seen, NOON))


def test_a_role_becomes_ready_in_three_writes_of_its_own() -> None:
    guarded = settled(observed())
    seen = replace(guarded, revisions=(), deployments=())
    writes = 0
    for step in range(4):
        plan = reconcile(seen, NOON)
        writes += plan.writes
        seen = carried_out(seen, plan)
        if step == 1:
            seen = replace(seen, pods=(report(seen.revisions[0].meta.name),))
    assert writes == 3
    assert condition(seen, "Ready").status == "True"


def test_nothing_is_written_once_all_is_so() -> None:
    assert reconcile(ready(observed()), NOON + timedelta(hours=5)).writes == 0


def test_a_role_on_its_way_says_so_only_after_two_seconds() -> None:
    seen = settled(observed())
    first = reconcile(seen, NOON)
    assert (first.status, first.requeue_after) == (None, timedelta(seconds=2))
    later = reconcile(replace(seen, memory=first.memory), NOON + timedelta(seconds=2))
    assert condition(later, "Ready").reason == "Progressing"


# ── revisions ───────────────────────────────────────────────────────────────────────


def test_old_content_again_is_the_old_revision_again() -> None:
    first = ready(observed())
    second = ready(edited(first, "You are a dog."))
    back = settled(edited(second, "You are a cat."))
    assert len(back.revisions) == 2
    assert back.role.status.stable_revision == first.revisions[0].meta.name


def test_what_is_not_in_the_template_makes_no_revision() -> None:
    seen = ready(observed())
    after = settled(edited(seen, "You are a cat.", scaling={"minReplicas": 3}, displayName="Cat"))
    assert len(after.revisions) == 1
    assert after.deployments[0].raw["spec"]["replicas"] == 3


def test_an_explicit_default_makes_no_revision() -> None:
    seen = ready(observed())
    template = {
        "persona": {"system": "You are a cat."},
        "model": {"backend": "default"},
        "resources": {"cpuMilli": 1000},
    }
    raw = {**seen.role.raw, "spec": {"template": template}}
    assert len(settled(replace(seen, role=read_role(raw))).revisions) == 1


def test_a_revision_keeps_the_template_as_it_was_declared() -> None:
    template = {"persona": {"system": "x"}, "model": {"backend": "default", "params": {"temperature": 0.25}}}
    seen = settled(observed(role(template)))
    assert seen.revisions[0].raw["spec"]["template"] == template


def test_numbers_go_up_and_are_not_used_twice() -> None:
    seen = ready(observed(role(revisionHistoryLimit=0)))
    for number, name in enumerate(("dog", "cow", "owl"), 1):
        seen = ready(edited(seen, f"You are a {name}."))
        newest = seen.role.status.stable_revision
        long_ago = {one.meta.name: ago(120) for one in seen.revisions}
        seen = replace(seen, idle_since=long_ago, memory=Memory(None, long_ago))
        seen = settled(seen, NOON + timedelta(minutes=2 * number))
        assert newest in {one.meta.name for one in seen.revisions}
    assert [one.spec.sequence for one in seen.revisions] == [4]


def test_a_changed_config_map_is_a_new_revision_with_its_content() -> None:
    raw = role({"personaFrom": {"configMapRef": {"name": "text"}}})
    seen = ready(observed(raw, config_maps={"text": {"system": "You are a cat.", "greeting": "Meow."}}))
    assert seen.revisions[0].spec.frozen == {"persona/system": "You are a cat.", "persona/greeting": "Meow."}
    after = settled(replace(seen, config_maps={"text": {"system": "You are a dog."}}))
    assert [one.spec.sequence for one in after.revisions] == [1, 2]


def test_the_same_bytes_in_two_roles_are_two_revisions() -> None:
    other = role()
    other["metadata"] = {**other["metadata"], "name": "tiger"}
    names = {settled(observed(raw)).revisions[0].meta.name for raw in (role(), other)}
    assert len(names) == 2


def test_a_role_that_was_applied_again_adopts_its_revisions() -> None:
    seen = ready(observed())
    raw = {**seen.role.raw, "metadata": {**seen.role.raw["metadata"], "uid": "another"}, "status": {}}
    plan = reconcile(replace(seen, role=read_role(raw)), NOON)
    assert [owner["uid"] for owner in plan.apply[0]["metadata"]["ownerReferences"]] == ["another"]
    assert plan.apply[0]["spec"] == seen.revisions[0].raw["spec"]


# ── who serves ──────────────────────────────────────────────────────────────────────


def test_a_bad_revision_never_takes_traffic() -> None:
    good = ready(observed())
    seen = settled(edited(good, "You are a dog."))
    bad = max(seen.revisions, key=lambda one: one.spec.sequence).meta.name
    error = LoadError(code="import_failed", error="NameError", where="story.py:7")
    seen = settled(replace(seen, pods=(*seen.pods, report(bad, loaded=False, error=error))))
    status = seen.role.status
    assert (status.stable_revision, status.latest_created_revision) == (good.revisions[0].meta.name, bad)
    assert condition(seen, "Ready").reason == "LogicInvalid"
    assert "NameError at story.py:7" in condition(seen, "LogicLoaded").message
    assert "meanwhile" in condition(seen, "Ready").message


def test_pods_of_an_old_revision_stay_while_it_has_sessions() -> None:
    seen = ready(edited(ready(observed()), "You are a dog."))
    assert len(seen.deployments) == 2


@pytest.mark.parametrize(
    ("idle", "retired", "left"),
    [
        pytest.param(59, 300, 2, id="not-yet-idle-for-long"),
        pytest.param(300, 59, 2, id="not-yet-retired-for-long"),
        pytest.param(60, 60, 1, id="both"),
        pytest.param(None, 300, 2, id="nobody-reports"),
    ],
)
def test_pods_of_an_old_revision_go_after_a_minute_without_sessions(idle: int | None, retired: int, left: int) -> None:
    first = ready(observed())
    seen = ready(edited(first, "You are a dog."))
    old = first.revisions[0].meta.name
    seen = replace(seen, idle_since={old: ago(idle)} if idle else {}, memory=Memory(None, {old: ago(retired)}))
    assert len(carried_out(seen, reconcile(seen, NOON)).deployments) == left


def test_an_idle_revision_is_looked_at_again_in_time() -> None:
    first = ready(observed())
    seen = ready(edited(first, "You are a dog."))
    old = first.revisions[0].meta.name
    seen = replace(seen, idle_since={old: ago(20)}, memory=Memory(None, {old: ago(30)}))
    assert reconcile(seen, NOON).requeue_after == timedelta(seconds=40)


def test_at_most_three_revisions_live() -> None:
    seen = ready(observed())
    for name in ("dog", "cow", "owl", "fox"):
        seen = ready(edited(seen, f"You are a {name}."))
        assert len(seen.deployments) <= MOST_LIVE
    assert len(seen.revisions) == 5


def test_losing_sight_of_a_pod_is_no_news_about_it() -> None:
    seen = replace(ready(observed()), pods=())
    assert reconcile(seen, NOON).writes == 0


def test_a_pod_that_changes_hands_between_gateways_is_no_news_either() -> None:
    """Its binder's word is gone with it; the next one has met it and not bound it yet, or not met it at all."""
    seen = ready(observed())
    revision = seen.revisions[0].meta.name
    for pods in (
        (report(revision, loaded=False),),
        (report(revision, probe=None, loaded=False),),
        (report(revision, loaded=False), report(revision)),
        (report(revision, error=LoadError(code="bind_timeout"), loaded=False),),
    ):
        assert reconcile(replace(seen, pods=pods), NOON).writes == 0


# ── what is wrong, and how it is said ───────────────────────────────────────────────


def test_without_the_runtime_class_no_pod() -> None:
    seen = settled(observed(runtime_class=False))
    assert seen.deployments == ()
    assert condition(seen, "Ready").reason == "SandboxUnavailable"
    assert condition(seen, "SandboxVerified").reason == "SandboxUnavailable"
    assert condition(seen, "SandboxVerified").status == "False"


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        pytest.param(Probe(gvisor=False, token=False, tried=("a:1",)), "kernel is not gVisor's", id="not-gvisor"),
        pytest.param(Probe(gvisor=True, token=True, tried=("a:1",)), "token is mounted", id="a-token"),
        pytest.param(Probe(gvisor=True, token=False, tried=("a:1",), reached=("a:1",)), "reached a:1", id="a-way-out"),
    ],
)
def test_a_breached_sandbox_is_said_and_serves_nobody(probe: Probe, words: str) -> None:
    seen = settled(observed())
    seen = settled(replace(seen, pods=(report(seen.revisions[0].meta.name, probe=probe),)))
    assert condition(seen, "Ready").reason == "SandboxBreached"
    assert words in condition(seen, "SandboxVerified").message
    assert seen.role.status.stable_revision == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"probe": Probe(gvisor=True, token=False)}, "did not try whether it reaches", id="tried-nothing"),
        pytest.param(
            {"probe": Probe(gvisor=True, token=False, tried=("10.96.0.1:443", "169.254.169.254:80"))},
            "did not try whether it reaches the gateways",
            id="no-positive-control",
        ),
        pytest.param({"host": HostFacts()}, "its RuntimeClass is not gvisor", id="no-host-facts"),
        *(
            pytest.param({"host": msgspec.structs.replace(GOOD_HOST, **{fact: False})}, words, id=f"not-{fact}")
            for fact, words in FACTS.items()
        ),
    ],
)
def test_a_pods_own_word_alone_proves_nothing(given: dict[str, Any], words: str) -> None:
    """Loaded, with gVisor's banner: a pod under runc prints that too."""
    seen = settled(observed())
    name = seen.revisions[0].meta.name
    plan = told(replace(seen, pods=(report(name, **given),)))
    verified = condition(plan, "SandboxVerified")
    assert (verified.status, verified.reason) == ("Unknown", "AwaitingProbe")
    assert verified.message.startswith(f"no sandbox has proved itself yet; {name}-x: ")
    assert words in verified.message
    assert condition(plan, "Ready").status == "Unknown"
    assert plan.status is not None
    assert plan.status.stable_revision == ""


def test_host_facts_alone_prove_nothing() -> None:
    seen = settled(observed())
    plan = told(replace(seen, pods=(report(seen.revisions[0].meta.name, probe=None),)))
    assert condition(plan, "SandboxVerified").message == "no sandbox has proved itself yet"


def test_not_to_reach_gateways_that_do_not_listen_proves_nothing() -> None:
    seen = settled(observed(listening=False))
    seen = replace(seen, pods=(report(seen.revisions[0].meta.name),))
    assert "no gateway says that it listens" in condition(told(seen), "SandboxVerified").message
    now = settled(replace(seen, listening=True))
    assert condition(now, "Ready").status == "True"
    assert "not even to 10.96.0.2:8080, where the gateways listen" in condition(now, "SandboxVerified").message


def test_a_stranger_with_the_revisions_label_neither_proves_nor_breaks_it() -> None:
    good = ready(observed())
    stranger = report(good.revisions[0].meta.name, host=HostFacts(), probe=None, loaded=False)
    both = replace(good, pods=(stranger, *good.pods))
    assert reconcile(both, NOON).writes == 0
    assert condition(settled(both), "SandboxVerified").status == "True"


def test_a_namespace_that_is_no_tenants_gets_nothing() -> None:
    plan = told(observed(namespace=Namespace("acme", "ns-uid", tenant=False)))
    assert (plan.apply, plan.prune) == ((), ())
    assert condition(plan, "Accepted").reason == "NamespaceNotATenant"


BIG = {"a.py": "x" * 200_000, "b.py": "x" * 100_000}


@pytest.mark.parametrize(
    ("template", "config_maps", "reason", "words"),
    [
        pytest.param(
            {"personaFrom": {"configMapRef": {"name": "text"}}}, {}, "ConfigMapNotFound", "ConfigMap text", id="no-map"
        ),
        pytest.param(
            {"personaFrom": {"configMapRef": {"name": "text"}}},
            {"text": {"greeting": "hi"}},
            "InvalidSpec",
            "no key 'system'",
            id="no-system",
        ),
        pytest.param(
            {"persona": {"system": "x"}, "logic": {"configMapRef": {"name": "code"}}},
            {"code": {"notes.txt": "x"}},
            "InvalidSpec",
            "ends in .py",
            id="no-code",
        ),
        pytest.param(
            {"persona": {"system": "x"}, "logic": {"configMapRef": {"name": "code"}}},
            {"code": BIG},
            "ConfigMapTooLarge",
            "300000 bytes",
            id="too-large",
        ),
        pytest.param(
            {"persona": {"system": "x"}, "model": {"backend": "gpt"}},
            {},
            "ModelBackendNotFound",
            "the cluster has: default",
            id="no-backend",
        ),
        pytest.param({"persona": {"system": 5}}, {}, "InvalidSpec", "$.template.persona.system", id="wrong-type"),
    ],
)
def test_what_leads_nowhere_is_told_and_made_no_revision_of(
    template: dict[str, Any], config_maps: dict[str, dict[str, str]], reason: str, words: str
) -> None:
    seen = observed(role(template), config_maps=config_maps)
    assert "RoleRevision" not in kinds(reconcile(seen, NOON))
    plan = told(seen)
    assert condition(plan, "Accepted").reason == reason
    assert words in condition(plan, "Accepted").message
    assert condition(plan, "Ready").reason == reason


def test_a_model_that_the_backend_lacks_is_told_with_those_it_has() -> None:
    spec = {"type": "OpenAI", "baseURL": "http://x/v1", "models": [{"name": "small", "model": "s"}]}
    seen = observed(
        role({"persona": {"system": "x"}, "model": {"name": "large"}}),
        backends={"default": msgspec.convert(spec, BackendSpec)},
    )
    assert "has no model large; it has: small" in condition(told(seen), "Accepted").message


def test_nobody_talks_to_a_server_of_embeddings() -> None:
    spec = {"type": "Embeddings", "baseURL": "http://x/v1", "models": [{"name": "small", "model": "s"}]}
    seen = observed(role({"persona": {"system": "x"}}), backends={"default": msgspec.convert(spec, BackendSpec)})
    assert "is of type Embeddings" in condition(told(seen), "Accepted").message


def test_no_gateway_no_ready() -> None:
    assert condition(told(settled(observed(gateways=0))), "Ready").reason == "NoGateway"


def test_pods_that_do_not_start_are_told_in_kubernetes_words() -> None:
    seen = settled(observed())
    said = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"}
    failing = read_deployment({**seen.deployments[0].raw, "status": {"conditions": [said]}})
    plan = told(replace(seen, deployments=(failing,)))
    assert condition(plan, "Ready").reason == "PodsFailing"
    assert "exceeded quota: compute" in condition(plan, "Ready").message


def test_a_listener_that_is_not_the_pod_is_told_and_is_no_fault_of_the_logic() -> None:
    seen = settled(observed())
    name = seen.revisions[0].meta.name
    stranger = report(name, loaded=False, probe=None, error=LoadError(code=NOT_ATTESTED))
    assert reconcile(replace(seen, pods=(stranger,)), NOON).status is None  # a table that lags: gone in a moment
    plan = told(replace(seen, pods=(stranger,)))
    assert condition(plan, "Ready").reason == "PodNotAttested"
    assert "was sent nothing" in condition(plan, "Ready").message
    assert condition(plan, "SandboxVerified").status == "Unknown"
    assert condition(plan, "LogicLoaded").reason == "Progressing"
    assert condition(ready(replace(seen, pods=(stranger,))), "Ready").reason == "Serving"


def test_a_bundle_that_was_never_pushed() -> None:
    seen = settled(observed())
    name = seen.revisions[0].meta.name
    seen = settled(replace(seen, pods=(report(name, loaded=False, error=LoadError(code="bundle_not_found")),)))
    assert condition(seen, "LogicLoaded").reason == "BundleNotFound"
    assert "rolehost push" in condition(seen, "Ready").message


# ── transitions and events ──────────────────────────────────────────────────────────


def test_the_time_of_a_transition_stays_where_the_status_did() -> None:
    seen = ready(observed())
    after = settled(edited(seen, "You are a cat.", displayName="Cat"), NOON + timedelta(hours=1))
    assert condition(after, "Ready").observed_generation == 2
    assert condition(after, "Ready").last_transition_time == condition(seen, "Ready").last_transition_time


def test_an_event_tells_of_a_transition_once() -> None:
    seen = ready(observed())
    lost = reconcile(replace(seen, gateways=0, memory=Memory(ago(3))), NOON)
    assert [(note.type, note.reason) for note in lost.notes] == [("Warning", "NoGateway")]
    after = replace(carried_out(replace(seen, gateways=0), lost), gateways=1)
    back = reconcile(after, NOON)
    assert [(note.type, note.reason) for note in back.notes] == [("Normal", "Serving")]
    assert reconcile(carried_out(after, back), NOON).notes == ()


# ── drift ───────────────────────────────────────────────────────────────────────────


def test_a_hand_on_the_policy_is_undone() -> None:
    seen = ready(observed())
    assert seen.network_policy is not None
    opened = {**seen.network_policy, "spec": {**seen.network_policy["spec"], "policyTypes": ["Ingress"]}}
    assert kinds(reconcile(replace(seen, network_policy=opened), NOON)) == ["NetworkPolicy"]


def test_a_hand_on_what_pods_prove_themselves_by_is_undone() -> None:
    seen = ready(observed())
    assert seen.link_secret is not None
    assert seen.platform_keys is not None
    foreign = base64.b64encode(bytes(32)).decode()
    forged = replace(seen, link_secret={**seen.link_secret, "data": {LINK_SECRET_KEY: foreign}})
    assert reconcile(forged, NOON).apply == (link_secret(seen.namespace, seen.platform),)
    trusting = replace(seen, platform_keys={**seen.platform_keys, "data": {PLATFORM_KEYS_ENTRY: foreign}})
    assert kinds(reconcile(trusting, NOON)) == ["ConfigMap"]


def test_a_recycled_namespace_gets_another_key() -> None:
    first = observed()
    again = replace(first, namespace=replace(first.namespace, uid="another"))
    keys = {link_secret(seen.namespace, seen.platform)["data"][LINK_SECRET_KEY] for seen in (first, again)}
    assert len(keys) == 2
    assert namespace_key(first.platform.attestation_root, "ns-uid") in {base64.b64decode(key) for key in keys}


def test_a_new_key_of_the_platform_reaches_pods_without_touching_them() -> None:
    seen = ready(observed())
    rotating = replace(seen, platform=replace(seen.platform, public_keys=("a2V5", "bmV4dA==")))
    plan = reconcile(rotating, NOON)
    assert kinds(plan) == ["ConfigMap"]
    assert plan.apply[0]["data"] == {PLATFORM_KEYS_ENTRY: "a2V5\nbmV4dA=="}


def test_the_namespaces_key_is_in_the_init_container_and_nowhere_else() -> None:
    [running] = settled(observed()).deployments
    pod = running.raw["spec"]["template"]["spec"]
    [volume] = [one["name"] for one in pod["volumes"] if one.get("secret", {}).get("secretName") == LINK_SECRET]
    holders = [
        one["name"]
        for one in (*pod["initContainers"], *pod["containers"])
        if volume in {mount["name"] for mount in one["volumeMounts"]}
    ]
    assert holders == ["attest"]
    [main] = pod["containers"]
    assert {one["name"]: one.get("readOnly") for one in main["volumeMounts"]} == {
        "scratch": None,
        "identity": True,
        "platform-keys": True,
        "nothing": True,
    }
    secret = base64.b64decode(link_secret(observed().namespace, observed().platform)["data"][LINK_SECRET_KEY])
    assert secret.hex() not in repr(running.raw)
    assert base64.b64encode(secret).decode() not in repr(running.raw)


def test_what_the_apiserver_adds_is_not_drift() -> None:
    seen = ready(observed())
    raw = seen.deployments[0].raw
    grown = {**raw, "spec": {**raw["spec"], "paused": False}, "status": {"readyReplicas": 1}}
    assert reconcile(replace(seen, deployments=(read_deployment(grown),)), NOON).writes == 0


def test_another_image_rolls_the_same_revision() -> None:
    seen = ready(observed())
    upgraded = replace(seen, platform=replace(seen.platform, sandbox_image="registry.example/rolehost-sandbox:2"))
    plan = reconcile(upgraded, NOON)
    assert kinds(plan) == ["Deployment"]
    assert len(carried_out(upgraded, plan).revisions) == 1


def test_a_role_that_is_going_is_left_alone() -> None:
    seen = ready(observed())
    raw = {**seen.role.raw, "metadata": {**seen.role.raw["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}}
    assert reconcile(replace(seen, role=read_role(raw), deployments=()), NOON).writes == 0


def test_in_a_namespace_that_is_going_nothing_is_held_up() -> None:
    seen = ready(observed())
    going = replace(seen, namespace=replace(seen.namespace, leaving=True), service_account=None)
    assert reconcile(going, NOON) == Plan()
