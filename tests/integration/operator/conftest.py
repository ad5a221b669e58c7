"""A cluster without machines: a real apiserver, and a test's hands for kubelet and gateway."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import msgspec
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.apiserver import BINARIES, ApiServer
from tests.support.ports import free_port

from rolehost_api.names import COMPONENT, GATEWAY_SERVICE, LEASE, OPERATOR_WRITER, TENANT
from rolehost_api.observed import Observed, PodReport, RevisionReport, WarmReport

ROOT = Path(__file__).parents[3]
PLATFORM = "rolehost-system"
ACCOUNT = f"system:serviceaccount:{PLATFORM}:rolehost-operator"
TOKEN = "a-projected-token"
ATTESTATION_ROOT = bytes(range(32))
GATEWAY_ADDRESS = "10.96.0.80"
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": GATEWAY_SERVICE, "namespace": PLATFORM},
    "spec": {"clusterIP": GATEWAY_ADDRESS, "ports": [{"name": "http", "port": 8080}]},
}
RBAC = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def eventually(check: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """What `check` returns once it is true; an AssertionError with the last answer otherwise."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last: {found!r}"
        time.sleep(0.1)
    return found


class FakeGateway:
    """Serves /internal/v1/observed as a gateway does: at once if there is news, else when there is."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._number = 1
        self._pods: dict[str, PodReport] = {}
        self._revisions: dict[str, RevisionReport] = {}
        self._warmed: dict[tuple[str, str], WarmReport] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.refused = 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        if url.path != "/internal/v1/observed" or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refused += 1
            request.send_error(401)
            return
        query = parse_qs(url.query)
        with self._news:
            self._news.wait_for(lambda: self._number != int(query["after"][0]), timeout=float(query["wait"][0]))
            body = msgspec.json.encode(
                Observed(
                    gateway="gw/1",
                    number=self._number,
                    listening=True,
                    pods=tuple(self._pods.values()),
                    revisions=tuple(self._revisions.values()),
                    warmed=tuple(self._warmed.values()),
                )
            )
        try:
            request.send_response(200)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
        except OSError:
            return  # the operator is gone

    def say(self, *pods: PodReport, sessions: RevisionReport | None = None, warmed: WarmReport | None = None) -> None:
        with self._news:
            self._pods |= {pod.uid: pod for pod in pods}
            if sessions is not None:
                self._revisions[sessions.revision] = sessions
            if warmed is not None:
                self._warmed[warmed.namespace, warmed.role] = warmed
            self._number += 1
            self._news.notify_all()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Operator:
    """One `rolehost operator` process under the chart's own rights."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: Path, metrics: int) -> None:
        self.log = log
        self.metrics = metrics
        command = [sys.executable, "-m", "rolehost.cli", "operator", "--pod-name", name, *arguments]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--metrics-port", str(metrics)], env={**os.environ, **environment}, stdout=out, stderr=out
            )

    def alive(self) -> bool:
        return self.process.poll() is None

    def says(self, text: str) -> bool:
        assert self.alive(), f"the operator ended: {self.log.read_text()[-3000:]}"
        return text in self.log.read_text()

    def ready(self) -> bool:
        """As the kubelet asks."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metric(self, name: str) -> float:
        """The value of this series, labels included in its name."""
        with urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))

    def memory_mib(self) -> float:
        """Resident."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def cpu_seconds(self) -> float:
        """Of its own, so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.alive():
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


class Cluster:
    def __init__(self, api: ApiServer, gateway: FakeGateway, folder: Path) -> None:
        self.api = api
        self.gateway = gateway
        self.folder = folder
        self.operators: list[Operator] = []
        keys = folder / "keys"
        keys.mkdir()
        self.key = self.trust("current")
        (folder / "token").write_text(TOKEN)
        (folder / "root").write_bytes(ATTESTATION_ROOT)
        self._arguments = [
            *("--namespace", PLATFORM, "--sandbox-image", "sandbox:1", "--platform-keys", str(keys)),
            *("--attestation-root", str(folder / "root")),
            *("--gateway-token", str(folder / "token"), "--public-url", "ws://gateway.test"),
            *("--probe-targets", "10.96.0.1:443", "--internal-port", str(gateway.port)),
        ]
        self._kubeconfig = str(api.kubeconfig_for(ACCOUNT))

    def trust(self, name: str) -> str:
        """A public key of the gateways' in the mounted folder; as the pods read it."""
        key = Ed25519PrivateKey.generate().public_key()
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "keys" / f"{name}.pem").write_bytes(pem)
        return base64.b64encode(key.public_bytes_raw()).decode()

    def operator(self, *options: str, kubeconfig: Path | None = None) -> Operator:
        """Started with the usual options, of which the last counts where one is given again; by a way of its own to the
        apiserver where `kubeconfig` gives one.
        """
        name = f"operator-{len(self.operators)}"
        started = Operator(
            name,
            [*self._arguments, *options],
            {"KUBECONFIG": str(kubeconfig or self._kubeconfig)},
            self.folder / f"{name}.log",
            free_port(),
        )
        self.operators.append(started)
        return started

    def stop_all(self) -> None:
        for one in self.operators:
            one.stop(signal.SIGKILL)
        self.api.kubectl("delete", "lease", LEASE, "-n", PLATFORM, "--ignore-not-found")

    def tenant(self) -> str:
        """A namespace with what `rolehost tenants add` gives it."""
        name = self.api.namespace("tenant", {TENANT: "yes"})
        self.api.apply(self.rights(name))
        return name

    def rights(self, namespace: str) -> dict[str, Any]:
        """The operator's, there."""
        group = "rbac.authorization.k8s.io"
        return {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": OPERATOR_WRITER, "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": OPERATOR_WRITER},
            "subjects": [{"kind": "User", "name": ACCOUNT, "apiGroup": group}],
        }

    def revisions(self, namespace: str) -> list[dict[str, Any]]:
        found = self.api.items("rhv", "-n", namespace)
        return sorted(found, key=lambda one: one["spec"]["sequence"])

    def condition(self, namespace: str, role: str, kind: str) -> dict[str, Any]:
        status = self.api.get("rhr", role, "-n", namespace).get("status", {})
        return next((one for one in status.get("conditions", []) if one["type"] == kind), {})

    def reason(self, namespace: str, role: str, kind: str = "Ready") -> str:
        return str(self.condition(namespace, role, kind).get("reason", ""))

    def empty(self) -> None:
        """Take away what earlier tests left: an upgrade concerns every Deployment of the cluster."""
        self.api.kubectl("delete", "rhr", "-A", "--all")
        self.api.kubectl("delete", "deployments", "-A", "-l", f"{COMPONENT}=sandbox")

    def controller_says(self, namespace: str, deployment: str, *, old: int = 0, new: int = 1, **status: Any) -> None:
        """The deployment controller's part: it has seen the newest template, and these pods there are, all Ready."""
        generation = self.api.get("deployment", deployment, "-n", namespace)["metadata"]["generation"]
        counts = {"replicas": old + new, "updatedReplicas": new, "readyReplicas": old + new}
        said = {"status": {"observedGeneration": generation, **counts, **status}}
        arguments = ("-n", namespace, "--subresource=status", "--type=merge", f"-p={json.dumps(said)}")
        self.api.kubectl("patch", "deployment", deployment, *arguments)

    def count_ready(self, namespace: str, deployment: str, pods: int = 1) -> None:
        """The kubelet's and the deployment controller's part."""
        status = {"status": {"replicas": pods, "readyReplicas": pods, "availableReplicas": pods}}
        arguments = ("-n", namespace, "--subresource=status", "--type=merge", f"-p={json.dumps(status)}")
        self.api.kubectl("patch", "deployment", deployment, *arguments)


