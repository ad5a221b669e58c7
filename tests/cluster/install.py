"""The platform on a running node: DNS, volumes, chart, the tenant `default` and a key for it."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from tests.cluster import node
from tests.cluster.common import REPOSITORY, ClusterError, Paths, call, say

HERE = Path(__file__).parent
PLATFORM = "rolehost-system"
CHART = "charts/rolehost"
CLAIMS = {"redis": "data-rolehost-redis-0", "upload": "rolehost-upload"}
WORKLOADS = (
    "statefulset/rolehost-redis",
    "deployment/rolehost-upload",
    "deployment/rolehost-gateway",
    "deployment/rolehost-operator",
)
GATEWAY_PORT = 8080
KEY_SECONDS = 15.0
"""In which the gateway has surely seen a new key."""
NEAR_PORT = 18080
"""Where the gateway is found on this machine, if that port is free."""


def dns(where: Paths) -> None:
    """CoreDNS, and wait until names resolve."""
    node.kubectl(where, "apply", "-f", str(HERE / "manifests/coredns.yaml"))
    rolled_out(where, "deployment/coredns", "kube-system", 60)


def tiny_model(where: Paths) -> None:
    """The server of the tiny model and the ModelBackend `tiny` that names it."""
    node.kubectl(where, "apply", "-f", str(HERE / "manifests/tinymodel.yaml"))
    rolled_out(where, "deployment/tinymodel", "models", 90)


def monitoring(where: Paths) -> None:
    """Prometheus with the platform's rules, Alertmanager and Jaeger, as the chart's values for this cluster name them."""
    rules = sorted((REPOSITORY / "dashboards/generated/rules").glob("*.yaml"))
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rules", "namespace": "monitoring"},
        "data": {file.name: file.read_text() for file in rules},
    }
    node.kubectl(where, "apply", "-f", str(HERE / "manifests/monitoring.yaml"))
    node.kubectl(where, "apply", "--server-side", "-f", "-", feed=yaml.safe_dump(config_map))
    for name in ("prometheus", "alertmanager", "jaeger"):
        rolled_out(where, f"deployment/{name}", "monitoring", 90)


@contextmanager
def embedder(where: Paths) -> Iterator[None]:
    """The server of embeddings as an administrator starts it on a platform that runs; gone again afterwards."""
    switch = ("upgrade", "rolehost", str(REPOSITORY / CHART), "--reuse-values", "--set")
    helm(where, *switch, "embedder.enabled=true")
    try:
        rolled_out(where, "deployment/rolehost-embedder", PLATFORM, 90)
        yield
    finally:
        helm(where, *switch, "embedder.enabled=false")


def volumes(where: Paths) -> None:
    """A folder of the node for each claim of the chart; they go with the run folder."""
    made: list[dict[str, Any]] = []
    for name, claim in CLAIMS.items():
        folder = where.run / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 65532, 65532)
        made.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"rolehost-{name}"},
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "",
                    "claimRef": {"namespace": PLATFORM, "name": claim},
                    "hostPath": {"path": str(folder), "type": "Directory"},
                },
            }
        )
    node.kubectl(where, "apply", "-f", "-", feed=yaml.safe_dump_all(made))


def chart(where: Paths, values: Sequence[Path], source: Path = REPOSITORY, settings: Sequence[str] = ()) -> None:
    """Install or upgrade a working tree's chart, in a namespace that refuses pods that are not restricted."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": PLATFORM, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    node.kubectl(where, "apply", "-f", "-", feed=yaml.safe_dump(namespace))
    argv = ["upgrade", "--install", "rolehost", str(source / CHART), "--timeout", "2m"]
    for file in values:
        argv += ["--values", str(file)]
    for setting in settings:
        argv += ["--set", setting]
    helm(where, *argv)


def helm(where: Paths, *argv: str) -> str:
    program = where.tool("helm") if Path(where.tool("helm")).exists() else "helm"
    return call([program, "--kubeconfig", str(where.kubeconfig), "--namespace", PLATFORM, *argv], timeout=180)


def await_platform(where: Paths) -> None:
    """Wait until every part of the platform serves."""
    for workload in WORKLOADS:
        rolled_out(where, workload, PLATFORM, 120)


def rolled_out(where: Paths, workload: str, namespace: str, seconds: int) -> None:
    """Wait for a workload; if it does not come up, the error says what its pods say."""
    try:
        argv = ("rollout", "status", workload, "-n", namespace, f"--timeout={seconds}s")
        node.kubectl(where, *argv, timeout=seconds + 15)
    except ClusterError as error:
        raise ClusterError(f"{workload} did not come up: {error}\n{_symptoms(where, namespace)}") from None


