"""Facts in, findings out: every failure that the doctor knows, and what it says mends it."""

from typing import Any

import pytest

from rolehost.cli.doctor import archive, cluster, durability, parts
from rolehost.cli.doctor.finding import Finding, Seen, State
from rolehost.cli.tenants import onboarding
from rolehost_api import names

FAIL, WARN, OK, SKIPPED = State.FAIL, State.WARN, State.OK, State.SKIPPED
PLATFORM = "plat"
FORBIDDEN = Seen(refused='x is forbidden: User "u" cannot get path "/x"', forbidden=True)


def told(finding: Finding) -> tuple[State, str, str]:
    """What a person needs: every finding that is not ok says what to do, or why it was not looked at."""
    assert finding.state in (OK, SKIPPED) or finding.fix
    assert finding.what
    return finding.state, finding.what, finding.fix


# ── the cluster ─────────────────────────────────────────────────────────────────────


def node(name: str, ready: str = "True") -> dict[str, Any]:
    info = {"containerRuntimeVersion": "containerd://1.7.2"}
    return {
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}], "nodeInfo": info},
    }


@pytest.mark.parametrize(
    ("version", "nodes", "state", "word"),
    [
        (Seen({"gitVersion": "v1.34.4"}), Seen({"items": [node("a")]}), OK, "1 node(s) Ready, containerd://1.7.2"),
        (Seen({"gitVersion": "v1.30.0"}), FORBIDDEN, OK, "v1.30.0"),
        (Seen({"gitVersion": "v1.29.9"}), Seen({"items": []}), FAIL, "older than 1.30"),
        (Seen({"gitVersion": "v1.34.4"}), Seen({"items": [node("a"), node("b", "Unknown")]}), WARN, "not Ready: b"),
        (Seen(refused="connection refused"), Seen(refused="connection refused"), FAIL, "does not answer"),
    ],
)
def test_kubernetes(version: Seen, nodes: Seen, state: State, word: str) -> None:
    found = told(cluster.kubernetes(version, nodes))
    assert found[0] is state
    assert word in found[1]


def crd(contract: str | None = "1", established: str = "True") -> Seen:
    annotations = {names.CONTRACT: contract} if contract is not None else {}
    conditions = [{"type": "Established", "status": established}]
    return Seen({"metadata": {"annotations": annotations}, "status": {"conditions": conditions}})


@pytest.mark.parametrize(
    ("one", "state", "word"),
    [
        (crd(), OK, "3 kinds, contract 1"),
        (Seen(), FAIL, "not there: hostedroles.rolehost.io"),
        (crd(None), FAIL, "older than this command"),
        (crd("0"), FAIL, "older than this command"),
        (crd("many"), FAIL, "older than this command"),
        (crd("2"), WARN, "contract 2; this command speaks 1"),
        (crd(established="False"), FAIL, "not served"),
        (FORBIDDEN, SKIPPED, "your rights do not reach"),
        (Seen(refused="no answer in 4 s"), WARN, "could not be seen"),
    ],
)
def test_crds(one: Seen, state: State, word: str) -> None:
    found = told(cluster.crds({**dict.fromkeys(cluster.KINDS, crd()), cluster.KINDS[0]: one}, PLATFORM))
    assert found[0] is state
    assert word in found[1]


def test_a_runtime_class_that_is_missing() -> None:
    state, what, fix = told(cluster.runtime_class(Seen(), PLATFORM))
    assert state is FAIL
    assert "no Role can run" in what
    assert "runtimeClass.create=true" in fix
    assert told(cluster.runtime_class(Seen({"handler": "runsc"}), PLATFORM))[:2] == (OK, "gvisor, handler runsc")
    assert told(cluster.runtime_class(FORBIDDEN, PLATFORM))[0] is SKIPPED


def policies(*names: str, failure: str = "Fail") -> Seen:
    return Seen({"items": [{"metadata": {"name": name}, "spec": {"failurePolicy": failure}} for name in names]})


def bindings(*names: str, action: str = "Deny") -> Seen:
    return Seen({"items": [{"spec": {"policyName": name, "validationActions": [action]}} for name in names]})


ALL = cluster.POLICIES


@pytest.mark.parametrize(
    ("found", "bound", "state", "word"),
    [
        (policies(*ALL), bindings(*ALL), OK, "6 policies"),
        (policies(), bindings(), FAIL, "can make a sandbox of ours"),
        (Seen(), Seen(), FAIL, "can make a sandbox of ours"),
        (policies(*ALL[1:]), bindings(*ALL), FAIL, ALL[0]),
        (policies(*ALL), bindings(*ALL[1:]), FAIL, f"nothing is denied by {ALL[0]}"),
        (policies(*ALL), bindings(*ALL, action="Audit"), FAIL, "nothing is denied"),
        (policies(*ALL, failure="Ignore"), bindings(*ALL), FAIL, "nothing is denied"),
        (FORBIDDEN, bindings(), SKIPPED, "your rights"),
    ],
)
def test_admission(found: Seen, bound: Seen, state: State, word: str) -> None:
    finding = told(cluster.admission(found, bound, PLATFORM))
    assert finding[0] is state
    assert word in finding[1]