@pytest.fixture(scope="session")
def platform(role_api: ApiServer) -> Iterator[tuple[ApiServer, FakeGateway]]:
    gateway = installed(role_api)
    yield role_api, gateway
    gateway.close()


def installed(role_api: ApiServer) -> FakeGateway:
    """The platform's namespace with the chart's RBAC, a RuntimeClass, a backend, and one gateway."""
    helm = BINARIES / "helm"
    if not helm.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no helm in {BINARIES}; `make cluster` builds it")
    done = subprocess.run(
        [
            str(helm),
            "template",
            "rolehost",
            str(ROOT / "charts/rolehost"),
            "--namespace",
            PLATFORM,
            "--kube-version",
            "1.34.4",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rendered = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] in RBAC]
    role_api.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLATFORM}},
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "gvisor"},
            "handler": "runsc",
        },
        {
            "apiVersion": "rolehost.io/v1alpha1",
            "kind": "ModelBackend",
            "metadata": {"name": "default"},
            "spec": {"type": "Scripted", "script": [{"reply": "{message}"}]},
        },
        SERVICE,
        *rendered,
    )
    gateway = FakeGateway()
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gw", "namespace": PLATFORM, "labels": {COMPONENT: "gateway"}},
        "spec": {"containers": [{"name": "gateway", "image": "gateway:1"}]},
    }
    role_api.apply(pod)
    status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "phase": "Running"}}
    arguments = ("-n", PLATFORM, "--subresource=status", "--type=merge", f"-p={json.dumps(status)}")
    role_api.kubectl("patch", "pod", "gw", *arguments)
    return gateway


@pytest.fixture
def cluster(platform: tuple[ApiServer, FakeGateway], tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(*platform, tmp_path)
    yield made
    made.stop_all()