def _symptoms(where: Paths, namespace: str) -> str:
    """What is wrong with pods that are not Ready: their last words and the newest events."""
    told = []
    with suppress(ClusterError):
        told.append(node.kubectl(where, "get", "pods", "-n", namespace, "-o", "wide"))
        pods = json.loads(node.kubectl(where, "get", "pods", "-n", namespace, "-o", "json"))["items"]
        for pod in pods:
            statuses = pod["status"].get("containerStatuses", ())
            if all(status["ready"] for status in statuses) and statuses:
                continue
            name = pod["metadata"]["name"]
            with suppress(ClusterError):
                again = ["--previous"] if any(status["restartCount"] for status in statuses) else []
                told.append(f"{name}:\n" + node.kubectl(where, "logs", "-n", namespace, name, "--tail=15", *again))
        argv = ("get", "events", "-n", namespace, "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
        told.append("\n".join(node.kubectl(where, *argv).splitlines()[-8:]))
    return "\n".join(told)


def reload(where: Paths) -> None:
    """Let every pod start again from the images that the node has now."""
    deployments = [name for name in WORKLOADS if name.startswith("deployment/")]
    node.kubectl(where, "rollout", "restart", "-n", PLATFORM, *deployments)
    sandboxes = ("-A", "-l", "app.kubernetes.io/component=sandbox")
    for namespace in node.kubectl(
        where, "get", "pods", *sandboxes, "-o", "jsonpath={.items[*].metadata.namespace}"
    ).split():
        node.kubectl(where, "delete", "pods", "-n", namespace, "--wait=false", *sandboxes[1:])
    await_platform(where)


def installed(where: Paths) -> bool:
    with suppress(ClusterError):
        return node.kubectl(where, "get", "deployment", "rolehost-gateway", "-n", PLATFORM, "--ignore-not-found") != ""
    return False


def gateway(where: Paths) -> str:
    """host:port on the loopback that leads to the gateway's Service, for as long as the cluster is up."""
    query = ("get", "service", "rolehost-gateway", "-n", PLATFORM, "-o", "jsonpath={.spec.clusterIP}")
    address = node.kubectl(where, *query).strip()
    return f"127.0.0.1:{node.relay(where, 'gateway', address, GATEWAY_PORT, NEAR_PORT)}"


def tenant(where: Paths, namespace: str) -> str:
    """Onboard a namespace by the platform's own command and return a key for it, the same one at every call."""
    file = where.run / f"{namespace}.key"
    rolehost(where, "tenants", "add", namespace)
    if not file.exists():
        told = rolehost(where, "keys", "create", "--tenant", namespace, "--scope", "chat", "--scope", "push", "--quiet")
        file.touch(mode=0o600)
        file.write_text(told)
    return file.read_text().strip()


def push(where: Paths, example: str, key: str) -> None:
    """The example's logic to the tenant of the key: its manifest names a digest, and only who pushed it may use it."""
    folder = REPOSITORY / "examples" / example
    named = next(line for line in (folder / "role.yaml").read_text().splitlines() if "bundle: sha256:" in line)
    done = where.run / f"{example}.pushed"
    if done.exists() and done.read_text() == named:
        return
    deadline = time.monotonic() + KEY_SECONDS
    while True:
        try:
            rolehost(where, "push", str(folder), key=key)
            break
        except ClusterError as error:
            if "(unauthorized)" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    done.write_text(named)
    say(f"pushed the logic of examples/{example} for the tenant default")


def rolehost(where: Paths, *argv: str, key: str = "") -> str:
    """The platform's command, as its administrator runs it, or with a key as a tenant does."""
    env = {"KUBECONFIG": str(where.kubeconfig), "ROLEHOST_URL": "", "ROLEHOST_KEY": key}
    return call([sys.executable, "-m", "rolehost.cli", *argv], env=env)


def platform(where: Paths, values: Sequence[Path]) -> str:
    """Everything above on a Ready node; returns what to do next."""
    began = time.monotonic()
    chart(where, values)
    await_platform(where)
    key = tenant(where, "default")
    push(where, "storyteller", key)
    say(f"platform installed in {time.monotonic() - began:.1f} s")
    return (
        f"export KUBECONFIG={where.kubeconfig}\n"
        f"export ROLEHOST_URL=http://{gateway(where)}\n"
        f"export ROLEHOST_KEY={key}\n"
        "kubectl apply -f examples/storyteller/role.yaml\n"
        "kubectl wait --for=condition=Ready rhr/storyteller --timeout=60s\n"
        "rolehost chat storyteller"
    )