def tenancy(**changes: Any) -> Finding:
    namespace, binding = onboarding("acme", PLATFORM)
    facts = {
        "namespaces": Seen({"items": [namespace]}),
        "bindings": Seen({"items": [binding]}),
        "writer": Seen({"rules": []}),
    }
    return cluster.tenants(**{**facts, **changes}, platform=PLATFORM)


def test_what_onboarding_makes_is_complete() -> None:
    assert told(tenancy())[:2] == (OK, "1, all of them bound")


@pytest.mark.parametrize(
    ("change", "state", "word", "fix"),
    [
        ({"bindings": Seen({"items": []})}, FAIL, "no rights in acme", "rolehost tenants add acme"),
        ({"bindings": Seen({"items": [onboarding("acme", "elsewhere")[1]]})}, FAIL, "no rights in acme", "rolehost tenants add acme"),
        ({"writer": Seen()}, FAIL, "may write nowhere", "helm upgrade"),
        ({"namespaces": Seen({"items": []})}, SKIPPED, "rolehost tenants add", ""),
        ({"namespaces": FORBIDDEN}, SKIPPED, "your rights", ""),
        ({"namespaces": Seen({"items": [{"metadata": {"name": "acme", "labels": {}}}]})}, WARN, "not restricted", "rolehost tenants add acme"),
    ],
)  # fmt: skip
def test_tenants(change: dict[str, Seen], state: State, word: str, fix: str) -> None:
    found = told(tenancy(**change))
    assert found[0] is state
    assert word in found[1]
    assert fix in found[2]


def test_a_namespace_that_is_being_deleted_is_no_tenant_without_rights() -> None:
    namespace, binding = onboarding("acme", PLATFORM)
    going = {"metadata": {"name": "gone", "labels": {}, "deletionTimestamp": "2030-01-01T00:00:00Z"}}
    assert tenancy(namespaces=Seen({"items": [going, namespace]}), bindings=Seen({"items": [binding]})).state is OK


def test_a_binding_of_another_role_or_nobody_is_not_complete() -> None:
    binding = onboarding("acme", PLATFORM)[1]
    assert cluster.complete(binding, PLATFORM)
    assert not cluster.complete({**binding, "roleRef": {"kind": "ClusterRole", "name": "view"}}, PLATFORM)
    assert not cluster.complete({**binding, "subjects": []}, PLATFORM)


# ── the platform's parts ────────────────────────────────────────────────────────────


def deployment(name: str = "rolehost-gateway", *, available: int = 1, replicas: int = 1, version: str = "0.1.0", **env: str) -> dict[str, Any]:  # fmt: skip
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/version": version}},
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"containers": [{"image": f"{name}:1", "env": variables}]}},
        },
        "status": {"availableReplicas": available},
    }


@pytest.mark.parametrize(
    ("seen", "state", "word", "fix"),
    [
        (Seen(deployment()), OK, "1 of 1 pod(s) serve", ""),
        (Seen(), FAIL, "there is no Deployment", "helm install"),
        (Seen(deployment(replicas=0, available=0)), FAIL, "scaled to 0", "scale deployment rolehost-gateway --replicas=1"),
        (Seen(deployment(available=0)), FAIL, "none of 1", "logs deployment/rolehost-gateway"),
        (Seen(deployment(replicas=3, available=2)), WARN, "2 of 3", "get pods"),
        (FORBIDDEN, SKIPPED, "your rights", ""),
    ],
)  # fmt: skip
def test_workloads(seen: Seen, state: State, word: str, fix: str) -> None:
    found = told(parts.workload("gateway", "Deployment", "rolehost-gateway", seen, PLATFORM))
    assert found[0] is state
    assert word in found[1]
    assert fix in found[2]


def lease(holder: str = "op-1") -> Seen:
    return Seen({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}})


@pytest.mark.parametrize(
    ("seen", "age", "state", "word"),
    [
        (lease(), 3.0, OK, "op-1 leads"),
        (lease(), 19.9, OK, "op-1 leads"),
        (lease(), 20.1, FAIL, "last heard 20 s ago"),
        (lease(""), 0.0, FAIL, "no operator holds"),
        (Seen(), 0.0, FAIL, "no operator holds"),
        (FORBIDDEN, 0.0, SKIPPED, "your rights"),
    ],
)
def test_the_lease(seen: Seen, age: float, state: State, word: str) -> None:
    found = told(parts.lease(seen, age, PLATFORM))
    assert found[0] is state
    assert word in found[1]


def fleet(version: str = "0.1.0", made: str = "sandbox:1", operator: str = "") -> dict[str, dict[str, Any]]:
    return {
        "rolehost-gateway": deployment(version=version),
        "rolehost-operator": deployment("rolehost-operator", version=operator or version, ROLEHOST_SANDBOX_IMAGE=made),
    }


