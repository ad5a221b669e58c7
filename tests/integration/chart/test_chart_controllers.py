"""Kubernetes' own controllers under the chart's policies: what they do for the operator, and not for a tenant.

A real kube-controller-manager, with the ServiceAccounts that its controllers have in any
cluster. There is no kubelet, so no pod ever runs.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.chart.helm import Release
from tests.integration.chart.test_chart_admission import TEMPLATE, USERS, changed, ours_deployment, role_revision
from tests.support.acting import MASTERS, Door, Object, Somebody
from tests.support.apiserver import BINARIES, Processes

from rolehost.cli.tenants import onboarding
from rolehost_api import names
from rolehost_operator.desired.tenancy import network_policy, service_account
from rolehost_operator.platform import Platform

pytestmark = pytest.mark.timeout(240)

NAMESPACE = "controlled"
CONTROLLERS = (
    "deployment",
    "replicaset",
    "job",
    "garbage-collector",
    "namespace",
    "serviceaccount",
    "validatingadmissionpolicy-status",
)


def until(ask: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := ask()):
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def cluster(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    if not (BINARIES / "kube-controller-manager").is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no kube-controller-manager in {BINARIES}")
    release.upgrade("--set", "runtimeClass.create=true")
    release.server.apply(*onboarding(NAMESPACE, "rolehost-system"))
    processes = Processes(tmp_path_factory.mktemp("controllers"))
    processes.start(
        "kube-controller-manager",
        *(f"--kubeconfig={release.server.kubeconfig}", "--use-service-account-credentials", "--leader-elect=false"),
        *(f"--controllers={','.join(f'{name}-controller' for name in CONTROLLERS)}", "--secure-port=0"),
    )
    try:
        yield release
    finally:
        processes.stop()
        release.upgrade()


@pytest.fixture(scope="module")
def operator(cluster: Release) -> Iterator[Somebody]:
    door = Door(cluster.server)
    yield Somebody(door, USERS["operator"], (MASTERS,), kept=True)
    door.close()


def placed(one: Object) -> Object:
    return changed(one, "metadata", namespace=NAMESPACE)


def pods(cluster: Release, selector: str) -> list[Any]:
    return cluster.server.items("pods", "-n", NAMESPACE, "-l", selector)


@pytest.fixture(scope="module")
def role(cluster: Release, operator: Somebody) -> Object:
    """A Role with all that the operator makes for it; the Role's owner chain is real."""
    meta = {"name": "cat", "namespace": NAMESPACE}
    cluster.server.apply(
        {"apiVersion": names.API_VERSION, "kind": "Role", "metadata": meta, "spec": {"template": TEMPLATE}}
    )
    owner: Object = cluster.server.get("rhr", "cat", "-n", NAMESPACE)

    def owned(one: Object, by: Object) -> Object:
        reference = {key: by[key] for key in ("apiVersion", "kind")}
        reference |= {"name": by["metadata"]["name"], "uid": by["metadata"]["uid"], "controller": True}
        return changed(one, "metadata", ownerReferences=[reference])

    platform = Platform("rolehost-system", "rolehost-sandbox:0.1.0", "ws://gateway")
    for guard in (network_policy(NAMESPACE, platform), service_account(NAMESPACE)):
        cluster.server.kubectl("apply", "--as", USERS["operator"], "-f", "-", stdin=json.dumps(guard))
    revision = operator.create(owned(placed(role_revision()), owner))
    assert revision.good, revision.message
    made = operator.create(owned(placed(ours_deployment()), revision.body))
    assert made.good, made.message
    return owner


def test_kubernetes_finds_nothing_wrong_with_the_policies_expressions(cluster: Release) -> None:
    """Each is checked against the types of all that it may be asked about; a typo in a field's name shows here."""

    def checked() -> list[Any]:
        found = cluster.server.items("validatingadmissionpolicies", "-l", "app.kubernetes.io/component=admission")
        return found if found and all("observedGeneration" in one.get("status", {}) for one in found) else []

    for policy in until(checked, "all policies are checked"):
        assert policy["status"].get("typeChecking", {}).get("expressionWarnings", []) == [], policy["metadata"]["name"]


def test_the_operators_deployment_gets_its_pods(cluster: Release, role: Object) -> None:
    """Named and labelled as the gateway's check of the owner says."""
    [pod] = until(lambda: pods(cluster, f"{names.ROLE}=cat"), "a sandbox pod")
    labels = pod["metadata"]["labels"]
    [owner] = pod["metadata"]["ownerReferences"]
    assert owner["kind"] == "ReplicaSet"
    assert owner["controller"]
    assert owner["name"] == f"{labels[names.REVISION]}-{labels[names.POD_TEMPLATE_HASH]}"


def test_it_is_scaled_rolled_and_gets_fresh_pods(cluster: Release, operator: Somebody, role: Object) -> None:
    deployment = placed(ours_deployment())
    assert operator.patch(deployment, {"spec": {"replicas": 2}}).good
    before = until(lambda: len(found := pods(cluster, f"{names.ROLE}=cat")) == 2 and found, "two pods")
    cluster.server.kubectl(
        "delete", "pod", before[0]["metadata"]["name"], "-n", NAMESPACE, "--force", "--grace-period=0"
    )
    gone = before[0]["metadata"]["uid"]
    until(
        lambda: len(found := pods(cluster, f"{names.ROLE}=cat")) == 2 and gone not in str(found),
        "a fresh pod instead of the deleted one",
    )
    annotated = {"spec": {"template": {"metadata": {"annotations": {"rolled": "yes"}}}}}
    assert operator.patch(deployment, annotated).good
    sets = ("replicasets", "-n", NAMESPACE, "-l", f"{names.ROLE}=cat")
    until(lambda: len(cluster.server.items(*sets)) == 2, "a second ReplicaSet")


def test_a_job_with_our_labels_gets_no_pod(cluster: Release) -> None:
    spec = placed(ours_deployment())["spec"]["template"]["spec"]
    template = {"metadata": {"labels": {names.ROLE: "cat", names.REVISION: "cat-1"}}, "spec": {**spec, "restartPolicy": "Never"}}  # fmt: skip
    meta = {"name": "forged", "namespace": NAMESPACE}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
    cluster.server.kubectl("create", "-f", "-", stdin=json.dumps(job))

    def told() -> str:
        events = cluster.server.items("events", "-n", NAMESPACE, "--field-selector=involvedObject.name=forged")
        return " ".join(event["message"] for event in events)

    until(lambda: "make a Role, and the operator makes its pods" in told(), "the job's owner is told why")
    assert pods(cluster, "job-name=forged") == []


def test_what_a_role_made_goes_with_it(cluster: Release, role: Object) -> None:
    cluster.server.kubectl("delete", "rhr", "cat", "-n", NAMESPACE, "--wait=false")
    kinds = "rhv,deployments,replicasets"
    until(lambda: cluster.server.items(kinds, "-n", NAMESPACE) == [], "revision, Deployment and ReplicaSets are gone")


def test_a_tenants_namespace_can_be_deleted(cluster: Release, operator: Somebody) -> None:
    """With a revision and the operator's guards in it."""
    assert operator.create(placed(role_revision())).good
    cluster.server.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    until(lambda: cluster.server.get("namespace", NAMESPACE) is None, "the namespace is gone")
