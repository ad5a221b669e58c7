"""What tenants do, by mistake or not: F09, F11, F12, F14, F15."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.integration.faults.helpers import LEADS, create, deployment_of, events, merge, ready, role, serve
from tests.integration.operator.conftest import Cluster, eventually
from tests.support.faultproxy import FaultProxy

from rolehost_api.names import REVISION, ROLE, SANDBOX_POLICY, SANDBOX_SERVICE_ACCOUNT

Hand = Callable[[Cluster, str, str], None]


def refused(cluster: Cluster, manifest: dict[str, Any]) -> str:
    """What `kubectl create` says of a manifest that the apiserver must not take."""
    done = cluster.api.kubectl("create", "--validate=strict", "-f", "-", stdin=yaml.safe_dump(manifest), check=False)
    assert done.returncode != 0
    return str(done.stderr)


@pytest.mark.timeout(180)
def test_f09_a_role_deleted_while_the_operator_is_down_is_gone_and_stays_gone(
    cluster: Cluster, proxy: FaultProxy
) -> None:
    """F09: nothing of ours blocks the deletion (no finalizer), children carry their owner, nothing is made again."""
    namespace = cluster.tenant()
    first = cluster.operator()
    create(cluster.api, role(namespace))
    name = serve(cluster, namespace)
    ready(cluster, namespace)
    first.stop()
    uid = cluster.api.get("rhr", "cat", "-n", namespace)["metadata"]["uid"]
    cluster.api.kubectl("delete", "rhr", "cat", "-n", namespace, "--timeout=10s")
    [revision] = cluster.revisions(namespace)
    deployment = cluster.api.get("deployment", name, "-n", namespace)
    assert [owner["uid"] for owner in revision["metadata"]["ownerReferences"]] == [uid]
    assert [owner["uid"] for owner in deployment["metadata"]["ownerReferences"]] == [revision["metadata"]["uid"]]
    second = cluster.operator(kubeconfig=proxy.kubeconfig)
    eventually(lambda: second.says(LEADS), "the second leads", 40)
    time.sleep(2)
    assert proxy.writes(namespace) == []


def _sidecar(cluster: Cluster, namespace: str, name: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "mine", "image": "evil:1"}]}}}}
    cluster.api.kubectl("patch", "deployment", name, "-n", namespace, "--type=strategic", "-p", json.dumps(patch))


def _variable(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.api.kubectl("set", "env", f"deployment/{name}", "-n", namespace, "PYTHONSTARTUP=/tmp/x")


def _runc(cluster: Cluster, namespace: str, name: str) -> None:
    merge(cluster.api, "deployment", name, namespace, {"spec": {"template": {"spec": {"runtimeClassName": None}}}})


def _delete(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.api.kubectl("delete", "deployment", name, "-n", namespace)


def _way_out(cluster: Cluster, namespace: str, name: str) -> None:
    merge(cluster.api, "networkpolicy", SANDBOX_POLICY, namespace, {"spec": {"egress": [{}]}})


def _no_policy(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.api.kubectl("delete", "networkpolicy", SANDBOX_POLICY, "-n", namespace)


def _token(cluster: Cluster, namespace: str, name: str) -> None:
    merge(cluster.api, "serviceaccount", SANDBOX_SERVICE_ACCOUNT, namespace, {"automountServiceAccountToken": True})


def _no_account(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.api.kubectl("delete", "serviceaccount", SANDBOX_SERVICE_ACCOUNT, "-n", namespace)


HANDS: dict[str, tuple[Hand, ...]] = {
    "Deployment": (_sidecar, _variable, _runc, _delete),
    "NetworkPolicy": (_way_out, _no_policy),
    "ServiceAccount": (_token, _no_account),
}


def kept(cluster: Cluster, namespace: str, name: str) -> list[Any]:
    """What we keep there, without what the apiserver numbers."""
    deployment = cluster.api.get("deployment", name, "-n", namespace) or {}
    policy = cluster.api.get("networkpolicy", SANDBOX_POLICY, "-n", namespace) or {}
    account = cluster.api.get("serviceaccount", SANDBOX_SERVICE_ACCOUNT, "-n", namespace) or {}
    return [deployment.get("spec"), policy.get("spec"), account.get("automountServiceAccountToken")]


@pytest.mark.timeout(240)
def test_f11_what_a_tenant_changes_or_deletes_by_hand_is_put_back_and_told(cluster: Cluster, proxy: FaultProxy) -> None:
    """F11: ≤10 s each; one Event DriftCorrected per object in ten minutes, however often; no hot loop."""
    namespace = cluster.tenant()
    cluster.operator(kubeconfig=proxy.kubeconfig)
    create(cluster.api, role(namespace))
    name = serve(cluster, namespace)
    ready(cluster, namespace)
    before = kept(cluster, namespace, name)
    assert events(cluster, namespace, "DriftCorrected") == []
    for hands in HANDS.values():
        for hand in hands:
            hand(cluster, namespace, name)
            began = time.monotonic()
            eventually(lambda: kept(cluster, namespace, name) == before, f"{hand.__name__} is undone", 20)
            assert time.monotonic() - began <= 10, hand.__name__
    told = [f"Deployment {name}", f"NetworkPolicy {SANDBOX_POLICY}", f"ServiceAccount {SANDBOX_SERVICE_ACCOUNT}"]
    eventually(lambda: len(events(cluster, namespace, "DriftCorrected")) >= len(told), "it is told")
    quiet = time.monotonic()
    time.sleep(3)
    assert proxy.writes(namespace, since=quiet) == []
    messages = [one["message"] for one in events(cluster, namespace, "DriftCorrected")]
    assert sorted(messages) == [f"{what} was changed or deleted by hand; the operator put it back" for what in told]


def test_f12_a_text_that_is_too_long_is_refused_with_its_field(cluster: Cluster) -> None:
    """F12: at admission, before anything of it is stored; the field is named, and the text not repeated."""
    namespace = cluster.tenant()
    said = refused(cluster, role(namespace, system="x" * 300 * 1024))
    assert "spec.template.persona.system" in said
    assert "Too long" in said
    assert "xxxxxxxx" not in said
    assert cluster.api.items("rhr", "-n", namespace) == []


@pytest.mark.timeout(240)
def test_f14_names_that_are_the_same_or_cut_alike_never_meet(cluster: Cluster) -> None:
    """F14: one name in two namespaces, and two of the longest that differ only past where names are cut."""
    one, other = cluster.tenant(), cluster.tenant()
    longest = "a" * 62
    roles = [role(one, f"{longest}b"), role(one, f"{longest}c"), role(one), role(other)]
    cluster.operator()
    create(cluster.api, *roles)
    for manifest in roles:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        eventually(lambda: deployment_of(cluster, namespace, name), f"{name} runs", 60)  # noqa: B023
    made = [*cluster.api.items("deployments", "-n", one), *cluster.api.items("deployments", "-n", other)]
    names = [item["metadata"]["name"] for item in made]
    owners = [(item["metadata"]["namespace"], item["metadata"]["labels"][ROLE]) for item in made]
    assert sorted(owners) == sorted((item["metadata"]["namespace"], item["metadata"]["name"]) for item in roles)
    assert len(set(zip((owner[0] for owner in owners), names, strict=True))) == len(roles)
    assert all(len(name) <= 63 and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names)


def test_f14_a_name_of_253_characters_is_refused_with_the_reason(cluster: Cluster) -> None:
    """F14: a Role's name is a label's value on its pods, so it is a DNS label; what is none is never half taken."""
    namespace = cluster.tenant()
    for name in (".".join(["a" * 62] * 4) + ".b", "a" * 64, "a.b"):
        assert "a Role's name is a DNS label: at most 63 of a-z, 0-9 and '-'" in refused(cluster, role(namespace, name))
    assert cluster.api.items("rhr", "-n", namespace) == []


@pytest.mark.timeout(180)
def test_f14_odd_labels_of_a_role_stay_its_own(cluster: Cluster) -> None:
    """F14: what a tenant writes on its Role is no part of what we make; what is no label is refused."""
    namespace = cluster.tenant()
    cluster.operator()
    odd = role(namespace)
    odd["metadata"]["labels"] = {"team": "a" * 63, "example.com/x": ""}
    odd["metadata"]["annotations"] = {"note": "名前 🐈 \u202e"}
    create(cluster.api, odd)
    name = str(eventually(lambda: deployment_of(cluster, namespace), "it runs", 40))
    made = cluster.api.get("deployment", name, "-n", namespace)
    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert not {"team", "example.com/x"} & set(labels)
    assert "note" not in made["metadata"]["annotations"]
    bad = role(namespace, "dog")
    bad["metadata"]["labels"] = {"team": "名前"}
    assert "metadata.labels" in refused(cluster, bad)


@pytest.mark.timeout(180)
def test_f15_a_role_cannot_set_our_labels_on_pods_nor_widen_a_selector(cluster: Cluster) -> None:
    """F15: there is no field for pod labels, and those on the Role itself go nowhere."""
    namespace = cluster.tenant()
    cluster.operator()
    thief = role(namespace)
    thief["metadata"]["labels"] = {ROLE: "somebody", REVISION: "somebody-1", "app.kubernetes.io/component": "gateway"}
    create(cluster.api, thief)
    name = str(eventually(lambda: deployment_of(cluster, namespace), "it runs", 40))
    made = cluster.api.get("deployment", name, "-n", namespace)
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert (labels[ROLE], labels[REVISION], labels["app.kubernetes.io/component"]) == ("cat", name, "sandbox")
    assert made["spec"]["selector"] == {"matchLabels": {REVISION: name}}
    for field in ("labels", "annotations", "metadata", "podTemplate"):
        worse = role(namespace, "dog")
        worse["spec"]["template"][field] = {ROLE: "somebody"}
        assert f'unknown field "spec.template.{field}"' in refused(cluster, worse)
