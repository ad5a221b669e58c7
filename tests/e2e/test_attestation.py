"""Gateway and pod know each other: what attests a pod is nowhere in it, and who is not attested hears nothing."""

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.cluster.common import ClusterError
from tests.cluster.testing import PLATFORM, Cluster, Object, Tenant, until

from rolehost_api.link.attestation import attests, fingerprint, namespace_key
from rolehost_api.names import (
    COMPONENT,
    LINK_PORT,
    LINK_SECRET,
    LINK_SECRET_KEY,
    PLATFORM_KEYS,
    PLATFORM_KEYS_ENTRY,
    REVISION,
    ROLE,
    RUNTIME_CLASS,
    SANDBOX,
    SANDBOX_SERVICE_ACCOUNT,
)

ROLE_NAME = "known"
SEEN = """
import base64, json, os
def content(path):
    try:
        with open(path, "rb") as file:
            return base64.b64encode(file.read(1 << 20)).decode()
    except OSError:
        return ""
files = {}
for root in ("/etc/rolehost", "/run/secrets", "/var/run/secrets", "/tmp"):
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            files[os.path.join(folder, name)] = content(os.path.join(folder, name))
for process in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline"):
        files[f"/proc/{process}/{name}"] = content(f"/proc/{process}/{name}")
writable = []
for folder in ("/etc/rolehost/identity", "/etc/rolehost/platform-keys"):
    try:
        open(folder + "/probe", "w").close()
        writable.append(folder)
    except OSError:
        pass
print(json.dumps({"files": files, "writable": writable, "mounts": open("/proc/mounts").read()}))
"""
"""From inside the main container: everything that a key could lie in."""

LISTENER = """
import asyncio, os, ssl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rolehost_api.link.framing import encode
from rolehost_api.link.messages import Hello, Probe
from rolehost_runtime.sandbox.attest import identity
os.makedirs("/tmp/me")
made = identity(os.urandom(32), os.environ["ROLEHOST_POD_UID"], Ed25519PrivateKey.generate())
for name, content in made.items():
    with open("/tmp/me/" + name, "wb") as file:
        file.write(content)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("/tmp/me/cert.pem", "/tmp/me/key.pem")
async def play(reader, writer):
    probe = Probe(gvisor=True, token=False, tried=("10.96.0.1:443",))
    writer.write(encode(0, Hello(protocols=(1,), nonce=bytes(32), probe=probe, attestation=made["attestation"])))
    heard = await reader.read()
    print("heard", len(heard), flush=True)
    writer.close()
async def main():
    server = await asyncio.start_server(play, "0.0.0.0", %d, ssl=tls)
    await server.serve_forever()
asyncio.run(main())
"""
"""A tenant's own code in the platform's image, which plays a sandbox as well as one can without the namespace's key."""


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("attested") as made:
        made.apply_role(ROLE_NAME, logic=f"from rolehost import Role\nknown = Role('{ROLE_NAME}')\n")
        made.wait_ready(ROLE_NAME)
        yield made


def secret(cluster: Cluster, namespace: str) -> bytes:
    """The namespace's key."""
    return base64.b64decode(cluster.get("secret", LINK_SECRET, "-n", namespace)["data"][LINK_SECRET_KEY])


def refusal(cluster: Cluster, made: Object) -> str:
    """What the apiserver says where it does not admit this; empty where it does."""
    try:
        cluster.apply(made)
    except ClusterError as error:
        return str(error)
    return ""


def reports(cluster: Cluster, tenant: Tenant) -> dict[str, Object]:
    """What the gateway says of this tenant's pods, by UID."""
    return {pod["uid"]: pod for pod in cluster.observed() if pod["namespace"] == tenant.name}


def test_an_attested_pod_serves(cluster: Cluster, tenant: Tenant) -> None:
    with cluster.talk(ROLE_NAME, tenant.key("chat"), f"attested-{secrets.token_hex(4)}") as person:
        assert person.say("hello")["status"] == "completed"
    for report in reports(cluster, tenant).values():
        assert report["loaded"] is True
        assert "error" not in report


