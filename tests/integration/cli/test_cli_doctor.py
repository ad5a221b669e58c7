"""`rolehost doctor` against a real apiserver, a real gateway and a real Redis.

No kubelet and no scheduler: what they would write is written here, and the pods that try the
walls never run, which the doctor has to say. The whole of it is in tests/e2e.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.apiserver import ApiServer
from tests.support.keypair import Pair
from tests.support.ports import free_ports
from tests.support.redis import RedisServer, running

from rolehost.cli.doctor.cluster import KINDS
from rolehost.cli.tenants import onboarding
from rolehost_api import names
from rolehost_api.crd.kinds import CONTRACT_NUMBER
from rolehost_api.names import KEYS, OPERATOR_WRITER, TENANT
from rolehost_runtime.gateway.edge.platform import CACHED_SECONDS

pytestmark = pytest.mark.timeout(240)
PLATFORM = "doctor-platform"
IMAGE = "localhost/sandbox:test"
Finding = dict[str, str]


def deployment(name: str, *variables: tuple[str, str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "rolehost", "app.kubernetes.io/component": name.removeprefix("rolehost-")}
    env = [{"name": variable, "value": value} for variable, value in variables]
    container = {"name": "x", "image": f"localhost/{name}:test", "env": env}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": PLATFORM, "labels": {**labels, "app.kubernetes.io/version": "0.1.0"}},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def lease(holder: str, age_seconds: float = 0.0) -> dict[str, Any]:
    renewed = datetime.now(UTC) - timedelta(seconds=age_seconds)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "rolehost-operator", "namespace": PLATFORM},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }


@pytest.fixture(scope="module")
def platform(role_api: ApiServer) -> Iterator[ApiServer]:
    """What an installation would have left, and one tenant."""
    writer = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": OPERATOR_WRITER},
        "rules": [],
    }
    runtime_class = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "gvisor"},
        "handler": "runsc",
    }
    # Tenants that tests before these left on the session's apiserver belong to another platform.
    role_api.kubectl("label", "namespaces", "--all", f"{TENANT}-")
    role_api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLATFORM}})
    role_api.apply(
        writer,
        runtime_class,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": KEYS, "namespace": PLATFORM}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.TRUSTED_IMAGES, "namespace": PLATFORM},
            "data": {names.TRUSTED_IMAGES_ENTRY: IMAGE},
        },
        deployment("rolehost-gateway"),
        deployment("rolehost-operator", ("ROLEHOST_SANDBOX_IMAGE", IMAGE)),
        deployment("rolehost-upload"),
        *onboarding("doctor-tenant", PLATFORM),
    )
    for name in ("rolehost-gateway", "rolehost-operator", "rolehost-upload"):
        status = {"status": {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}}
        role_api.kubectl(
            *("patch", "deployment", name, "-n", PLATFORM),
            *("--subresource=status", "--type=merge", "-p", json.dumps(status)),
        )
    role_api.kubectl("annotate", "crd", *KINDS, f"{names.CONTRACT}={CONTRACT_NUMBER}", "--overwrite")
    yield role_api
    # The session's apiserver goes on: what would make other tests see a tenant or gVisor goes.
    role_api.kubectl("label", "namespace", "doctor-tenant", f"{TENANT}-")
    role_api.kubectl("delete", "runtimeclass", "gvisor")


def arguments(*more: str) -> list[str]:
    return [sys.executable, "-m", "rolehost.cli", "doctor", "--platform-namespace", PLATFORM, *more]


def environment(server: ApiServer, kubeconfig: Path | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
    return {**kept, "KUBECONFIG": str(kubeconfig or server.kubeconfig), "HOME": str(server.folder)}


def doctor(server: ApiServer, *more: str, kubeconfig: Path | None = None) -> tuple[int, dict[str, Finding]]:
    """Its exit status, and its findings by their checks."""
    done = subprocess.run(
        arguments(*more, "-o", "json"),
        env=environment(server, kubeconfig),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["ok"] is (done.returncode == 0)
    return done.returncode, {one["check"]: one for one in told["findings"]}


def states(found: dict[str, Finding]) -> dict[str, str]:
    return {check: one["state"] for check, one in found.items()}


def left(server: ApiServer, namespace: str = PLATFORM) -> list[str]:
    """Whatever of the doctor's is still there."""
    kinds = ("pods,networkpolicies", "-n", namespace, "-l", "app.kubernetes.io/name=rolehost-doctor")
    keys = server.get("configmap", KEYS, "-n", PLATFORM).get("data") or {}
    return [one["metadata"]["name"] for one in (server.get(*kinds) or {}).get("items", ())] + list(keys)


