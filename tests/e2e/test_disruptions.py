"""Everything of the platform restarts under people who are in the middle of a sentence.

What may happen to them is said per case: a gateway that leaves asks its clients to come
again (1012), and whoever is at a surviving one notices nothing; no answer that was given
is ever lost, doubled or out of order, and no plain request fails.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cluster.testing import PLATFORM, Cluster, Tenant, until
from tests.support.crowd import COUNTING, Crowd
from tests.support.proof import keep

RUN = secrets.token_hex(4)
PEOPLE = 12
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("crowded") as made:
        made.apply_role("crowd", logic=COUNTING)
        made.wait_ready("crowd")
        yield made


@pytest.fixture(scope="module")
def key(tenant: Tenant) -> str:
    return tenant.key("chat")


@contextmanager
def crowd(cluster: Cluster, key: str, case: str) -> Iterator[Crowd]:
    """People who talk for as long as the block runs; then the reckoning, kept under the case's name."""
    with Crowd(cluster.gateway, key, "crowd", PEOPLE, prefix=f"{case}-{RUN}") as talking:
        yield talking
    summary = talking.check()
    keep(f"disruption-{case}", summary)
    assert talking.failed_probes == [], summary


def gateways(cluster: Cluster) -> list[str]:
    pods = cluster.get("pods", "-n", PLATFORM, "-l", "app.kubernetes.io/component=gateway")["items"]
    return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def test_there_are_several_gateways(cluster: Cluster) -> None:
    assert len(gateways(cluster)) >= 2


def test_gateways_restart_one_after_the_other(cluster: Cluster, tenant: Tenant, key: str) -> None:
    with crowd(cluster, key, "gateways") as people:
        cluster.restart("deployment/rolehost-gateway", seconds=200)
    told = people.summary()
    assert told["cut"] == 0, told
    assert told["moved"] >= PEOPLE, told


def test_a_killed_gateway_takes_only_its_own_sockets(cluster: Cluster, tenant: Tenant, key: str) -> None:
    before = gateways(cluster)
    with crowd(cluster, key, "gateway-killed") as people:
        cluster.kubectl("delete", "pod", before[0], "-n", PLATFORM, "--grace-period=0", "--force", "--wait=false")
        people.until_all_said(3)
        until(lambda: len(gateways(cluster)) == len(before) or None, 60, lambda: "the gateway is replaced")
        cluster.kubectl("rollout", "status", "deployment/rolehost-gateway", "-n", PLATFORM, "--timeout=60s")
    assert people.summary()["cut"] < PEOPLE, "those at the other one keep their sockets"


def test_sandboxes_restart(cluster: Cluster, tenant: Tenant, key: str) -> None:
    """One after the other, by deleting them: a restart of their Deployment is the operator's alone to order."""
    with crowd(cluster, key, "sandboxes") as people:
        for pod in cluster.get("pods", "-n", tenant.name)["items"]:
            name, ready = pod["metadata"]["name"], len(ready_pods(cluster, tenant.name))
            cluster.kubectl("delete", "pod", name, "-n", tenant.name, "--wait=false")
            replaced(cluster, tenant.name, name, pod["metadata"]["uid"], ready)
    told = people.summary()
    assert (told["cut"], told["moved"]) == (0, 0), told


def test_the_operator_restarts(cluster: Cluster, tenant: Tenant, key: str) -> None:
    with crowd(cluster, key, "operator") as people:
        cluster.restart("deployment/rolehost-operator", seconds=120)
    told = people.summary()
    assert (told["cut"], told["moved"], told["told"]) == (0, 0, {}), told


def test_redis_restarts(cluster: Cluster, tenant: Tenant, key: str) -> None:
    with crowd(cluster, key, "redis") as people:
        cluster.kubectl("delete", "pod", "rolehost-redis-0", "-n", PLATFORM, "--wait=true", "--timeout=60s")
        cluster.kubectl("rollout", "status", "statefulset/rolehost-redis", "-n", PLATFORM, "--timeout=60s")
    told = people.summary()
    assert (told["cut"], told["moved"]) == (0, 0), told


@pytest.mark.timeout(600)
def test_every_pod_is_evicted_one_at_a_time(cluster: Cluster, tenant: Tenant, key: str) -> None:
    """As a node's drain does it, under the budgets. (`kubectl drain` itself needs a second node: not run here.)"""
    with crowd(cluster, key, "evictions") as people:
        for namespace in (PLATFORM, tenant.name):
            for pod in cluster.get("pods", "-n", namespace)["items"]:
                evict(cluster, namespace, pod["metadata"]["name"], pod["metadata"]["uid"])
                people.until_all_said(1)
    assert people.summary()["cut"] == 0, people.summary()


def evict(cluster: Cluster, namespace: str, pod: str, uid: str) -> None:
    """Evict a pod as soon as its budget allows, and wait until as many are Ready as before."""
    ready = len(ready_pods(cluster, namespace))
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }

    def allowed() -> bool | None:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        try:
            cluster.kubectl("create", "--raw", path, "-f", "-", feed=json.dumps(body))
        except Exception as error:
            if "disruption budget" in str(error):
                return None
            raise
        return True

    until(allowed, 60, lambda: f"the budget lets {pod} go")
    replaced(cluster, namespace, pod, uid, ready)


def replaced(cluster: Cluster, namespace: str, pod: str, uid: str, ready: int) -> None:
    """Wait until this pod is gone and as many are Ready again."""
    until(lambda: uid not in uids(cluster, namespace) or None, 180, lambda: f"{pod} goes")
    until(lambda: len(ready_pods(cluster, namespace)) >= ready or None, 120, lambda: f"{pod} is replaced")


def uids(cluster: Cluster, namespace: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in cluster.get("pods", "-n", namespace)["items"]]


def ready_pods(cluster: Cluster, namespace: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in cluster.get("pods", "-n", namespace)["items"]
        if "deletionTimestamp" not in pod["metadata"]
        and any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
    ]