def test_every_tenants_key_is_made_of_the_platforms_root_and_its_own_uid(cluster: Cluster, tenant: Tenant) -> None:
    root = base64.b64decode(cluster.get("secret", "rolehost-attestation", "-n", PLATFORM)["data"]["root"])
    uid = cluster.get("namespace", tenant.name)["metadata"]["uid"]
    assert secret(cluster, tenant.name) == namespace_key(root, uid)
    told = cluster.get("configmap", PLATFORM_KEYS, "-n", tenant.name)["data"][PLATFORM_KEYS_ENTRY]
    assert [len(base64.b64decode(line)) for line in told.split()] == [32]


def test_the_namespaces_key_is_mounted_in_init_containers_and_nowhere_else(cluster: Cluster, tenant: Tenant) -> None:
    pods = cluster.get("pods", "-n", tenant.name)["items"]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        volumes = {
            volume["name"] for volume in spec["volumes"] if volume.get("secret", {}).get("secretName") == LINK_SECRET
        }
        containers = [*spec["initContainers"], *spec["containers"], *spec.get("ephemeralContainers", [])]
        holders = [one["name"] for one in containers if volumes & {mount["name"] for mount in one["volumeMounts"]}]
        assert holders == ["attest"]
        variables = [entry for one in containers for entry in one.get("env", [])]
        assert not any("secretKeyRef" in entry.get("valueFrom", {}) for entry in variables)
        assert not any(one.get("envFrom") for one in containers)


def test_nothing_in_the_main_container_holds_the_namespaces_key(cluster: Cluster, tenant: Tenant) -> None:
    key, (pod, *_) = secret(cluster, tenant.name), cluster.pods(tenant.name, role=ROLE_NAME)
    told = cluster.kubectl("exec", "-n", tenant.name, pod, "-c", SANDBOX, "--", "python3", "-c", SEEN)
    seen: dict[str, Any] = json.loads(told)
    files = {path: base64.b64decode(content) for path, content in seen["files"].items()}
    identity = "/etc/rolehost/identity/"
    assert {path for path in files if path.startswith(identity)} == {
        identity + name for name in ("key.pem", "cert.pem", "attestation")
    }
    for path, content in files.items():
        for form in (key, base64.b64encode(key), key.hex().encode()):
            assert form not in content, path
    assert "/etc/rolehost/namespace" not in seen["mounts"]
    assert seen["writable"] == []
    # The positive control: what is there is this pod's, made with that key.
    der = base64.b64decode(b"".join(files[identity + "cert.pem"].splitlines()[1:-1]))
    uid = cluster.get("pod", pod, "-n", tenant.name)["metadata"]["uid"]
    assert attests(files[identity + "attestation"], key, uid, fingerprint(der))