# ── with a gateway ──────────────────────────────────────────────────────────────────


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running("--maxmemory", "256mb") as server:
        yield server


@pytest.fixture
async def gateway(platform: ApiServer, redis: RedisServer, tmp_path: Path) -> AsyncIterator[str]:
    """`rolehost gateway` as a process, over this apiserver and this Redis."""
    pair, public, root = Pair(tmp_path, "link"), tmp_path / "public", tmp_path / "root"
    public.mkdir()
    (public / "cert.pem").write_bytes(pair.pem)
    root.write_bytes(bytes(32))
    port, internal, metrics = free_ports(3)
    settings = {
        "host": "127.0.0.1", "port": port, "internal_port": internal, "metrics_port": metrics, "namespace": PLATFORM,
        "redis_url": redis.url, "link_key_file": pair.key, "archive_url": (tmp_path / "archive").as_uri(),
        "platform_keys_dir": public, "attestation_file": root, "peer_port": 0, "model_keys_dir": tmp_path, "kubeconfig": platform.kubeconfig,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rolehost.cli", "gateway"),
        env={**environment(platform), **{f"ROLEHOST_{name.upper()}": str(value) for name, value in settings.items()}},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(40):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_a_gateway_tells_of_its_stores_to_a_key_that_lives_as_long_as_the_run(
    platform: ApiServer, gateway: str, redis: RedisServer, tmp_path: Path
) -> None:
    platform.apply(lease("operator-0"))
    code, found = await asyncio.to_thread(doctor, platform, "--no-pods", "--url", gateway)
    expected = dict.fromkeys(("kubernetes", "crds", "runtimeclass", "gateway", "operator", "upload", "lease"), "ok")
    expected |= dict.fromkeys(("tenants", "answers", "durability", "archive", "versions", "clocks"), "ok")
    assert states(found) == {**expected, "admission": "FAIL", "gvisor": "skipped", "network": "skipped"}
    assert "admission.enabled=true" in found["admission"]["fix"]
    assert code == 1
    assert "synced always, noeviction" in found["durability"]["what"]
    assert found["clocks"]["what"].startswith("gateway, Redis, apiserver")
    assert left(platform) == []
    assert "written, listed, read and deleted" in found["archive"]["what"]
    assert not [path for path in (tmp_path / "archive").rglob("*") if path.is_file()], "nothing of it stays"
    shutil.rmtree(tmp_path / "archive")
    (tmp_path / "archive").write_text("no folder any more")
    await asyncio.sleep(CACHED_SECONDS)
    code, found = await asyncio.to_thread(doctor, platform, "--no-pods", "--url", gateway)
    assert (found["archive"]["state"], found["durability"]["state"]) == ("FAIL", "ok")
    assert found["archive"]["what"].startswith("write: ")
    assert "archive.existingSecret" in found["archive"]["fix"]
    redis.kill()
    _, found = await asyncio.to_thread(doctor, platform, "--no-pods", "--url", gateway)
    assert found["answers"]["state"] == "FAIL"
    assert "waits for state" in found["answers"]["what"]
    assert left(platform) == []


def test_a_nodes_clock_is_read_from_its_lease(platform: ApiServer) -> None:
    """A kubelet stamps its Lease by its own clock, the apiserver notes when that came in by its own."""

    def renewal(name: str, ahead: float, version: str = "") -> dict[str, Any]:
        made = lease(name, age_seconds=-ahead)
        metadata = {"name": name, "namespace": "kube-node-lease", **({"resourceVersion": version} if version else {})}
        return {**made, "metadata": metadata}

    try:
        for name, ahead in (("doctor-good", 0.0), ("doctor-fast", 6.0)):
            platform.kubectl("create", "-f", "-", stdin=json.dumps(renewal(name, 0.0)))
            time.sleep(1.1)  # the apiserver's stamp has whole seconds
            version = platform.get("lease", name, "-n", "kube-node-lease")["metadata"]["resourceVersion"]
            platform.kubectl("replace", "-f", "-", stdin=json.dumps(renewal(name, ahead, version)))
        _, found = doctor(platform, "--no-pods", "--url", "http://127.0.0.1:1")
        assert found["clocks"]["state"] == "warn"
        assert found["clocks"]["what"].startswith("node doctor-fast is about ")
    finally:
        platform.kubectl("delete", "lease", "doctor-good", "doctor-fast", "-n", "kube-node-lease", "--ignore-not-found")


# ── pods that never run ─────────────────────────────────────────────────────────────


def test_pods_that_nothing_schedules_are_a_failure_that_says_so(platform: ApiServer) -> None:
    platform.apply(lease("operator-0"))
    code, found = doctor(platform, "--url", "http://127.0.0.1:1")
    assert code == 1
    for check in ("gvisor", "network"):
        assert found[check]["state"] == "FAIL"
        assert "nothing has scheduled it" in found[check]["what"]
        assert "kube-scheduler" in found[check]["fix"]
    assert "Connection refused" in found["answers"]["what"]
    assert left(platform) == []


def test_what_a_quota_refuses_is_told_as_it_was(platform: ApiServer) -> None:
    namespace = platform.namespace("strict")
    platform.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    quota = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small", "namespace": namespace},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
    }
    platform.apply(quota)
    _, found = doctor(platform, "--url", "http://127.0.0.1:1", "--probe-namespace", namespace)
    assert found["gvisor"]["state"] == "FAIL"
    assert "maximum memory usage" in found["gvisor"]["what"]
    assert "--probe-namespace" in found["gvisor"]["fix"]
    assert left(platform, namespace) == []


