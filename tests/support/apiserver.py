"""A real etcd and kube-apiserver on this machine's loopback, once per test session.

No kubelet, scheduler or controllers: what they would write, a test writes by hand. RBAC is
on, and every write is audited, so a test can count what a client wrote. Use the fixture
`apiserver`; make a namespace of your own with `apiserver.namespace()`, for nothing deletes
one here. Without the binaries a test is skipped; with CI set it fails.
"""

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support.ports import free_ports

BINARIES = Path(os.environ.get("ROLEHOST_CLUSTER_BIN", "~/.cache/rolehost/cluster/bin")).expanduser()
START_SECONDS = 120
ADMIN = "admin"

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


class Authority:
    """A certificate authority that lives as long as the test session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.crt"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def issue(self, user: str, groups: Sequence[str] = (), *, server: bool = False) -> tuple[Path, Path]:
        """Certificate and key files of `user`; a client certificate's names are its user and groups."""
        mark = f"{user.replace(':', '_')}-{secrets.token_hex(3)}"
        crt, pem = self.folder / f"{mark}.crt", self.folder / f"{mark}.key"
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject, key).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            hosts: list[x509.GeneralName] = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem.write_bytes(private_pem(key))
        return crt, pem


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Write:
    """One write that the apiserver accepted or refused."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int


@dataclass
class ApiServer:
    """The running apiserver: how to reach it, and what was written to it."""

    url: str
    folder: Path
    authority: Authority
    audit_log: Path
    processes: "Processes"
    kubeconfig: Path = field(init=False)
    """Of a user in system:masters, whom RBAC refuses nothing."""

    def __post_init__(self) -> None:
        self.kubeconfig = self.kubeconfig_for(ADMIN, ["system:masters"])

    def down(self) -> None:
        """SIGKILL: every watch breaks, and its port refuses until `up`. What etcd has stays."""
        self.processes.kill("kube-apiserver")

    def up(self) -> None:
        """Start it again, and wait until it answers."""
        self.processes.again("kube-apiserver")
        self.wait_ready(time.monotonic() + START_SECONDS)

    def wait_ready(self, deadline: float) -> None:
        while self.kubectl("get", "--raw", "/readyz", check=False).returncode != 0:
            if self.processes.running["kube-apiserver"].poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "kube-apiserver.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"kube-apiserver did not come up; its log ends with:\n{tail}")
            time.sleep(0.2)

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig that makes its bearer `user`, with what RBAC grants that user."""
        crt, key = self.authority.issue(user, groups)
        path = crt.with_suffix(".kubeconfig")
        cluster = {"server": self.url, "certificate-authority": str(self.authority.file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"client-certificate": str(crt), "client-key": str(key)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as admin; with `check`, a failure raises with what kubectl said."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HOME": str(self.folder)},
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def apply(self, *objects: Mapping[str, Any]) -> None:
        # As JSON: of YAML kubectl takes a key like 2381e9 for a number.
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed)

    def get(self, *what: str) -> Any:
        """`kubectl get … -o json`, parsed; None where it is not there."""
        done = self.kubectl("get", *what, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def items(self, *what: str) -> list[Any]:
        """Of a listing; kubectl prints nothing at all for an empty one."""
        return list((self.get(*what) or {}).get("items", []))

    def namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> str:
        """A fresh namespace with a default ServiceAccount, as controllers would make one."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}},
        )
        return name

    def writes(self, user: str, namespace: str | None = None) -> list[Write]:
        """What `user` wrote until now, oldest first."""
        found: list[Write] = []
        for line in self.audit_log.read_text().splitlines():
            event = json.loads(line)
            about = event.get("objectRef", {})
            write = Write(
                user=event["user"]["username"],
                verb=event["verb"],
                resource=about.get("resource", ""),
                subresource=about.get("subresource", ""),
                namespace=about.get("namespace", ""),
                name=about.get("name", ""),
                code=event.get("responseStatus", {}).get("code", 0),
            )
            if write.user == user and namespace in (None, write.namespace):
                found.append(write)
        return found


class Processes:
    """Processes with their logs; all of them end with the test session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._arguments: dict[str, tuple[str, ...]] = {}

    def start(self, name: str, *arguments: str) -> None:
        self._arguments[name] = arguments
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen([str(BINARIES / name), *arguments], stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait(timeout=20)

    def again(self, name: str) -> None:
        """As it was started before, unless it runs."""
        if self.running[name].poll() is not None:
            self.start(name, *self._arguments[name])

    def wait_for(self, name: str, url: str, deadline: float) -> None:
        """Until `url` (without certificates: loopback HTTP) answers, or the process died."""
        while time.monotonic() < deadline:
            if self.running[name].poll() is not None:
                break
            try:
                with urlopen(url, timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        tail = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{name} did not come up; its log ends with:\n{tail}")

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            process.kill()
            process.wait(timeout=20)


def start(folder: Path, processes: Processes) -> ApiServer:
    authority = Authority(folder)
    client_port, peer_port, secure_port = free_ports(3)
    etcd = f"http://127.0.0.1:{client_port}"
    peer = f"http://127.0.0.1:{peer_port}"
    deadline = time.monotonic() + START_SECONDS
    processes.start(
        "etcd",
        *("--name=test", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
        *(f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}", f"--listen-peer-urls={peer}"),
        *(f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=test={peer}"),
    )
    processes.wait_for("etcd", f"{etcd}/health", deadline)
    crt, key = authority.issue("kube-apiserver", server=True)
    signing = folder / "service-account.key"
    signing.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    policy, audit_log = folder / "audit-policy.yaml", folder / "audit.log"
    policy.write_text(yaml.safe_dump(AUDIT_POLICY))
    audit_log.touch()
    processes.start(
        "kube-apiserver",
        *(f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={secure_port}"),
        *("--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=RBAC", "--allow-privileged=true"),
        *(f"--client-ca-file={authority.file}", f"--tls-cert-file={crt}", f"--tls-private-key-file={key}"),
        *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={signing}"),
        *(f"--service-account-signing-key-file={signing}", "--disable-admission-plugins=ServiceAccount"),
        *(f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}", "--endpoint-reconciler-type=none"),
    )
    server = ApiServer(
        url=f"https://127.0.0.1:{secure_port}",
        folder=folder,
        authority=authority,
        audit_log=audit_log,
        processes=processes,
    )
    server.wait_ready(deadline)
    return server


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The session's apiserver; its first user waits some seconds for it."""
    missing = [name for name in ("etcd", "kube-apiserver") if not (BINARIES / name).is_file()]
    if missing:
        message = f"{' and '.join(missing)} not in {BINARIES}; `make cluster` builds them"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("apiserver")
    processes = Processes(folder)
    try:
        yield start(folder, processes)
    finally:
        processes.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever uses the fixture first pays for its start, so its users get the time for it."""
    for item in items:
        if "apiserver" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(START_SECONDS + 60))
