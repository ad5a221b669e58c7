"""A tenant who may do everything in its namespace, and still makes nothing that gateways take for a sandbox."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.cluster.common import ClusterError
from tests.cluster.testing import PLATFORM, Cluster, Object, Tenant, until

LOGIC = "from rolehost import Role\ntarget = Role('target')\n"
FORGER = """
import socket
server = socket.create_server(("0.0.0.0", 7420))
print("Starting gVisor...", flush=True)
while True:
    connection, _ = server.accept()
    print("dialled", flush=True)
    connection.close()
"""
KNOCK = "import socket; socket.create_connection(('127.0.0.1', 7420), 5)"


@dataclass(frozen=True)
class Admin:
    """The tenant's ServiceAccount with ClusterRole `admin` there, and what a tenant gets of ours."""

    cluster: Cluster
    namespace: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:dev"

    def kubectl(self, *argv: str, feed: Object | None = None) -> str:
        text = None if feed is None else json.dumps(feed)
        return self.cluster.kubectl(*argv, "-n", self.namespace, "--as", self.user, feed=text)

    def denied(self, *argv: str, feed: Object | None = None) -> str:
        with pytest.raises(ClusterError) as raised:
            self.kubectl(*argv, feed=feed)
        assert "ValidatingAdmissionPolicy" in str(raised.value), "by admission, for RBAC allows it"
        return str(raised.value)


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("forging") as made:
        rbac = "rbac.authorization.k8s.io"
        rules = [{"apiGroups": ["rolehost.io"], "resources": ["hostedroles", "hostedrolerevisions"], "verbs": ["*"]}]
        meta: Object = {"name": "dev", "namespace": made.name}
        bindings: list[Object] = [
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": {**meta, "name": f"dev-{kind.lower()}"},
                "roleRef": {"apiGroup": rbac, "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", **meta}],
            }
            for kind, name in (("ClusterRole", "admin"), ("Role", "dev"))
        ]
        cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
            *bindings,
        )
        made.apply_role("target", logic=LOGIC)
        made.wait_ready("target")
        yield made


@pytest.fixture(scope="module")
def admin(cluster: Cluster, tenant: Tenant) -> Admin:
    return Admin(cluster, tenant.name)


def copied(cluster: Cluster, kind: str, tenant: Tenant, name: str) -> Object:
    """The platform's own object, as a tenant can read it, under another name and nobody's."""
    found = cluster.get(kind, "-n", tenant.name, "-l", "rolehost.io/role=target")["items"][0]
    meta = {"name": name, "namespace": tenant.name, "labels": found["metadata"]["labels"]}
    spec = {key: value for key, value in found["spec"].items() if key != "nodeName"}
    api = "v1" if kind == "pods" else "apps/v1"
    kinds = {"pods": "Pod", "replicasets": "ReplicaSet", "deployments": "Deployment"}
    return {"apiVersion": api, "kind": kinds[kind], "metadata": meta, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pods", "make a Role, and the operator makes its pods"),
        ("replicasets", "make a Role, and the operator makes its Deployment"),
        ("deployments", "make or change the Role"),
    ],
)
def test_a_copy_of_what_the_platform_made_is_denied(
    cluster: Cluster, tenant: Tenant, admin: Admin, kind: str, words: str
) -> None:
    """To the letter, but for its name: labels, ServiceAccount, image, RuntimeClass."""
    assert words in admin.denied("create", "-f", "-", feed=copied(cluster, kind, tenant, "forged"))


def test_a_role_of_the_tenants_becomes_ready(cluster: Cluster, tenant: Tenant, admin: Admin) -> None:
    role = {
        "apiVersion": "rolehost.io/v1alpha1",
        "kind": "Role",
        "metadata": {"name": "honest", "namespace": tenant.name},
        "spec": {"template": {"persona": {"system": "You are honest."}}},
    }
    admin.kubectl("apply", "-f", "-", feed=role)
    tenant.wait_ready("honest")
    message = cluster.wait_condition("rhr", "honest", tenant.name, "SandboxVerified", "True")
    address = cluster.get("service", "rolehost-gateway", "-n", PLATFORM)["spec"]["clusterIP"]
    assert "proved by Kubernetes: RuntimeClass gvisor" in message
    assert f"not even to {address}:8080 and {address}:8084, where the gateways listen" in message
    assert cluster.connects(address, 8080), "and they do"
    reports = [pod for pod in cluster.observed() if pod["role"] == "honest" and pod["namespace"] == tenant.name]
    assert any(report.get("probe") for report in reports)
    for report in reports:
        assert all(report["host"].values())
        assert len(report["host"]) == 5
        assert "probe" not in report or f"{address}:8080" in report["probe"]["tried"]


