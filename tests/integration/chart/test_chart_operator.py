"""The operator runs with what the chart gives it: its environment, its keys, and its rights, no more."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.chart.helm import NAMESPACE, Release
from tests.support.ports import free_port

from rolehost_api import names

pytestmark = pytest.mark.timeout(240)
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:rolehost-operator"
GROUPS = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]


def until(ask: Callable[[], Any], what: str, log: Path) -> Any:
    deadline = time.monotonic() + 60
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within a minute: {what}\n{log.read_text()[-3000:]}")
        time.sleep(0.2)
    return found


@pytest.fixture
def operator_log(release: Release, tmp_path: Path) -> Iterator[Path]:
    """The running operator's log. Its environment is the rendered one; only files and ports are this machine's."""
    release.upgrade("--set", "runtimeClass.create=true")
    [container] = release.get("deployment", "rolehost-operator")["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value", "from-a-reference") for one in container["env"]}
    keys = tmp_path / "keys"
    keys.mkdir()
    for name, text in release.get("configmap", "rolehost-link-public")["data"].items():
        (keys / name).write_text(text)
    token = tmp_path / "token"
    token.write_text("none")
    root = tmp_path / "root"
    root.write_bytes(base64.b64decode(release.get("secret", "rolehost-attestation")["data"]["root"]))
    environment |= {
        "ROLEHOST_PLATFORM_KEYS": str(keys),
        "ROLEHOST_ATTESTATION_FILE": str(root),
        "ROLEHOST_GATEWAY_TOKEN": str(token),
        "ROLEHOST_METRICS_PORT": str(free_port()),
        "KUBECONFIG": str(release.server.kubeconfig_for(ACCOUNT, GROUPS)),
    }
    log = tmp_path / "operator.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "rolehost.cli", *container["command"][1:]],
            env={**os.environ, **environment},
            stdout=out,
            stderr=out,
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_its_rights_are_enough_and_no_more_is_tried(release: Release, operator_log: Path) -> None:
    role = {
        "apiVersion": names.API_VERSION,
        "kind": "Role",
        "metadata": {"name": "cat", "namespace": "acme"},
        "spec": {"template": {"personaFrom": {"configMapRef": {"name": "texts"}}}},
    }
    texts = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "texts", "namespace": "acme"},
        "data": {"system": "You are a cat."},
    }
    release.server.apply(texts, role)

    def get(*what: str) -> Any:
        return release.server.get(*what, "-n", "acme") or {}

    deployments = until(
        lambda: get("deployments", "-l", f"{names.ROLE}=cat").get("items"), "a Deployment for the Role", operator_log
    )
    [deployment] = deployments
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "rolehost-sandbox:0.1.0"
    assert get("networkpolicy", names.SANDBOX_POLICY)
    assert get("serviceaccount", names.SANDBOX_SERVICE_ACCOUNT)
    assert get("secret", names.LINK_SECRET)["data"].keys() == {names.LINK_SECRET_KEY}
    assert get("configmap", names.PLATFORM_KEYS)["data"].keys() == {names.PLATFORM_KEYS_ENTRY}
    assert get("poddisruptionbudget", names.SANDBOX_BUDGET)["spec"]["maxUnavailable"] == "10%"

    def conditions() -> Any:
        return get("rhr", "cat").get("status", {}).get("conditions", [])

    told = {one["type"]: one["reason"] for one in until(conditions, "a status", operator_log)}
    assert told[names.READY] == names.NO_GATEWAY, "it leads, and no gateway reports here"
    refused = [write for write in release.server.writes(ACCOUNT) if write.code == 403]
    assert refused == []
    assert "forbidden" not in operator_log.read_text().lower()


def test_a_role_from_before_the_policies_is_kept_and_edited_under_them(release: Release, operator_log: Path) -> None:
    """Whichever comes first, tenants, their Roles or the policies: all of it fits together."""
    release.upgrade("--set", "runtimeClass.create=true,admission.enabled=false")
    role = {
        "apiVersion": names.API_VERSION,
        "kind": "Role",
        "metadata": {"name": "early", "namespace": "acme"},
        "spec": {"template": {"persona": {"system": "You are an early bird."}}},
    }

    def made() -> Any:
        found = release.server.items("deployments", "-n", "acme", "-l", f"{names.ROLE}=early")
        return {one["metadata"]["name"] for one in found}

    assert release.server.get("validatingadmissionpolicy", "rolehost-revisions") is None
    release.server.apply(role)
    [first] = until(made, "a Deployment without policies", operator_log)
    release.upgrade("--set", "runtimeClass.create=true")
    forged = ("create", "deployment", "forged", "-n", "acme", "--image=x", "--dry-run=client", "-o", "yaml")
    labelled = yaml.safe_load(release.server.kubectl(*forged).stdout)
    labelled["metadata"]["labels"] = {names.ROLE: "early"}
    tried = ("create", "--dry-run=server", "-f", "-")
    until(
        lambda: release.server.kubectl(*tried, stdin=yaml.safe_dump(labelled), check=False).returncode,
        "the policies are in force",
        operator_log,
    )
    release.server.apply({**role, "spec": {"template": {"persona": {"system": "You are a late bird."}}}})
    until(lambda: made() > {first}, "a second Deployment under the policies", operator_log)
    release.server.kubectl(
        "patch", "rhr", "early", "-n", "acme", "--type=merge", "-p", '{"spec": {"scaling": {"minReplicas": 2}}}'
    )

    def replicas() -> Any:
        return {
            one["spec"]["replicas"]
            for one in release.server.items("deployments", "-n", "acme", "-l", f"{names.ROLE}=early")
        }

    until(lambda: replicas() == {2}, "the early one is edited as well", operator_log)
    assert [write for write in release.server.writes(ACCOUNT) if write.code == 403] == []


def test_it_stays_out_of_a_namespace_that_is_no_tenant(release: Release, operator_log: Path) -> None:
    namespace = release.server.namespace("stranger")
    role = {
        "apiVersion": names.API_VERSION,
        "kind": "Role",
        "metadata": {"name": "cat", "namespace": namespace},
        "spec": {"template": {"persona": {"system": "You are a cat."}}},
    }
    mark = {**role, "metadata": {"name": "later", "namespace": "acme"}}
    release.server.apply(role)
    until(lambda: "leads" in operator_log.read_text(), "the lease", operator_log)
    release.server.apply(mark)
    until(lambda: (release.server.get("rhr", "later", "-n", "acme") or {}).get("status"), "a later Role", operator_log)
    assert release.server.get("deployments", "-n", namespace) is None
    assert [write for write in release.server.writes(ACCOUNT, namespace) if write.code < 300] == []
