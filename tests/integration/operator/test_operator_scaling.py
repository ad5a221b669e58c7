"""Pods by sessions, evictions by a budget, upgrades by turns: against a real apiserver, its controllers played by hand."""

import time
from typing import Any

import pytest
from tests.integration.operator.conftest import Cluster, eventually
from tests.integration.operator.test_operator_process import applied, newest, role, serve, writes

from rolehost_api.crd.kinds import KINDS
from rolehost_api.names import CONTRACT, FIELD_MANAGER, GROUP, REPLICAS, REPLICAS_MANAGER, ROLE, RUNTIME_DRIFT
from rolehost_api.observed import RevisionReport


def replicas(cluster: Cluster, namespace: str, name: str) -> int:
    return int(cluster.api.get("deployment", name, "-n", namespace)["spec"]["replicas"])


def sessions(cluster: Cluster, namespace: str, revision: str, count: int) -> None:
    cluster.gateway.say(sessions=RevisionReport(namespace=namespace, role="cat", revision=revision, sessions=count))


def managers_of_replicas(cluster: Cluster, namespace: str, name: str) -> set[str]:
    shown = cluster.api.get("deployment", name, "-n", namespace, "--show-managed-fields")
    fields = shown["metadata"]["managedFields"]
    return {one["manager"] for one in fields if "f:replicas" in one["fieldsV1"].get("f:spec", {})}


# ── replicas ────────────────────────────────────────────────────────────────────────


