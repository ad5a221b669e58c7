"""What code in a sandbox pod can reach: nothing. Tried from inside, by the pod's own Python."""

import json
from collections.abc import Iterator

import pytest
from tests.cluster.testing import Cluster, Tenant
from tests.support.proof import NUMBERS, keep

REACH = """
import json, socket, sys
reached = []
def tcp(host, port):
    try:
        with socket.create_connection((host, port), 1.5):
            reached.append(f"tcp {host}:{port}")
    except OSError:
        pass
def udp(host):
    query = "123401000001000000000000" "0a6b756265726e657465730764656661756c740373766307636c7573746572056c6f63616c0000010001"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1.5); s.sendto(bytes.fromhex(query), (host, 53)); s.recv(512); reached.append(f"udp {host}:53")
    except OSError:
        pass
def name(host):
    try:
        socket.getaddrinfo(host, 443); reached.append(f"dns {host}")
    except OSError:
        pass
for host, port in json.loads(sys.argv[1]):
    tcp(host, port)
udp("10.96.0.10"); udp("8.8.8.8")
name("kubernetes.default.svc.cluster.local"); name("example.com")
for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    try:
        socket.socket(family, kind, 1).close(); reached.append(f"raw {family.name}")
    except OSError:
        pass
print(json.dumps(reached))
"""

INSIDE = """
import json, os
def writes(path):
    try:
        with open(os.path.join(path, "probe"), "w") as f:
            f.write("x")
        os.remove(os.path.join(path, "probe"))
        return True
    except OSError:
        return False
print(json.dumps({
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "environment": sorted(os.environ),
    "writable": [p for p in ("/", "/etc", "/usr", "/opt", "/root", "/home", "/var", "/var/tmp", "/run", "/dev/shm", "/tmp") if writes(p)],
    "uid": os.getuid(),
    "sockets": [p for p in ("/run/containerd/containerd.sock", "/var/run/docker.sock", "/dev/kvm") if os.path.exists(p)],
}))
"""


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("isolation") as made:
        made.apply_role("prisoner", logic="from rolehost import Role\nprisoner = Role('prisoner')\n")
        made.wait_ready("prisoner")
        yield made


def _python(cluster: Cluster, tenant: Tenant, script: str, *args: str) -> object:
    pod = cluster.pods(tenant.name, role="prisoner")[0]
    return json.loads(cluster.kubectl("exec", "-n", tenant.name, pod, "--", "python3", "-c", script, *args))


def test_nothing_outside_answers(cluster: Cluster, tenant: Tenant) -> None:
    targets = [
        ("10.96.0.1", 443),
        ("169.254.169.254", 80),
        ("8.8.8.8", 53),
        ("1.1.1.1", 443),
        *cluster.node_targets(),
        *cluster.service_targets("rolehost-system"),
        *cluster.pod_targets("rolehost-system"),
        *cluster.pod_targets("default"),
    ]
    assert len(targets) > 10
    assert _python(cluster, tenant, REACH, json.dumps(targets)) == []


def test_the_same_targets_answer_outside_of_a_sandbox(cluster: Cluster) -> None:
    """The positive control: an empty list above means blocked, not broken."""
    for host, port in (("10.96.0.1", 443), *cluster.pod_targets("rolehost-system", component="redis")):
        assert cluster.connects(host, port), f"{host}:{port}"


def test_there_is_no_token_no_secret_and_only_tmp_to_write(cluster: Cluster, tenant: Tenant) -> None:
    seen = _python(cluster, tenant, INSIDE)
    assert isinstance(seen, dict)
    assert seen["token"] is False
    assert seen["writable"] == ["/tmp"]
    assert seen["uid"] != 0
    assert seen["sockets"] == []
    names = set(seen["environment"])
    # The apiserver's own address is put into every pod by Kubernetes; it leads nowhere from here.
    assert not {n for n in names if n.endswith("_SERVICE_HOST")} - {"KUBERNETES_SERVICE_HOST"}
    assert {n for n in names if n.startswith("ROLEHOST_")} <= {
        "ROLEHOST_POD_UID",
        "ROLEHOST_IDENTITY_DIR",
        "ROLEHOST_PLATFORM_KEYS_DIR",
        "ROLEHOST_PROBE_TARGETS",
        "ROLEHOST_DRAIN_SECONDS",
        "ROLEHOST_WORKER_MEMORY_MIB",
        "ROLEHOST_STATES_MIB",
    }


@pytest.mark.timeout(60 + 20 * NUMBERS.starts)
def test_egress_is_blocked_from_the_first_instant(cluster: Cluster, tenant: Tenant) -> None:
    """The agent's probe runs as the process starts; a start that reached anything says so in its report."""
    started = 0
    while started < NUMBERS.starts:
        for pod in cluster.pods(tenant.name, role="prisoner"):
            cluster.kubectl("delete", "pod", pod, "-n", tenant.name, "--wait=true", "--timeout=60s")
        cluster.kubectl(
            "rollout", "status", "deployment", "-n", tenant.name, "-l", "rolehost.io/role=prisoner", "--timeout=60s"
        )
        reports = [pod for pod in cluster.observed() if pod["namespace"] == tenant.name and pod.get("probe")]
        assert reports
        for report in reports:
            assert report["probe"]["gvisor"] is True
            assert report["probe"].get("reached", []) == []
            assert report["probe"]["tried"]
        started += 1
    keep("egress-first-instant", {"starts": started, "reached": 0})


def test_without_the_runtime_class_there_is_no_pod_and_never_runc(cluster: Cluster) -> None:
    with cluster.without_runtime_class(), cluster.tenant("no-gvisor") as made:
        made.apply_role("bare")
        cluster.wait_condition("rhr", "bare", "no-gvisor", "SandboxVerified", "False", reason="SandboxUnavailable")
        assert cluster.pods("no-gvisor", role="bare") == []