@pytest.mark.parametrize(
    ("gateway", "deployments", "state", "word", "fix"),
    [
        ("0.1.0", fleet(), OK, "command 0.1.0, gateway 0.1.0, chart 0.1.0; sandbox image sandbox:1", ""),
        ("", fleet(), OK, "command 0.1.0", ""),
        ("0.2.0", fleet("0.2.0"), WARN, "gateway 0.2.0", "pip install rolehost==0.2.0"),
        ("0.1.0", fleet("0.2.0"), WARN, "chart 0.2.0", "helm upgrade"),
        ("0.1.0", fleet(operator="0.2.0"), FAIL, "several releases", "helm upgrade"),
        ("0.1.0", fleet(made="sandbox:2"), FAIL, "sandbox:2, which the gateway does not trust", "helm upgrade"),
        ("", {}, SKIPPED, "nothing of the platform", ""),
    ],
)
def test_versions(gateway: str, deployments: dict[str, dict[str, Any]], state: State, word: str, fix: str) -> None:
    found = told(parts.versions("0.1.0", gateway, deployments, trusting("sandbox:1"), PLATFORM))
    assert found[0] is state
    assert word in found[1]
    assert fix in found[2]


def trusting(images: str) -> Seen:
    return Seen({"data": {names.TRUSTED_IMAGES_ENTRY: images}})


@pytest.mark.parametrize(
    ("trusted", "state"),
    [
        (trusting("sandbox:2,sandbox:1"), OK),
        (trusting("sandbox:2"), FAIL),
        (Seen(), FAIL),  # gateways cannot even start
        (FORBIDDEN, OK),
    ],
)
def test_what_gateways_trust(trusted: Seen, state: State) -> None:
    assert told(parts.versions("0.1.0", "0.1.0", fleet(), trusted, PLATFORM))[0] is state


# ── a gateway and its Redis ─────────────────────────────────────────────────────────

GOOD = {
    "version": "7.2.4", "aof": True, "aof_writes": "ok", "appendfsync": "always", "eviction": "noeviction",
    "used_bytes": 10 << 20, "max_bytes": 256 << 20,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "state", "word"),
    [
        ({}, OK, "synced always, noeviction, 10 of 256 MiB used"),
        ({"max_bytes": 0}, WARN, "no bound (maxmemory 0): no tenant is kept"),
        ({"aof": False}, FAIL, "a restart forgets"),
        ({"aof_writes": "err"}, FAIL, "could not write its log"),
        ({"appendfsync": "everysec"}, FAIL, "appendfsync everysec"),
        ({"appendfsync": "no"}, FAIL, "appendfsync no"),
        ({"appendfsync": ""}, WARN, "does not say when it syncs"),
        ({"eviction": "allkeys-lru"}, FAIL, "maxmemory-policy allkeys-lru"),
        ({"used_bytes": 250 << 20}, WARN, "97 % full: tenants over their share begin no new sessions"),
    ],
)
def test_durability(change: dict[str, Any], state: State, word: str) -> None:
    [found] = durability.durability(Seen({"store": {**GOOD, **change}}), PLATFORM)
    assert told(found)[0] is state
    assert word in found.what


@pytest.mark.parametrize(
    ("told_", "state", "word"),
    [
        ({"configured": True, "took_ms": 31}, OK, "written, listed, read and deleted in 31 ms"),
        ({"configured": False}, OK, "whole logs stay in Redis"),
        (None, OK, "whole logs stay in Redis"),
        ({"configured": False, "forgets": True}, WARN, "histories lose their begin"),
        ({"configured": True, "failed": "write", "trouble": "no answer within 2 s"}, FAIL, "no answer within 2 s"),
        ({"configured": True, "failed": "delete", "trouble": "x"}, FAIL, "what is to be forgotten stays there"),
        ({"configured": True, "failed": "dance", "trouble": "x"}, FAIL, "cannot be relied on"),
    ],
)
def test_the_archive(told_: dict[str, Any] | None, state: State, word: str) -> None:
    found = archive.archive(Seen({"store": GOOD, "archive": told_}), PLATFORM)
    assert told(found)[0] is state
    assert word in found.what
    assert told(archive.archive(FORBIDDEN, PLATFORM))[0] is SKIPPED


def test_several_faults_of_redis_are_several_findings() -> None:
    store = {**GOOD, "appendfsync": "no", "eviction": "volatile-lru"}
    found = durability.durability(Seen({"store": store}), PLATFORM)
    assert [one.state for one in found] == [FAIL, FAIL]
    assert "appendfsync always" in found[0].fix
    assert "noeviction" in found[1].fix


def test_a_redis_or_a_gateway_that_is_not_heard() -> None:
    [away] = durability.durability(Seen({"store": None}), PLATFORM)
    assert told(away)[0] is FAIL
    [blind] = durability.durability(FORBIDDEN, PLATFORM)
    assert told(blind)[0] is SKIPPED
    waits = Seen({"ok": False, "waiting_for": ["roles", "state"]})
    assert "waits for roles, state" in told(durability.answers(waits, "https://x", PLATFORM))[1]
    assert durability.answers(waits, "https://x", PLATFORM).state is FAIL
    assert durability.answers(Seen({"ok": True}), "https://x", PLATFORM).state is OK
    assert durability.answers(Seen(refused="Connection refused"), "https://x", PLATFORM).state is WARN