def test_sessions_bring_pods_by_one_write_and_an_autoscaler_takes_over(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    name = newest(cluster, namespace, 1)
    serve(cluster, namespace, name)
    eventually(lambda: cluster.reason(namespace, "cat") == "Serving", "Ready")
    before = len(writes(cluster, namespace))
    for count in (40, 70, 100):
        sessions(cluster, namespace, name, count)
    eventually(lambda: replicas(cluster, namespace, name) == 4, "a pod for every 32 sessions")
    made = [write.resource for write in writes(cluster, namespace)[before:]]
    assert set(made) == {"deployments"}
    assert len(made) <= 3, "a write for a number of pods, and none for a session"

    # Opted out: the number stays as it was, an autoscaler's is not touched, and sessions change nothing.
    annotated = role(namespace, "You are a cat.")
    annotated["metadata"]["annotations"] = {REPLICAS: "External"}
    applied(cluster, namespace, annotated)
    eventually(
        lambda: managers_of_replicas(cluster, namespace, name) == {REPLICAS_MANAGER}, "the operator let the number go"
    )
    assert replicas(cluster, namespace, name) == 4
    cluster.api.kubectl("scale", "deployment", name, "-n", namespace, "--replicas=7")
    sessions(cluster, namespace, name, 320)
    count = len(writes(cluster, namespace))
    time.sleep(8)
    assert len(writes(cluster, namespace)) == count
    assert replicas(cluster, namespace, name) == 7

    # And back: the operator counts again.
    applied(cluster, namespace, role(namespace, "You are a cat."))
    eventually(lambda: replicas(cluster, namespace, name) == 10, "320 sessions, ten pods")
    assert FIELD_MANAGER in managers_of_replicas(cluster, namespace, name)


# ── the budget ──────────────────────────────────────────────────────────────────────


def test_the_disruption_budget_is_kept(cluster: Cluster) -> None:
    namespace = cluster.tenant()
    cluster.operator()
    applied(cluster, namespace, role(namespace, "You are a cat."))
    newest(cluster, namespace, 1)

    def spec() -> Any:
        return (cluster.api.get("pdb", "rolehost-sandbox", "-n", namespace) or {}).get("spec")

    wanted = {
        "selector": {"matchLabels": {"app.kubernetes.io/component": "sandbox"}},
        "maxUnavailable": "10%",
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert spec() == wanted
    cluster.api.kubectl("patch", "pdb", "rolehost-sandbox", "-n", namespace, "-p", '{"spec":{"maxUnavailable":0}}')
    eventually(lambda: spec() == wanted, "a hand on it is undone")
    cluster.api.kubectl("delete", "pdb", "rolehost-sandbox", "-n", namespace)
    eventually(lambda: spec() == wanted, "it is made anew")


# ── the wave ────────────────────────────────────────────────────────────────────────

ROLES = [f"cat-{number:02}" for number in range(20)]


class Fleet:
    """Twenty Roles of one revision each, all serving."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.namespace = cluster.tenant()

    def settle(self, *names: str) -> None:
        for name in names:
            self.cluster.controller_says(self.namespace, name)

    def images(self) -> dict[str, str]:
        found = self.cluster.api.items("deployments", "-n", self.namespace)
        return {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}

    def of(self, image: str) -> list[str]:
        return sorted(name for name, runs in self.images().items() if runs == image)

    def edited_while_it_waits(self) -> None:
        """What a tenant decides takes effect; and its Deployment's pod template is byte for byte the one that ran."""
        name = self.of("sandbox:1")[0]
        before = self.cluster.api.get("deployment", name, "-n", self.namespace)
        edited = role(self.namespace, "You are a cat.")
        edited["metadata"]["name"] = before["metadata"]["labels"][ROLE]
        edited["spec"]["scaling"] = {"minReplicas": 2}
        applied(self.cluster, self.namespace, edited)
        eventually(lambda: replicas(self.cluster, self.namespace, name) == 2, "two pods of it")
        after = self.cluster.api.get("deployment", name, "-n", self.namespace)
        assert after["spec"]["template"] == before["spec"]["template"]
        self.settle(name)

    def drifting(self) -> dict[str, str]:
        found = self.cluster.api.items("rhr", "-n", self.namespace)
        told = [(one, condition) for one in found for condition in one.get("status", {}).get("conditions", [])]
        return {
            one["metadata"]["name"]: condition["reason"]
            for one, condition in told
            if condition["type"] == RUNTIME_DRIFT
        }


@pytest.mark.timeout(300)
def test_an_upgrade_of_twenty_goes_two_by_two_stops_where_pods_fail_and_goes_on(cluster: Cluster) -> None:
    cluster.empty()
    fleet = Fleet(cluster)
    first = cluster.operator()
    one = role(fleet.namespace, "You are a cat.")
    applied(cluster, fleet.namespace, *({**one, "metadata": {**one["metadata"], "name": name}} for name in ROLES))
    eventually(lambda: len(fleet.of("sandbox:1")) == 20, "twenty Deployments", seconds=60)
    fleet.settle(*fleet.images())
    assert first.stop() == 0

    second = cluster.operator("--sandbox-image", "sandbox:2")
    done: set[str] = set()
    while len(done) < 20:
        eventually(lambda: set(fleet.of("sandbox:2")) - done, "the next ones", seconds=40)
        rolling = set(fleet.of("sandbox:2")) - done
        assert len(rolling) <= 2, "10 % of 20"
        if not done:
            time.sleep(5)
            rolling = set(fleet.of("sandbox:2"))
            assert len(rolling) == 2, "and no more while they roll"
            eventually(lambda: set(fleet.drifting().values()) == {"AwaitingTurn"}, "who waits says so")
            assert len(fleet.drifting()) == 18
            fleet.edited_while_it_waits()
        fleet.settle(*rolling)
        done.update(rolling)
    eventually(lambda: fleet.drifting() == {}, "nobody drifts any more")
    eventually(lambda: second.metric("rolehost_operator_upgrade_waiting") == 0, "nor waits")
    assert second.stop() == 0

    # The next image is bad.
    third = cluster.operator("--sandbox-image", "sandbox:3")
    eventually(lambda: len(fleet.of("sandbox:3")) == 2, "the first two", seconds=40)
    bad, good = fleet.of("sandbox:3")
    gave_up = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    cluster.controller_says(fleet.namespace, bad, old=1, new=1, readyReplicas=1, conditions=[gave_up])
    fleet.settle(good)
    eventually(lambda: third.metric("rolehost_operator_upgrade_halted") == 1, "it stops")
    eventually(lambda: sorted(set(fleet.drifting().values())) == ["UpgradeHalted", "UpgradeStuck"], "and all are told")
    time.sleep(4)
    assert fleet.of("sandbox:3") == [bad, good]
    assert third.stop() == 0

    # A better one: what is stuck moves on too, and tenants' own changes never had to wait.
    fourth = cluster.operator("--sandbox-image", "sandbox:4", "--upgrade-percent", "100")
    eventually(lambda: len(fleet.of("sandbox:4")) == 20, "all", seconds=60)
    eventually(lambda: fourth.metric("rolehost_operator_upgrade_halted") == 0, "it is not stopped any more")
    fleet.settle(*fleet.images())
    eventually(lambda: fleet.drifting() == {}, "nobody drifts any more")


# ── the contract ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", ["0", "-"], ids=["older", "none"])
def test_an_operator_does_not_act_on_older_definitions(cluster: Cluster, number: str) -> None:
    definition = f"crd/{KINDS[0].plural}.{GROUP}"
    kept = cluster.api.get(definition)["metadata"]["annotations"][CONTRACT]
    cluster.api.kubectl(
        "annotate", "--overwrite", definition, f"{CONTRACT}-" if number == "-" else f"{CONTRACT}={number}"
    )
    try:
        operator = cluster.operator()
        eventually(lambda: operator.says("templates/crds/hostedroles.yaml"), "which file brings the new ones")
        assert not operator.ready()
        assert not operator.says("this operator leads")
    finally:
        cluster.api.kubectl("annotate", "--overwrite", definition, f"{CONTRACT}={kept}")
    eventually(lambda: operator.says("this operator leads"), "it goes to work")
    assert operator.ready()


def test_newer_definitions_are_good_enough(cluster: Cluster) -> None:
    definition = f"crd/{KINDS[0].plural}.{GROUP}"
    kept = cluster.api.get(definition)["metadata"]["annotations"][CONTRACT]
    cluster.api.kubectl("annotate", "--overwrite", definition, f"{CONTRACT}=1000")
    try:
        operator = cluster.operator()
        eventually(lambda: operator.says("this operator leads"), "it goes to work")
    finally:
        cluster.api.kubectl("annotate", "--overwrite", definition, f"{CONTRACT}={kept}")