def test_a_namespace_that_is_restricted_takes_its_pods(platform: ApiServer) -> None:
    namespace = platform.namespace("restricted")
    platform.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    _, found = doctor(platform, "--url", "http://127.0.0.1:1", "--probe-namespace", namespace)
    assert "nothing has scheduled it" in found["gvisor"]["what"]
    assert "nothing has scheduled it" in found["network"]["what"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_whoever_stops_it_leaves_nothing_behind(platform: ApiServer, number: signal.Signals) -> None:
    process = subprocess.Popen(
        arguments("--url", "http://127.0.0.1:1"), env=environment(platform), stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while len(left(platform)) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(left(platform)) == 4, "two pods and two policies"
    process.send_signal(number)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert process.stdout is not None
    process.stdout.close()
    assert left(platform) == []


def test_what_a_killed_run_left_is_swept_when_it_is_old(platform: ApiServer) -> None:
    entry = {"sha256": "0" * 64, "tenant": "doctor-tenant", "tenantUID": "x", "scopes": ["admin"], "by": "doctor"}
    old, fresh = (
        json.dumps({**entry, "created": (datetime.now(UTC) - timedelta(seconds=age)).isoformat()}) for age in (600, 0)
    )
    patch = json.dumps({"data": {"0000000a": old, "0000000b": fresh, "0000000c": json.dumps({"tenant": "acme"})}})
    platform.kubectl("patch", "configmap", KEYS, "-n", PLATFORM, "--type=merge", "-p", patch)
    try:
        doctor(platform, "--no-pods", "--url", "http://127.0.0.1:1")
        assert set(left(platform)) == {"0000000a", "0000000b", "0000000c"}, "no key was needed, so none was touched"
        with Deaf() as url:
            doctor(platform, "--no-pods", "--url", url)
        assert set(left(platform)) == {"0000000b", "0000000c"}
    finally:
        patch = json.dumps({"data": dict.fromkeys(("0000000a", "0000000b", "0000000c"))})
        platform.kubectl("patch", "configmap", KEYS, "-n", PLATFORM, "--type=merge", "-p", patch)


class Deaf:
    """A gateway that never hears of a new key."""

    def __enter__(self) -> str:
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ready = self.path == "/readyz"
                body = b'{"ok":true}' if ready else b'{"error":{"code":"unauthorized","message":"not known"}}'
                self.send_response(200 if ready else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


# ── what is broken, and who asks ────────────────────────────────────────────────────


def test_broken_parts_are_found_with_what_mends_them(platform: ApiServer) -> None:
    platform.apply(lease("operator-0", age_seconds=3600))
    platform.kubectl("annotate", "crd", KINDS[0], f"{names.CONTRACT}-")
    platform.kubectl("delete", "rolebinding", OPERATOR_WRITER, "-n", "doctor-tenant")
    platform.kubectl("scale", "deployment", "rolehost-upload", "-n", PLATFORM, "--replicas=0")
    try:
        code, found = doctor(platform, "--no-pods", "--url", "http://127.0.0.1:1")
        assert code == 1
        broken = {check for check, one in found.items() if one["state"] == "FAIL"}
        assert broken == {"crds", "lease", "tenants", "upload", "admission"}
        assert KINDS[0] in found["crds"]["what"]
        assert found["tenants"]["fix"] == "rolehost tenants add doctor-tenant"
        assert "scaled to 0" in found["upload"]["what"]
        assert "3600 s ago" in found["lease"]["what"] or "360" in found["lease"]["what"]
    finally:
        platform.kubectl("annotate", "crd", KINDS[0], f"{names.CONTRACT}={CONTRACT_NUMBER}", "--overwrite")
        platform.apply(*onboarding("doctor-tenant", PLATFORM))
        platform.kubectl("scale", "deployment", "rolehost-upload", "-n", PLATFORM, "--replicas=1")


def test_a_tenants_run_says_what_it_could_not_see(platform: ApiServer) -> None:
    kubeconfig = platform.kubeconfig_for("somebody", ["system:authenticated"])
    code, found = doctor(platform, kubeconfig=kubeconfig)
    assert code == 0
    assert found["kubernetes"]["state"] == "ok"
    unseen = set(found) - {"kubernetes", "versions", "clocks"}
    assert {check: states(found)[check] for check in unseen} == dict.fromkeys(unseen, "skipped")
    nobody = f"you may not list deployments in namespace {PLATFORM}; a platform administrator may"
    assert found["gvisor"]["what"] == found["network"]["what"] == nobody
    assert "you may not get services" in found["durability"]["what"]


def test_no_cluster_at_all_is_one_failure_and_no_traceback(platform: ApiServer, tmp_path: Path) -> None:
    nowhere = tmp_path / "kubeconfig"
    nowhere.write_text(platform.kubeconfig.read_text().replace(platform.url, "https://127.0.0.1:1"))
    code, found = doctor(platform, "--url", "http://127.0.0.1:1", kubeconfig=nowhere)
    assert code == 1
    assert [check for check, state in states(found).items() if state == "FAIL"] == ["kubernetes"]
    done = subprocess.run(
        arguments("--context", "nope"), env=environment(platform), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Error: kubectl reaches no cluster" in done.stderr
    assert "--context" in done.stderr


def test_text_is_a_line_a_finding_and_a_line_for_what_mends_it(platform: ApiServer) -> None:
    platform.apply(lease("operator-0"))
    done = subprocess.run(
        arguments("--no-pods", "--url", "http://127.0.0.1:1"),
        env=environment(platform),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok       kubernetes   v1.")
    at = next(number for number, line in enumerate(lines) if line.startswith("FAIL     admission"))
    assert lines[at + 1].strip().startswith("→ helm upgrade rolehost")
    assert "1 FAIL" in lines[-1]
