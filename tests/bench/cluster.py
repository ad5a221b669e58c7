"""The running test cluster as a measurement sees it: a tenant, a warm Role, bare pods, sockets inside."""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.cluster.common import paths
from tests.cluster.namespace import Sockets
from tests.cluster.testing import PLATFORM, Cluster, Object, Tenant

from rolehost_api.names import API_VERSION, GATEWAY_PORT

MODEL = Path(__file__).with_name("model.py")
MODEL_PORT = 8000


@dataclass(frozen=True)
class Site:
    """A tenant of its own on the running cluster, and a way to its pods and Services without a relay."""

    cluster: Cluster
    tenant: Tenant
    sockets: Sockets
    sandbox_image: str
    gateway: tuple[str, int]

    def dial(self, host: str, port: int) -> socket.socket:
        """A connection made inside the node's network: nothing of ours lies in between."""
        made = self.sockets.make()
        made.settimeout(10)
        made.connect((host, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    @contextmanager
    def bare(self, name: str, container: Object, *, gvisor: bool) -> Iterator[Object]:
        """A Deployment of one pod, of the sandbox image if it names none, without any of the platform; once it is Available."""
        self.cluster.apply(bare_deployment(name, self.tenant.name, self.sandbox_image, container, gvisor=gvisor))
        try:
            self.rollout(name)
            yield self.cluster.get("pods", "-n", self.tenant.name, "-l", f"bench={name}")["items"][0]
        finally:
            self.cluster.kubectl("delete", "deployment", name, "-n", self.tenant.name, "--wait=false")

    def rollout(self, name: str) -> None:
        argv = ("rollout", "status", f"deployment/{name}", "-n", self.tenant.name, "--timeout=90s")
        self.cluster.kubectl(*argv)


@contextmanager
def site() -> Iterator[Site]:
    """Needs `make cluster`; takes away what it made."""
    where = paths()
    sockets = Sockets(where)
    cluster = Cluster(where, gateway="")
    service = cluster.get("service", "rolehost-gateway", "-n", PLATFORM)["spec"]["clusterIP"]
    operator = cluster.get("deployment", "rolehost-operator", "-n", PLATFORM)["spec"]["template"]["spec"]
    [image] = [one["value"] for one in operator["containers"][0]["env"] if one["name"] == "ROLEHOST_SANDBOX_IMAGE"]
    try:
        with cluster.tenant(f"bench-{secrets.token_hex(3)}") as tenant:
            yield Site(cluster, tenant, sockets, image, (service, GATEWAY_PORT))
    finally:
        sockets.close()


@dataclass(frozen=True)
class Warm:
    """A Role that is Ready, and how to talk to it."""

    url: str
    key: str
    servers: Callable[[], set[int]]
    dial: Callable[[], socket.socket] | None
    """None: its address can be reached from here."""


@contextmanager
def warm_role() -> Iterator[Warm]:
    """A Role whose model answers at once: a pod of its own beside it, under runc."""
    with site() as found, instant_model(found) as backend:
        found.tenant.apply_role("storyteller", template={"model": {"backend": backend}})
        found.tenant.wait_ready("storyteller")
        host, port = found.gateway
        yield Warm(
            f"ws://{host}:{port}/role/storyteller",
            found.tenant.key(),
            lambda: machine.find("rolehost gateway"),
            lambda: found.dial(host, port),
        )


@contextmanager
def instant_model(found: Site) -> Iterator[str]:
    """The name of a ModelBackend that leads to tests.bench.model, in a pod of the runtime's image."""
    gateway = found.cluster.get("deployment", "rolehost-gateway", "-n", PLATFORM)["spec"]["template"]["spec"]
    container: Object = {
        "image": gateway["containers"][0]["image"],
        "command": ["python3", "-c", MODEL.read_text(), str(MODEL_PORT), "0.0.0.0"],
        "readinessProbe": {"tcpSocket": {"port": MODEL_PORT}, "periodSeconds": 1},
    }
    with found.bare("model", container, gvisor=False) as pod:
        name = found.tenant.name
        url = f"http://{pod['status']['podIP']}:{MODEL_PORT}/v1"
        spec = {"type": "OpenAI", "baseURL": url, "models": [{"name": "instant", "model": "instant"}]}
        found.cluster.apply(
            {"apiVersion": API_VERSION, "kind": "ModelBackend", "metadata": {"name": name}, "spec": spec}
        )
        try:
            yield name
        finally:
            found.cluster.kubectl("delete", "modelbackend", name)


def bare_deployment(name: str, namespace: str, image: str, container: Object, *, gvisor: bool) -> Object:
    """What a Role's pod is without the platform: the same image, the same sandbox, the same restrictions."""
    labels = {"bench": name}
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "bare",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                **container,
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
    }
    if gvisor:
        spec["runtimeClassName"] = "gvisor"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def web_server(version: str = "1") -> Object:
    """The least that can be Ready: Python's own web server, asked by the kubelet."""
    return {
        "command": ["python3", "-m", "http.server", "7421", "--directory", "/tmp"],
        "env": [{"name": "VERSION", "value": version}],
        "ports": [{"containerPort": 7421}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 7421}, "periodSeconds": 1},
    }
