"""The commands that go through kubectl, against a real apiserver.

What an operator would write is written by the test. The gateway is a small server here, with
the real rules of manifests and bundles behind it; the whole way is in tests/e2e.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import ClickException
from click.testing import CliRunner
from tests.support.apiserver import ApiServer

from rolehost.cli import deploy as deploying
from rolehost.cli import main
from rolehost.cli.kubectl import Kubectl
from rolehost_api import bundle
from rolehost_api.identity import key_hash
from rolehost_api.manifest import check
from rolehost_api.names import FOLLOW, KEYS, OPERATOR_WRITER

PLATFORM = "rolehost-system"


def rolehost(server: ApiServer, *arguments: str, code: int = 0) -> str:
    """What the command printed, both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "rolehost.cli", *arguments],
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def platform(role_api: ApiServer) -> ApiServer:
    role_api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLATFORM}})
    return role_api


@pytest.fixture
def tenant(platform: ApiServer) -> str:
    name = platform.namespace("tenant")
    rolehost(platform, "tenants", "add", name)
    return name


def test_a_namespace_becomes_a_tenant_once_and_again(platform: ApiServer, tenant: str) -> None:
    rolehost(platform, "tenants", "add", tenant)
    labels = platform.get("namespace", tenant)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    binding = platform.get("rolebinding", OPERATOR_WRITER, "-n", tenant)
    assert binding["subjects"][0]["namespace"] == PLATFORM


def test_a_key_is_shown_once_and_kept_as_a_hash(platform: ApiServer, tenant: str) -> None:
    key = rolehost(platform, "keys", "create", "--tenant", tenant, "--scope", "chat", "--quiet").strip()
    data = platform.get("configmap", KEYS, "-n", PLATFORM)["data"]
    key_id = key.split("_")[1]
    entry = json.loads(data[key_id])
    assert entry["sha256"] == key_hash(key)
    assert (entry["tenant"], entry["scopes"]) == (tenant, ["chat"])
    assert entry["tenantUID"] == platform.get("namespace", tenant)["metadata"]["uid"]
    assert key not in json.dumps(data)
    listed = rolehost(platform, "keys", "list", "--tenant", tenant)
    assert key_id in listed
    assert entry["sha256"] not in listed
    rolehost(platform, "keys", "revoke", key_id)
    assert key_id not in (platform.get("configmap", KEYS, "-n", PLATFORM).get("data") or {})


def test_keys_of_two_tenants_do_not_overwrite_each_other(platform: ApiServer, tenant: str) -> None:
    ids = {rolehost(platform, "keys", "create", "--tenant", tenant, "-q").split("_")[1] for _ in range(2)}
    assert ids <= set(platform.get("configmap", KEYS, "-n", PLATFORM)["data"])


def test_a_namespace_that_is_no_tenant_gets_no_key(platform: ApiServer) -> None:
    plain = platform.namespace("plain")
    assert "rolehost tenants add" in rolehost(platform, "keys", "create", "--tenant", plain, code=1)


def test_an_unknown_key_cannot_be_revoked(platform: ApiServer, tenant: str) -> None:
    rolehost(platform, "keys", "create", "--tenant", tenant)
    assert "there is no key" in rolehost(platform, "keys", "revoke", "00000000", code=1)


# ── deploy ──────────────────────────────────────────────────────────────────────────


