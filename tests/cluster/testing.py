"""The cluster as a test sees it: kubectl, the CLI, a person to talk with, and ways to break things."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from tests.cluster import leftover, node
from tests.cluster.common import REPOSITORY, ClusterError, Paths
from tests.cluster.config import NODE_ADDRESS
from tests.cluster.namespace import Sockets
from tests.cluster.relay import Relay
from tests.support.talk import Person, talk

from rolehost_api.names import INTERNAL_PORT

PLATFORM = "rolehost-system"
Object = dict[str, Any]
Target = tuple[str, int]
T = TypeVar("T")


@dataclass
class Cluster:
    """One running cluster with the platform installed. Everything that it makes it takes away again."""

    where: Paths
    gateway: str
    """host:port on the loopback that leads to the gateway's Service."""

    # ── asking and telling ──────────────────────────────────────────────────────────

    def kubectl(self, *argv: str, feed: str | None = None, timeout: float = 120) -> str:
        return node.kubectl(self.where, *argv, feed=feed, timeout=timeout)

    def get(self, *argv: str) -> Object:
        found: Object = json.loads(self.kubectl("get", *argv, "-o", "json"))
        return found

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", feed=yaml.safe_dump_all(objects, allow_unicode=True))

    def rolehost(self, *argv: str, key: str = "", check: bool = True) -> str:
        """The CLI as a tenant runs it, outside of the cluster; what it printed on both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "rolehost.cli", *argv],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **os.environ,
                "KUBECONFIG": str(self.where.kubeconfig),
                "ROLEHOST_URL": f"http://{self.gateway}",
                "ROLEHOST_KEY": key,
            },
        )
        told = done.stdout + done.stderr
        if check and done.returncode != 0:
            raise ClusterError(f"rolehost {' '.join(argv)} failed with {done.returncode}:\n{told}")
        return told

    @contextmanager
    def talk(
        self, role: str, key: str, session_id: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Person]:
        with talk(f"ws://{self.gateway}/role/{role}", key=key, session_id=session_id, headers=headers) as person:
            yield person

    def pods(self, namespace: str, *, role: str) -> list[str]:
        """Names of a Role's sandbox pods that are not on their way out."""
        return [
            pod["metadata"]["name"]
            for pod in self.get("pods", "-n", namespace, "-l", f"rolehost.io/role={role}")["items"]
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def conditions(self, kind: str, name: str, namespace: str) -> dict[str, tuple[str, str]]:
        """Each condition's status and reason."""
        status = self.get(kind, name, "-n", namespace).get("status", {})
        return {item["type"]: (item["status"], item["reason"]) for item in status.get("conditions", [])}

    def wait_condition(
        self,
        kind: str,
        name: str,
        namespace: str,
        condition: str,
        status: str,
        *,
        reason: str = "",
        seconds: float = 60,
    ) -> str:
        """Wait until a condition stands so, for the newest generation; its message."""

        def told() -> str | None:
            found = self.get(kind, name, "-n", namespace)
            for item in found.get("status", {}).get("conditions", []):
                fits = item["type"] == condition and item["status"] == status and reason in ("", item["reason"])
                if fits and found["status"]["observedGeneration"] == found["metadata"]["generation"]:
                    return f"{item.get('message', '')} "
            return None

        return until(
            told,
            seconds,
            lambda: f"{kind}/{name} {condition}={status} {reason}: {self.conditions(kind, name, namespace)}",
        )

    def observed(self) -> list[Object]:
        """What the gateways tell the operator of pods, asked with the operator's own kind of token; of a pod that
        several see, every word."""
        argv = ("create", "token", "rolehost-operator", "-n", PLATFORM, "--audience=rolehost-gateway")
        token = self.kubectl(*argv).strip()
        reports: list[Object] = []
        for pod in self.get("pods", "-n", PLATFORM, "-l", "app.kubernetes.io/component=gateway")["items"]:
            with Relay(pod["status"]["podIP"], INTERNAL_PORT, where=self.where) as relay:
                url = f"http://{relay.host}:{relay.port}/internal/v1/observed?after=0&wait=0"
                request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
                with urllib.request.urlopen(request, timeout=10) as answer:
                    reports += json.load(answer)["pods"]
        return reports

    # ── tenants ─────────────────────────────────────────────────────────────────────

    @contextmanager
    def tenant(self, name: str) -> Iterator["Tenant"]:
        """A namespace onboarded as a tenant; deleted at the end unless it is `default`. One of that name that a killed
        run left goes first."""
        if name != "default":
            leftover.clear(self.kubectl, name)
            self.kubectl("create", "-f", "-", feed=json.dumps(leftover.namespace(name)))
        try:
            self.rolehost("tenants", "add", name)
            made = Tenant(self, name)
            yield made
            for key_id in made.key_ids:
                self.rolehost("keys", "revoke", key_id, check=False)  # a test may have done it
        finally:
            if name != "default":
                self.kubectl("delete", "namespace", name, "--wait=false")

    # ── breaking things ─────────────────────────────────────────────────────────────

    def restart(self, workload: str, seconds: int = 90) -> None:
        self.kubectl("rollout", "restart", workload, "-n", PLATFORM)
        self.rolled_out(workload, seconds)

    def rolled_out(self, workload: str, seconds: int = 90) -> None:
        """Wait until all pods are new and the old ones gone: kubectl's word comes while an old one may still drain."""
        self.kubectl("rollout", "status", workload, "-n", PLATFORM, f"--timeout={seconds}s", timeout=seconds + 10)
        selector, wanted = self._selector(workload)
        pods = ("pods", "-n", PLATFORM, "-l", selector)
        until(lambda: len(self.get(*pods)["items"]) == wanted or None, seconds, lambda: f"{workload}'s old pods go")

    def _selector(self, workload: str) -> tuple[str, int]:
        """The labels of a workload's pods, and how many there should be."""
        spec = self.get(workload, "-n", PLATFORM)["spec"]
        return ",".join(f"{name}={value}" for name, value in spec["selector"]["matchLabels"].items()), spec["replicas"]

    def kill(self, namespace: str, selector: str) -> None:
        """SIGKILL, as near as the API comes: no grace at all."""
        self.kubectl("delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force", "--wait=false")

    @contextmanager
    def scaled_to_zero(self, workload: str) -> Iterator[None]:
        selector, before = self._selector(workload)
        self.kubectl("scale", workload, "-n", PLATFORM, "--replicas=0")
        until(lambda: self.get("pods", "-n", PLATFORM, "-l", selector)["items"] == [] or None, 90, lambda: workload)
        try:
            yield
        finally:
            self.kubectl("scale", workload, "-n", PLATFORM, f"--replicas={before}")
            self.kubectl("rollout", "status", workload, "-n", PLATFORM, "--timeout=90s")

    @contextmanager
    def without_runtime_class(self) -> Iterator[None]:
        kept = self.get("runtimeclass", "gvisor")
        for volatile in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            kept["metadata"].pop(volatile, None)
        self.kubectl("delete", "runtimeclass", "gvisor")
        try:
            yield
        finally:
            self.apply(kept)

    # ── the network ─────────────────────────────────────────────────────────────────

    def connects(self, host: str, port: int) -> bool:
        """Whether something listens there, asked from the node itself."""
        sockets = Sockets(self.where)
        try:
            with sockets.make() as sock:
                sock.settimeout(3)
                sock.connect((host, port))
                return True
        except OSError:
            return False
        finally:
            sockets.close()

    def node_targets(self) -> list[Target]:
        return [(NODE_ADDRESS, port) for port in (6443, 10250, 2379)]

    def service_targets(self, namespace: str) -> list[Target]:
        return [
            (service["spec"]["clusterIP"], port["port"])
            for service in self.get("services", "-n", namespace)["items"]
            if service["spec"].get("clusterIP") not in (None, "None")
            for port in service["spec"]["ports"]
        ]

    def pod_targets(self, namespace: str, component: str = "") -> list[Target]:
        selector = ["-l", f"app.kubernetes.io/component={component}"] if component else []
        return [
            (pod["status"]["podIP"], port["containerPort"])
            for pod in self.get("pods", "-n", namespace, *selector)["items"]
            if "podIP" in pod["status"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        ]


@dataclass
class Tenant:
    """An onboarded namespace."""

    cluster: Cluster
    name: str
    key_ids: list[str] = field(default_factory=list)

    def key(self, *scopes: str) -> str:
        """A fresh service key; revoked at the end."""
        told = self.cluster.rolehost("keys", "create", "--tenant", self.name, *(f"--scope={scope}" for scope in scopes))
        key = next(word for word in told.split() if word.startswith("rh_"))
        self.key_ids.append(key.split("_")[1])
        return key

    def apply_role(self, name: str, *, system: str = "You are a test.", logic: str | None = None, **spec: Any) -> None:
        template: Object = {"persona": {"system": system}}
        if logic is not None:
            template["logic"] = {"inline": logic}
        template |= spec.pop("template", {})
        self.cluster.apply(
            {
                "apiVersion": "rolehost.io/v1alpha1",
                "kind": "Role",
                "metadata": {"name": name, "namespace": self.name},
                "spec": {"template": template, **spec},
            }
        )

    def wait_ready(self, name: str, seconds: float = 60) -> None:
        self.cluster.wait_condition("rhr", name, self.name, "Ready", "True", seconds=seconds)


def until(ask: Callable[[], T | None], seconds: float, what: Callable[[], str]) -> T:
    """Ask every half second until there is an answer; past `seconds` an error says what was awaited."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"not within {seconds:.0f} s: {what()}")
        time.sleep(0.5)
    return answer