def test_a_pod_with_our_labels_that_is_not_attested_hears_nothing(cluster: Cluster, tenant: Tenant) -> None:
    """Made by hand under all of our labels. Where the cluster does not even admit it, that is as good."""
    (real, *_) = cluster.get("pods", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}")["items"]
    main = next(one for one in real["spec"]["containers"] if one["name"] == SANDBOX)
    name = "forged"
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": tenant.name,
            "labels": {
                COMPONENT: SANDBOX,
                ROLE: ROLE_NAME,
                REVISION: real["metadata"]["labels"][REVISION],
            },
        },
        "spec": {
            "runtimeClassName": RUNTIME_CLASS,
            "serviceAccountName": SANDBOX_SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": real["spec"]["securityContext"],
            "containers": [
                {
                    "name": SANDBOX,
                    "image": main["image"],
                    "imagePullPolicy": main["imagePullPolicy"],
                    "command": ["python3", "-c", LISTENER % LINK_PORT],
                    "env": [{"name": "ROLEHOST_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
                    "securityContext": main["securityContext"],
                    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
        },
    }
    if said := refusal(cluster, pod):
        assert "ValidatingAdmissionPolicy" in said
        return
    try:
        uid = cluster.get("pod", name, "-n", tenant.name)["metadata"]["uid"]

        def refused_three_times() -> list[str] | None:
            heard = [line for line in cluster.kubectl("logs", "-n", tenant.name, name).splitlines() if "heard" in line]
            return heard if len(heard) >= 3 else None

        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", tenant.name, "--timeout=60s")
        heard = until(refused_three_times, 60, lambda: f"three links to {name}; {reports(cluster, tenant).get(uid)}")
        assert set(heard) == {"heard 0"}
        report = reports(cluster, tenant)[uid]
        assert report["error"]["code"] == "pod_not_attested"
        assert not report.get("loaded", False)
        assert "probe" not in report, "what a stranger says about itself is not taken for the pod's"
    finally:
        cluster.kubectl("delete", "pod", name, "-n", tenant.name, "--ignore-not-found", "--wait=true")


@pytest.mark.timeout(480)
def test_running_pods_learn_the_gateways_next_key(cluster: Cluster, tenant: Tenant) -> None:
    """By mounts alone, which take the kubelet up to a minute and a half each: the operator's, then the pod's."""
    following = Ed25519PrivateKey.generate().public_key()
    pem = following.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    line = base64.b64encode(following.public_bytes_raw()).decode()
    (pod, *_) = cluster.get("pods", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}")["items"]
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    public = ("configmap", "rolehost-link-public", "-n", PLATFORM)

    def told(entry: str | None) -> None:
        patch = json.dumps({"data": {"next.pem": entry}})
        cluster.kubectl("patch", *public, "--type=merge", f"-p={patch}")

    told(pem.decode())
    try:
        read = f"print(open('/etc/rolehost/platform-keys/{PLATFORM_KEYS_ENTRY}').read())"
        shown = ("exec", "-n", tenant.name, name, "-c", SANDBOX, "--", "python3", "-c", read)
        until(lambda: line in cluster.kubectl(*shown) or None, 360, lambda: "the pod reads the next key")
        now = cluster.get("pod", name, "-n", tenant.name)
        assert now["metadata"]["uid"] == uid
        assert [one["restartCount"] for one in now["status"]["containerStatuses"]] == [0]
    finally:
        told(None)


@pytest.mark.timeout(300)
def test_a_real_pod_under_another_key_is_not_bound_and_the_operator_mends_it(cluster: Cluster, tenant: Tenant) -> None:
    key = secret(cluster, tenant.name)
    forged = base64.b64encode(secrets.token_bytes(32)).decode()

    def pods() -> dict[str, Object]:
        found = cluster.get("pods", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}")["items"]
        return {pod["metadata"]["uid"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    with cluster.scaled_to_zero("deployment/rolehost-operator"):
        before = pods().keys()
        patch = json.dumps({"data": {LINK_SECRET_KEY: forged}})
        # Nobody else may, by the admission policies: whoever does it has taken the operator over.
        operator = f"--as=system:serviceaccount:{PLATFORM}:rolehost-operator"
        cluster.kubectl("patch", "secret", LINK_SECRET, "-n", tenant.name, "--type=merge", f"-p={patch}", operator)
        cluster.kubectl("delete", "pods", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}", "--wait=true")

        def strangers() -> list[Object] | None:
            fresh = pods().keys() - before
            told = [report for uid, report in reports(cluster, tenant).items() if uid in fresh]
            return told if told and all(one.get("error") for one in told) else None

        for report in until(strangers, 90, lambda: f"the new pods are refused: {reports(cluster, tenant)}"):
            assert report["error"]["code"] == "pod_not_attested"
            assert not report.get("loaded", False)
        for pod in pods().values():
            ready = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
            assert ready["Ready"] == "False"
    until(lambda: secret(cluster, tenant.name) == key or None, 60, lambda: "the operator makes the key again")
    cluster.kubectl("delete", "pods", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}", "--wait=true")
    cluster.kubectl("rollout", "status", "deployment", "-n", tenant.name, "-l", f"{ROLE}={ROLE_NAME}", "--timeout=90s")
    with cluster.talk(ROLE_NAME, tenant.key("chat"), f"mended-{secrets.token_hex(4)}") as person:
        assert person.say("hello again")["status"] == "completed"
