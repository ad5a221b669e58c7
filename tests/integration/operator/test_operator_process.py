"""The operator as a process under the chart's rights, against a real apiserver."""

import base64
import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from tests.integration.operator.conftest import (
    ACCOUNT,
    ATTESTATION_ROOT,
    GATEWAY_ADDRESS,
    PLATFORM,
    SERVICE,
    Cluster,
    eventually,
)
from tests.support.apiserver import Write

from rolehost_api.link.attestation import namespace_key
from rolehost_api.link.messages import LoadError, Probe
from rolehost_api.names import LEASE, LINK_SECRET, LINK_SECRET_KEY, PLATFORM_KEYS, PLATFORM_KEYS_ENTRY, TENANT
from rolehost_api.observed import HostFacts, PodReport

PROBE = Probe(gvisor=True, token=False, tried=("10.96.0.1:443", f"{GATEWAY_ADDRESS}:8080"))
HOST = HostFacts(runtime=True, account=True, image=True, apart=True, owned=True)


def role(namespace: str, system: str, **template: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": "cat", "namespace": namespace},
        "spec": {"template": {"persona": {"system": system}, **template}},
    }


def report(namespace: str, revision: str, error: LoadError | None = None) -> PodReport:
    return PodReport(
        uid=f"{namespace}-{revision}",
        name=f"{revision}-0",
        namespace=namespace,
        role="cat",
        revision=revision,
        host=HOST,
        probe=PROBE,
        loaded=error is None,
        error=error,
    )


def newest(cluster: Cluster, namespace: str, sequence: int) -> str:
    """Name of the revision with this number, once it has its Deployment."""

    def look() -> str:
        found = [one["metadata"]["name"] for one in cluster.revisions(namespace) if one["spec"]["sequence"] == sequence]
        return found[0] if found and cluster.api.get("deployment", found[0], "-n", namespace) else ""

    return str(eventually(look, f"a Deployment of revision {sequence}"))


def serve(cluster: Cluster, namespace: str, revision: str) -> None:
    cluster.count_ready(namespace, revision)
    cluster.gateway.say(report(namespace, revision))


def stable(cluster: Cluster, namespace: str) -> str:
    return str(cluster.api.get("rhr", "cat", "-n", namespace).get("status", {}).get("stableRevision", ""))


def writes(cluster: Cluster, namespace: str) -> list[Write]:
    return cluster.api.writes(ACCOUNT, namespace)


def applied(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    cluster.api.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(objects))


def test_a_role_becomes_ready_is_edited_and_goes_back(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    operator = cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    first = newest(cluster, namespace, 1)
    serve(cluster, namespace, first)
    eventually(lambda: cluster.reason(namespace, "cat") == "Serving", "Ready")

    # Events are told once all is written: perhaps before we look.
    made = [(write.resource, write.subresource) for write in writes(cluster, namespace) if write.resource != "events"]
    # What the namespace holds once, and then the Role's own.
    guards = ["networkpolicies", "serviceaccounts", "secrets", "configmaps", "poddisruptionbudgets"]
    assert made[:6] == [(resource, "") for resource in (*guards, "hostedrolerevisions")]
    # RoleRevision, Deployment, status; a fourth only where this machine took over 2 s to get there.
    assert made[6:] in ([("deployments", "")] + [("hostedroles", "status")] * count for count in (1, 2))
    said = cluster.api.get("rhr", "cat", "-n", namespace)
    assert said["status"]["address"]["url"] == "ws://gateway.test/role/cat"
    assert "finalizers" not in said["metadata"]
    assert not [name for name in said["metadata"]["annotations"] if "kopf" in name]
    pod = cluster.api.get("deployment", first, "-n", namespace)["spec"]["template"]["spec"]
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["automountServiceAccountToken"] is False
    targets = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}["ROLEHOST_PROBE_TARGETS"]
    assert targets == f"10.96.0.1:443,{GATEWAY_ADDRESS}:8080", "the positive control is one of them"
    assert f"not even to {GATEWAY_ADDRESS}:8080" in cluster.condition(namespace, "cat", "SandboxVerified")["message"]

    # An edit that does not load: told, and the old one serves on.
    applied(cluster, namespace, role(namespace, "You are a dog."))
    second = newest(cluster, namespace, 2)
    broken = LoadError(code="import_failed", error="NameError", where="story.py:7")
    cluster.gateway.say(report(namespace, second, broken))
    eventually(lambda: cluster.reason(namespace, "cat") == "LogicInvalid", "the load error is told")
    assert "story.py:7" in cluster.condition(namespace, "cat", "LogicLoaded")["message"]
    assert stable(cluster, namespace) == first

    # One that does: it takes over.
    applied(cluster, namespace, role(namespace, "You are an owl."))
    third = newest(cluster, namespace, 3)
    serve(cluster, namespace, third)
    eventually(lambda: stable(cluster, namespace) == third, "the third serves")

    # Old content again: the old revision again, at once, for its pods are still there.
    applied(cluster, namespace, role(namespace, "You are a cat."))
    eventually(lambda: stable(cluster, namespace) == first, "the first serves again")
    assert len(cluster.revisions(namespace)) == 3
    events = cluster.api.items("events", "-n", namespace)
    assert {one["reason"] for one in events} == {"LogicInvalid", "Serving"}
    assert cluster.gateway.refused == 0
    assert operator.stop() == 0