def test_labels_that_are_added_later_are_denied(cluster: Cluster, tenant: Tenant, admin: Admin) -> None:
    web = {
        **copied(cluster, "deployments", tenant, "web"),
        "metadata": {"name": "web", "namespace": tenant.name, "labels": {"app": "web"}},
    }
    web["spec"]["selector"] = {"matchLabels": {"app": "web"}}
    web["spec"]["template"]["metadata"] = {"labels": {"app": "web"}}
    web["spec"]["template"]["spec"]["serviceAccountName"] = web["spec"]["template"]["spec"]["serviceAccount"] = (
        "default"
    )
    admin.kubectl("create", "-f", "-", feed=web)
    pod = until(
        lambda: next(iter(cluster.get("pods", "-n", tenant.name, "-l", "app=web")["items"]), None), 30, lambda: "a pod"
    )
    mark = "rolehost.io/revision=target-1"
    assert "no other pod gets them" in admin.denied("label", "pod", pod["metadata"]["name"], mark)
    [owner] = pod["metadata"]["ownerReferences"]
    assert "no other ReplicaSet gets them" in admin.denied("label", "replicaset", owner["name"], mark)
    assert "make or change the Role" in admin.denied("label", "deployment", "web", mark)
    admin.kubectl("delete", "deployment", "web")


def test_a_sandbox_pod_cannot_be_taken_out_of_its_network_policy(
    cluster: Cluster, tenant: Tenant, admin: Admin
) -> None:
    [pod, *_] = cluster.pods(tenant.name, role="target")
    assert "has its labels from when it is made" in admin.denied("label", "pod", pod, "app.kubernetes.io/component-")
    assert "kept by the operator" in admin.denied("delete", "networkpolicy", "rolehost-sandbox")


def test_revisions_are_the_operators(cluster: Cluster, tenant: Tenant, admin: Admin) -> None:
    name = cluster.get("rhr", "target", "-n", tenant.name)["status"]["stableRevision"]
    for argv in (("annotate", "rhv", name, "mine=yes"), ("delete", "rhv", name)):
        assert "change or delete the Role" in admin.denied(*argv)


@contextmanager
def without_policies(cluster: Cluster) -> Iterator[None]:
    """So that a forged pod can be there at all: what the gateway and the operator make of one is the second wall."""
    kind, selector = "validatingadmissionpolicybindings", ("-l", "app.kubernetes.io/component=admission")
    kept = cluster.get(kind, *selector)["items"]
    assert kept
    for one in kept:
        one["metadata"] = {
            key: one["metadata"][key] for key in ("name", "labels", "annotations") if key in one["metadata"]
        }
    cluster.kubectl("delete", kind, *selector)
    try:
        yield
    finally:
        cluster.apply(*kept)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("runtime", ["runc", "gvisor"])
def test_a_forged_pod_is_not_verified_and_gets_no_bind(
    cluster: Cluster, tenant: Tenant, admin: Admin, runtime: str
) -> None:
    """It has our labels, account and image and prints gVisor's banner; under gVisor, it even is under gVisor."""
    name = f"forged-{runtime}"
    forged = copied(cluster, "pods", tenant, name)
    # Of a revision that has no pod of its own: nothing else could verify it.
    forged["metadata"]["labels"] |= {"rolehost.io/revision": "target-0000000000"}
    [container] = forged["spec"]["containers"]
    container["command"] = ["python3", "-c", FORGER]
    for probe in ("readinessProbe", "livenessProbe"):
        container.pop(probe, None)
    if runtime == "runc":
        for key in ("runtimeClassName", "overhead"):
            forged["spec"].pop(key, None)
    with without_policies(cluster):
        until(lambda: _created(admin, forged), 60, lambda: "the policies are out of force")
        until(lambda: "Starting gVisor" in _said(cluster, tenant, name) or None, 60, lambda: f"{name} listens")

        def stranger() -> Object | None:
            return next((pod for pod in cluster.observed() if pod["name"] == name), None)

        report = until(stranger, 30, lambda: "the gateway reports the pod")
        assert report["host"].get("runtime", False) is (runtime == "gvisor")
        assert report["host"].get("owned", False) is False
        # Time enough for a Role to be made, dialled and bound is time enough to be dialled.
        tenant.apply_role(f"after-{runtime}", logic=LOGIC)
        tenant.wait_ready(f"after-{runtime}")
        again = stranger()
        assert again is not None
        assert "probe" not in again
        assert not again.get("loaded", False)
        assert "dialled" not in _said(cluster, tenant, name)
        cluster.kubectl("exec", "-n", tenant.name, name, "--", "python3", "-c", KNOCK)
        until(lambda: "dialled" in _said(cluster, tenant, name) or None, 30, lambda: "the control: it would say so")
        cluster.kubectl("delete", "pod", name, "-n", tenant.name, "--force", "--grace-period=0")
    words = re.compile("make a Role, and the operator makes its pods")
    until(lambda: words.search(_refusal(admin, forged)), 60, lambda: "the policies are in force again")


def _created(admin: Admin, one: Object) -> bool | None:
    return None if _refusal(admin, one, keep=True) else True


def _refusal(admin: Admin, one: Object, *, keep: bool = False) -> str:
    try:
        admin.kubectl("create", "-f", "-", *([] if keep else ["--dry-run=server"]), feed=one)
    except ClusterError as error:
        return str(error)
    return ""


def _said(cluster: Cluster, tenant: Tenant, pod: str) -> str:
    try:
        return cluster.kubectl("logs", "-n", tenant.name, pod)
    except ClusterError:
        return ""  # it has not started yet