class SmallGateway(BaseHTTPRequestHandler):
    """Manifest check and bundles by the real rules; remembers what was pushed."""

    pushed: list[str]

    def _answer(self, body: object) -> None:
        text = msgspec.json.encode(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def do_POST(self) -> None:
        assert self.path == "/v1/roles:check"
        self._answer({"findings": check(self._body())})

    def do_PUT(self) -> None:
        assert self.path == "/v1/bundles"
        body = self._body()
        contents = bundle.inspect(body)
        self.pushed.append(contents.digest)
        self._answer({"digest": contents.digest, "files": len(contents.files), "bytes": contents.unpacked_bytes})

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def gateway() -> Iterator[tuple[str, list[str]]]:
    pushed: list[str] = []
    handler = type("Handler", (SmallGateway,), {"pushed": pushed})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", pushed
    server.shutdown()
    server.server_close()


class Operator(threading.Thread):
    """Writes a status for a Role as soon as it is there."""

    def __init__(self, server: ApiServer, namespace: str, role: str, status: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.server, self.namespace, self.role, self.status = server, namespace, role, status
        self.over = threading.Event()

    def run(self) -> None:
        what = ("hostedroles.rolehost.io", self.role, "-n", self.namespace)
        while not self.over.is_set():
            found = self.server.get(*what)
            if (
                found is not None
                and (found.get("status") or {}).get("observedGeneration") != found["metadata"]["generation"]
            ):
                patch = {"status": {**self.status, "observedGeneration": found["metadata"]["generation"]}}
                self.server.kubectl("patch", *what, "--subresource=status", "--type=merge", "-p", json.dumps(patch))
            time.sleep(0.05)


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2030-01-01T00:00:00Z"
    }  # fmt: skip


SERVING = {
    "conditions": [condition("Ready", "True", "Serving", "r1 serves")],
    "latestCreatedRevision": "cat-1",
    "latestReadyRevision": "cat-1",
    "stableRevision": "cat-1",
    "address": {"url": "wss://roles.example.com/role/cat"},
}
BROKEN = {
    "conditions": [
        condition("LogicLoaded", "False", "LogicInvalid", "cat.py:3: NameError"),
        condition("Ready", "False", "LogicInvalid", "cat.py:3: NameError"),
    ]
}


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    done = CliRunner().invoke(main, ["new", "cat", str(tmp_path / "cat")])
    assert done.exit_code == 0
    return tmp_path / "cat"


def test_deploy_checks_pushes_applies_waits_and_prints_the_url(
    platform: ApiServer, tenant: str, gateway: tuple[str, list[str]], cat: Path
) -> None:
    url, pushed = gateway
    manifest = (cat / "role.yaml").read_text()
    operator = Operator(platform, tenant, "cat", SERVING)
    operator.start()
    try:
        told = rolehost(platform, "deploy", str(cat), "-n", tenant, "--url", url)
        again = rolehost(platform, "deploy", str(cat), "-n", tenant, "--url", url)
    finally:
        operator.over.set()
        operator.join()
    assert "Ready=True Serving" in told
    assert "wss://roles.example.com/role/cat" in told
    assert "cat serves" in again
    applied = platform.get("hostedroles.rolehost.io", "cat", "-n", tenant)
    assert applied["spec"]["template"]["logic"]["bundle"] == pushed[0] == pushed[1]
    assert applied["metadata"]["generation"] == 1, "the same content again must change nothing"
    assert FOLLOW not in (applied["metadata"].get("annotations") or {})
    managed = platform.kubectl(
        "get", "hostedroles.rolehost.io", "cat", "-n", tenant, "--show-managed-fields", "-o=json"
    )
    assert '"manager": "rolehost-deploy"' in managed.stdout
    assert (cat / "role.yaml").read_text() == manifest


def test_deploy_ends_at_once_with_the_conditions_words_where_waiting_is_no_cure(
    platform: ApiServer, tenant: str, gateway: tuple[str, list[str]], cat: Path
) -> None:
    operator = Operator(platform, tenant, "cat", BROKEN)
    operator.start()
    try:
        told = rolehost(platform, "deploy", str(cat), "-n", tenant, "--url", gateway[0], code=1)
    finally:
        operator.over.set()
        operator.join()
    assert "Error: cat: LogicInvalid: cat.py:3: NameError" in told


def test_deploy_changes_nothing_where_the_manifest_is_wrong(
    platform: ApiServer, tenant: str, gateway: tuple[str, list[str]], cat: Path
) -> None:
    text = (cat / "role.yaml").read_text()
    (cat / "role.yaml").write_text(text.replace("displayName", "displayname"))
    told = rolehost(platform, "deploy", str(cat), "-n", tenant, "--url", gateway[0], code=1)
    assert "Did you mean `displayName`?" in told
    assert gateway[1] == []
    assert platform.get("hostedroles.rolehost.io", "cat", "-n", tenant) is None


def test_deploy_says_what_it_waited_for(
    platform: ApiServer, tenant: str, gateway: tuple[str, list[str]], cat: Path
) -> None:
    told = rolehost(platform, "deploy", str(cat), "-n", tenant, "--url", gateway[0], "--timeout", "1", code=1)
    assert "the operator has not looked at it" in told


def test_deploy_into_a_namespace_that_is_no_tenants_says_who_does_what(
    platform: ApiServer, gateway: tuple[str, list[str]], cat: Path
) -> None:
    plain = platform.namespace("plain")
    told = rolehost(platform, "deploy", str(cat), "-n", plain, "--url", gateway[0], code=1)
    assert f"namespace {plain} is not a tenant's" in told
    assert f"rolehost tenants add {plain}" in told


def test_deploy_breaks_the_silence_of_the_operator(
    platform: ApiServer, tenant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the user may not look at namespaces, so that nothing can be known."""
    role = {"apiVersion": "rolehost.io/v1alpha1", "kind": "Role", "metadata": {"name": "cat", "namespace": tenant}}
    platform.apply(role | {"spec": {"template": {"persona": {"system": "You are a cat."}}}})
    monkeypatch.setenv("KUBECONFIG", str(platform.kubeconfig))
    monkeypatch.setattr(deploying, "SILENCE", 0.0)
    with pytest.raises(ClickException, match=f"rolehost tenants add {tenant}"):
        deploying._await_ready(Kubectl(namespace=tenant), "cat", 1.0, "")
    assert f"rolehost tenants add {tenant}" in capsys.readouterr().out


def test_push_writes_the_digest_into_the_manifest(
    gateway: tuple[str, list[str]], platform: ApiServer, cat: Path
) -> None:
    url, pushed = gateway
    told = rolehost(platform, "push", str(cat), "--write", "--url", url)
    assert pushed[0] in told
    assert f"bundle: {pushed[0]}" in (cat / "role.yaml").read_text()
    rolehost(platform, "push", str(cat), "--write", "--url", url)
    assert pushed[0] == pushed[1], "the digest in the manifest must not change the digest"
    assert check((cat / "role.yaml").read_text()) == []


def test_a_gateway_that_is_away_is_a_sentence(platform: ApiServer, cat: Path) -> None:
    assert "does not answer" in rolehost(platform, "push", str(cat), "--url", "http://127.0.0.1:1", code=1)
