"""`rolehost doctor` on the real cluster: all is well, then one thing after another is not, and each is found."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cluster.common import REPOSITORY
from tests.cluster.namespace import Process
from tests.cluster.testing import PLATFORM, Cluster, until
from tests.support.proof import keep

from rolehost_api.names import KEYS, OPERATOR_WRITER

Finding = dict[str, str]
AS_ADMIN = 'REDISCLI_AUTH="$REDIS_ADMIN" redis-cli --user admin -e config set appendfsync "$0"'
REDIS = ("exec", "-n", PLATFORM, "rolehost-redis-0", "--", "sh", "-c", AS_ADMIN)
CACHED_SECONDS = 5.5
"""The gateway asks Redis no more often than that."""


def environment(cluster: Cluster, *, url: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
    where = {"ROLEHOST_URL": f"http://{cluster.gateway}"} if url else {}
    return {**kept, "KUBECONFIG": str(cluster.where.kubeconfig), **where}


def doctor(cluster: Cluster, *more: str, url: bool = True) -> tuple[int, dict[str, Finding], float]:
    """Exit status, findings by their checks, and how long it took by its own word."""
    done = subprocess.run(
        [sys.executable, "-m", "rolehost.cli", "doctor", "-o", "json", *more],
        cwd=REPOSITORY,
        env=environment(cluster, url=url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    print(
        *(f"{one['state']} {one['check']}: {one['what']}" for one in told["findings"] if one["state"] != "ok"), sep="\n"
    )
    return done.returncode, {one["check"]: one for one in told["findings"]}, told["seconds"]


def failed(found: dict[str, Finding]) -> set[str]:
    return {check for check, one in found.items() if one["state"] == "FAIL"}


def left(cluster: Cluster) -> list[str]:
    """What of the doctor's is still there: pods on their way out are not."""
    items = cluster.get("pods,networkpolicies", "-n", PLATFORM, "-l", "app.kubernetes.io/name=rolehost-doctor")["items"]
    keys = cluster.get("configmap", KEYS, "-n", PLATFORM).get("data") or {}
    return [one["metadata"]["name"] for one in items if "deletionTimestamp" not in one["metadata"]] + [
        key_id for key_id, entry in keys.items() if json.loads(entry).get("by") == "doctor"
    ]


@pytest.fixture(scope="module", autouse=True)
def _tenant(cluster: Cluster) -> Iterator[None]:
    """One at least, in whose name a gateway can be asked."""
    with cluster.tenant("default"):
        yield


@pytest.mark.parametrize("url", [True, False], ids=["by-url", "by-port-forward"])
def test_all_is_well(cluster: Cluster, url: bool) -> None:
    code, found, took = doctor(cluster, url=url)
    print(f"rolehost doctor took {took} s")
    keep(f"doctor-{'url' if url else 'port-forward'}", {"seconds": took, "checks": len(found)})
    assert {check: (one["state"], one["what"]) for check, one in found.items() if one["state"] != "ok"} == {}
    assert code == 0
    expected = {"kubernetes", "crds", "runtimeclass", "gateway", "operator", "upload", "redis", "lease", "admission"}
    assert found.keys() == expected | {
        "tenants",
        "answers",
        "durability",
        "archive",
        "versions",
        "clocks",
        "gvisor",
        "network",
    }
    assert "node " in found["clocks"]["what"]
    if not url:
        assert "port-forward" in found["answers"]["what"]
    assert left(cluster) == []


def test_without_the_runtime_class(cluster: Cluster) -> None:
    with cluster.without_runtime_class():
        code, found, _ = doctor(cluster)
    assert code == 1
    assert failed(found) == {"runtimeclass"}
    assert found["gvisor"]["state"] == "skipped"
    assert "runtimeClass.create=true" in found["runtimeclass"]["fix"]


def test_with_nobody_enforcing_policies_for_new_pods(cluster: Cluster) -> None:
    """The test cluster's enforcer fails closed: a new pod is cut off, and the control says that nothing is proved."""
    enforcer = Process.load(cluster.where.run / "enforcer.pid")
    if enforcer is None:
        pytest.skip("this cluster's network plugin enforces by itself")
    enforcer.signal(signal.SIGSTOP)
    try:
        code, found, _ = doctor(cluster)
    finally:
        enforcer.signal(signal.SIGCONT)
    assert code == 1
    assert failed(found) == {"network"}
    assert "nothing is proved" in found["network"]["what"]


@contextmanager
def fsync(cluster: Cluster, how: str) -> Iterator[None]:
    cluster.kubectl(*REDIS, how)
    try:
        time.sleep(CACHED_SECONDS)
        yield
    finally:
        cluster.kubectl(*REDIS, "always")
        time.sleep(CACHED_SECONDS)


def test_a_redis_that_acknowledges_before_it_wrote(cluster: Cluster) -> None:
    with fsync(cluster, "everysec"):
        code, found, _ = doctor(cluster, "--no-pods")
    assert code == 1
    assert failed(found) == {"durability"}
    assert "appendfsync everysec" in found["durability"]["what"]


def test_without_an_operator_nobody_leads(cluster: Cluster) -> None:
    with cluster.scaled_to_zero("deployment/rolehost-operator"):
        code, found, _ = doctor(cluster, "--no-pods")
    assert code == 1
    assert failed(found) == {"operator", "lease"}
    assert "--replicas=1" in found["operator"]["fix"]

    def leads() -> bool | None:
        return doctor(cluster, "--no-pods")[1]["lease"]["state"] == "ok" or None

    until(leads, 60, lambda: "an operator leads again")


def test_a_tenant_without_the_operators_rights(cluster: Cluster) -> None:
    with cluster.tenant("unbound"):
        cluster.kubectl("delete", "rolebinding", OPERATOR_WRITER, "-n", "unbound")
        _, found, _ = doctor(cluster, "--no-pods")
        assert failed(found) == {"tenants"}
        assert found["tenants"]["fix"] == "rolehost tenants add unbound"
        cluster.rolehost("tenants", "add", "unbound")
        assert failed(doctor(cluster, "--no-pods")[1]) == set()


def test_whoever_stops_it_leaves_nothing_running(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "rolehost.cli", "doctor"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(cluster, url=True), stdout=subprocess.PIPE, text=True
    )
    until(lambda: len(left(cluster)) >= 4 or None, 30, lambda: "pods and policies of the doctor's")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    assert process.stdout is not None
    process.stdout.close()
    until(lambda: left(cluster) == [] or None, 10, lambda: f"nothing left: {left(cluster)}")