def test_it_does_not_lead_before_it_knows_what_a_sandbox_must_not_reach(cluster: Cluster) -> None:
    """Sandboxes that do not try the gateways' address would have to be made anew."""
    cluster.api.kubectl("delete", "service", SERVICE["metadata"]["name"], "-n", PLATFORM)
    try:
        operator = cluster.operator()
        eventually(
            lambda: operator.says("there is no Service rolehost-gateway with an address"), "it says what it misses"
        )
        assert not operator.says("this operator leads")
    finally:
        cluster.api.apply(SERVICE)
    eventually(lambda: operator.says("this operator leads"), "it leads")


def test_a_restart_writes_nothing(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    before = cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    serve(cluster, namespace, newest(cluster, namespace, 1))
    eventually(lambda: cluster.reason(namespace, "cat") == "Serving", "Ready")
    assert before.stop() == 0
    count = len(cluster.api.writes(ACCOUNT, namespace))
    after = cluster.operator()
    eventually(lambda: after.says("this operator leads"), "the new one leads")
    # A change that asks for one write comes through: so the others were looked at and left alone.
    cluster.api.kubectl("delete", "networkpolicy", "rolehost-sandbox", "-n", namespace)
    eventually(lambda: cluster.api.get("networkpolicy", "rolehost-sandbox", "-n", namespace), "the policy is back")
    wanted = [("patch", "networkpolicies"), ("create", "events")]  # which says that it was put back
    eventually(lambda: len(writes(cluster, namespace)) >= count + len(wanted), "it is told")
    new = writes(cluster, namespace)[count:]
    assert [(write.verb, write.resource) for write in new] == wanted


def test_of_two_operators_one_writes_and_the_other_takes_over(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    first = cluster.operator()
    eventually(lambda: first.says("this operator leads"), "the first leads")
    second = cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    serve(cluster, namespace, newest(cluster, namespace, 1))
    eventually(lambda: cluster.reason(namespace, "cat") == "Serving", "Ready")
    assert not second.says("this operator leads")
    holder = cluster.api.get("lease", LEASE, "-n", PLATFORM)["spec"]["holderIdentity"]
    assert holder.startswith("operator-0_")

    assert first.stop() == 0
    eventually(lambda: second.says("this operator leads"), "the second takes over at once")
    applied(cluster, namespace, role(namespace, "You are a dog."))
    newest(cluster, namespace, 2)


def test_a_killed_operator_is_replaced_when_its_lease_ends(cluster: Cluster) -> None:
    first = cluster.operator()
    eventually(lambda: first.says("this operator leads"), "the first leads")
    second = cluster.operator()
    first.stop(signal.SIGKILL)
    eventually(lambda: second.says("this operator leads"), "the second leads", seconds=40)


def test_an_operator_that_cannot_renew_stops_writing(cluster: Cluster) -> None:
    """Another holds the lease by force: from then on nothing more is written."""
    namespace = cluster.tenant()
    operator = cluster.operator()
    eventually(lambda: operator.says("this operator leads"), "it leads")
    taken = '{"spec":{"holderIdentity":"somebody-else"}}'
    cluster.api.kubectl("patch", "lease", LEASE, "-n", PLATFORM, "--type=merge", f"-p={taken}")
    eventually(lambda: operator.says("this operator stands by"), "it stands by")
    applied(cluster, namespace, role(namespace, "You are a cat."))
    time.sleep(2)
    assert writes(cluster, namespace) == []


def test_a_changed_config_map_makes_a_revision(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    cluster.operator()
    manifest = role(namespace, "")
    manifest["spec"]["template"] = {"personaFrom": {"configMapRef": {"name": "text"}}}
    applied(cluster, namespace, manifest)
    eventually(lambda: cluster.reason(namespace, "cat", "Accepted") == "ConfigMapNotFound", "it is told")
    text = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text"}, "data": {"system": "You are a cat."}}
    applied(cluster, namespace, text)
    first = newest(cluster, namespace, 1)
    applied(cluster, namespace, {**text, "data": {"system": "You are a dog."}})
    second = newest(cluster, namespace, 2)
    frozen = {one["metadata"]["name"]: one["spec"]["frozen"] for one in cluster.revisions(namespace)}
    assert frozen[first] == {"persona/system": "You are a cat."}
    assert frozen[second] == {"persona/system": "You are a dog."}


def test_the_namespaces_key_is_made_for_its_uid_and_made_again_where_it_was_changed(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    operator = cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    revision = newest(cluster, namespace, 1)
    uid = cluster.api.get("namespace", namespace)["metadata"]["uid"]
    key = base64.b64encode(namespace_key(ATTESTATION_ROOT, uid)).decode()
    assert cluster.api.get("secret", LINK_SECRET, "-n", namespace)["data"] == {LINK_SECRET_KEY: key}
    assert operator.stop() == 0
    forged = json.dumps({"data": {LINK_SECRET_KEY: base64.b64encode(bytes(32)).decode()}})
    cluster.api.kubectl("patch", "secret", LINK_SECRET, "-n", namespace, "--type=merge", f"-p={forged}")
    cluster.operator()

    def mended() -> bool:
        return bool(cluster.api.get("secret", LINK_SECRET, "-n", namespace)["data"] == {LINK_SECRET_KEY: key})

    eventually(mended, "the key is made again")
    # Whatever changes in the namespace is a reason to look; here that its pods, without the Secret, do not start.
    cluster.api.kubectl("delete", "secret", LINK_SECRET, "-n", namespace)

    def made_again() -> bool:
        cluster.count_ready(namespace, revision, pods=1 + int(time.time()) % 2)
        return cluster.api.get("secret", LINK_SECRET, "-n", namespace) is not None

    eventually(made_again, "it is made again", seconds=45)


def test_pods_learn_the_gateways_next_key_and_are_not_touched(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    revision = newest(cluster, namespace, 1)

    def told() -> str:
        return str(cluster.api.get("configmap", PLATFORM_KEYS, "-n", namespace)["data"][PLATFORM_KEYS_ENTRY])

    assert told() == cluster.key
    generation = cluster.api.get("deployment", revision, "-n", namespace)["metadata"]["generation"]
    following = cluster.trust("next")
    eventually(lambda: told() == f"{cluster.key}\n{following}", "both keys are told")
    assert cluster.api.get("deployment", revision, "-n", namespace)["metadata"]["generation"] == generation


def test_of_secrets_and_config_maps_the_operator_makes_its_own_by_name_only(cluster: Cluster) -> None:
    """By the chart's RBAC and a server-side apply, which is how `create` comes to be bound to a name."""
    namespace = cluster.tenant()

    def apply(kind: str, name: str) -> str:
        made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        as_operator = ("--as", ACCOUNT, "apply", "--server-side", "-f", "-")
        return cluster.api.kubectl(*as_operator, stdin=yaml.safe_dump(made)).stdout

    for kind, ours in (("Secret", LINK_SECRET), ("ConfigMap", PLATFORM_KEYS)):
        assert ours in apply(kind, ours)
        with pytest.raises(AssertionError, match="forbidden"):
            apply(kind, "another")
    with pytest.raises(AssertionError, match="forbidden"):
        cluster.api.kubectl("--as", ACCOUNT, "get", "secret", "another", "-n", namespace)
    with pytest.raises(AssertionError, match="forbidden"):
        cluster.api.kubectl("--as", ACCOUNT, "get", "secrets", "-n", namespace)
    with pytest.raises(AssertionError, match="forbidden"):
        cluster.api.kubectl("--as", ACCOUNT, "delete", "secret", LINK_SECRET, "-n", namespace)


def test_a_namespace_that_is_no_tenants_is_left_alone(cluster: Cluster) -> None:
    other = cluster.api.namespace("nobody")
    namespace = cluster.tenant()
    operator = cluster.operator()
    applied(cluster, other, role(other, "You are a cat."))
    applied(cluster, namespace, role(namespace, "You are a cat."))
    newest(cluster, namespace, 1)
    time.sleep(3)
    # Its status it may not write there, and tries no more than that.
    assert {(write.resource, write.subresource, write.code) for write in writes(cluster, other)} <= {
        ("hostedroles", "status", 403)
    }
    assert len(writes(cluster, other)) <= 2
    assert operator.alive()


@pytest.mark.parametrize("refers", [False, True], ids=["writes", "config-maps"])
def test_a_label_without_rights_is_one_clear_line_and_a_number(cluster: Cluster, refers: bool) -> None:
    namespace = cluster.api.namespace("labelled", {TENANT: "yes"})
    operator = cluster.operator()
    cat = role(namespace, "You are a cat.")
    if refers:
        cat["spec"]["template"] = {"personaFrom": {"configMapRef": {"name": "words"}}}
        words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"system": "Meow."}}
        applied(cluster, namespace, words)
    applied(cluster, namespace, cat, {**cat, "metadata": {**cat["metadata"], "name": "dog"}})
    line = f"rolehost tenants add {namespace}"
    eventually(lambda: operator.says(line), "the refusal is told")
    eventually(lambda: operator.metric("rolehost_operator_namespaces_without_rights") >= 1, "and counted")
    cluster.api.apply(cluster.rights(namespace))
    newest(cluster, namespace, 1)
    eventually(
        lambda: operator.says(f"namespace {namespace}: this operator has its rights there now"), "and taken back"
    )
    assert operator.log.read_text().count(line) == 1


def test_without_gvisor_there_is_no_pod(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    cluster.api.kubectl("delete", "runtimeclass", "gvisor")
    try:
        cluster.operator()
        applied(cluster, namespace, role(namespace, "You are a cat."))
        eventually(lambda: cluster.reason(namespace, "cat") == "SandboxUnavailable", "it is told")
        assert cluster.api.items("deployments", "-n", namespace) == []
    finally:
        runtime_class = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runsc"}
        cluster.api.apply({**runtime_class, "metadata": {"name": "gvisor"}})
    newest(cluster, namespace, 1)


def test_restricted_pod_security_admits_the_pods(cluster: Cluster) -> None:
    """The pod of the Deployment, created as the ReplicaSet controller would, in an enforcing namespace."""
    namespace = cluster.tenant()
    cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    name = newest(cluster, namespace, 1)
    template = cluster.api.get("deployment", name, "-n", namespace)["spec"]["template"]
    cluster.api.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "one"},
        "spec": template["spec"],
    }
    cluster.api.kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(pod))
    loose = {**pod, "metadata": {"name": "two"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.api.kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(loose))


def test_plan_shows_what_apply_would_make() -> None:
    manifest = yaml.safe_dump(role("acme", "You are a cat."))
    done = subprocess.run(
        [sys.executable, "-m", "rolehost.cli", "plan", "-"],
        input=manifest,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = [one["kind"] for one in yaml.safe_load_all(done.stdout)]
    guards = ["NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap", "PodDisruptionBudget"]
    assert kinds == [*guards, "RoleRevision", "Deployment"]
