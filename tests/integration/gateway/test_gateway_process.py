"""`rolehost gateway` and `rolehost upload` as processes, as their Deployments run them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.support.apiserver import ApiServer
from tests.support.keypair import Pair
from tests.support.ports import free_port
from tests.support.redis import RedisServer, running
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from rolehost_api import bundle, identity, names
from rolehost_runtime.gateway.edge.tokens import signing_key, verified

WAIT = 40


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: str, **settings: object) -> "Process":
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ROLEHOST_")}
        environ |= {f"ROLEHOST_{name.upper()}": str(value) for name, value in settings.items()}
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "rolehost"), command, env=environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return cls(process)

    async def stop(self) -> tuple[int, str, str]:
        """Exit status, log and stderr after SIGTERM."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.end()

    async def end(self) -> tuple[int, str, str]:
        out, err = await asyncio.wait_for(self._process.communicate(), WAIT)
        return self._process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def link_key(tmp_path: Path) -> Path:
    """The private half; the public one lies in a folder beside it."""
    pair, folder = Pair(tmp_path, "link"), tmp_path / "public"
    folder.mkdir()
    (folder / "cert.pem").write_bytes(pair.pem)
    return pair.key


@pytest.fixture
def root_file(tmp_path: Path) -> Path:
    (tmp_path / "root").write_bytes(bytes(range(32)))
    return tmp_path / "root"


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def answers(http: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            try:
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


async def test_gateway_and_upload_serve_a_tenant_and_end_when_asked(
    role_api: ApiServer,
    redis_server: RedisServer,
    link_key: Path,
    root_file: Path,
    tmp_path: Path,
    http: aiohttp.ClientSession,
) -> None:
    platform = await asyncio.to_thread(role_api.namespace, "platform")
    tenant = await asyncio.to_thread(role_api.namespace, "tenant", {names.TENANT: "yes"})
    uid = (await asyncio.to_thread(role_api.get, "namespace", tenant))["metadata"]["uid"]
    key_id, key, sha256 = identity.new_key()
    entry = json.dumps(
        {"sha256": sha256, "tenant": tenant, "tenantUID": uid, "scopes": ["chat", "push", "act-as-user"]}
    )
    role = {
        "apiVersion": names.API_VERSION, "kind": "Role", "metadata": {"name": "cat", "namespace": tenant},
        "spec": {"template": {"persona": {"system": "You are a cat."}}},
    }  # fmt: skip
    keys = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.KEYS, "namespace": platform},
        "data": {key_id: entry},
    }
    images = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.TRUSTED_IMAGES, "namespace": platform},
        "data": {names.TRUSTED_IMAGES_ENTRY: "a,b"},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": platform}}
    await asyncio.to_thread(role_api.apply, role, keys, images, account)
    asked = ("-n", platform, "create", "token", "operator", f"--audience={names.OBSERVED_AUDIENCE}")
    token = (await asyncio.to_thread(role_api.kubectl, *asked)).stdout.strip()

    port, upload_port, metrics_port, internal_port = free_port(), free_port(), free_port(), free_port()
    upload = await Process.start(
        "upload",
        host="127.0.0.1",
        port=upload_port,
        bundles_dir=tmp_path / "bundles",
        platform_keys_dir=link_key.parent / "public",
    )
    gateway = await Process.start(
        "gateway", host="127.0.0.1", port=port, internal_port=internal_port, metrics_port=metrics_port, namespace=platform,
        redis_url=redis_server.url, link_key_file=link_key, model_keys_dir=tmp_path,
        attestation_file=root_file, platform_keys_dir=link_key.parent / "public", peer_port=0,
        upload_url=f"http://127.0.0.1:{upload_port}", kubeconfig=role_api.kubeconfig,
        operator_service_account=f"{platform}/operator",
    )  # fmt: skip
    url, bearer = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    try:
        await answers(http, f"http://127.0.0.1:{upload_port}/healthz")
        await answers(http, f"{url}/readyz")
        async with http.get(f"{url}/v1/roles", headers=bearer) as answer:
            assert [role["name"] for role in (await answer.json())["roles"]] == ["cat"]
        async with http.post(f"{url}/v1/tokens", headers=bearer, json={"user": "u-17", "role": "cat"}) as answer:
            mine = (await answer.json())["token"]
        signed = verified(signing_key(root_file.read_bytes()), mine, time.time_ns() // 1_000_000)
        assert (signed.user, signed.tenant_uid) == ("u-17", uid), "any gateway that has this root believes it"
        archive = bundle.pack_files({"story.py": b"x = 1\n"})
        async with http.put(f"{url}/v1/bundles", headers=bearer, data=bundle.compress(archive)) as answer:
            assert (answer.status, (await answer.json())["digest"]) == (200, bundle.digest(archive))
        async with http.post(f"{url}/v1/roles:check", headers=bearer, data=b"kind: Cat") as answer:
            assert (answer.status, bool((await answer.json())["findings"])) == (200, True)
        report = f"http://127.0.0.1:{internal_port}/internal/v1/observed"
        async with http.get(report, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert (await answer.json())["listening"] is True, "it vouches for the port that sandboxes must not reach"
        async with http.get(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
            told = await answer.text()
            assert "rolehost_gateway_watch_lists_total" in told
            assert "rolehost_gateway_pods_not_attested_total 0.0" in told
            for name in ("rolehost_tenants_over_share", "rolehost_retention_missing_sessions_total"):
                assert f"{name} 0.0" in told
        words = [Subprotocol("role.v1"), Subprotocol(f"bearer.{mine}")]
        async with (
            connect(f"ws://127.0.0.1:{port}/role/cat", additional_headers=bearer) as client,
            connect(f"ws://127.0.0.1:{port}/role/cat", subprotocols=words) as user,
        ):
            await client.send('{"message": "hi", "session_id": "s"}')
            heard = json.loads(await client.recv())
            assert heard["error"]["code"] == "no_ready_revision"
            await asyncio.to_thread(
                role_api.kubectl, "-n", platform, "patch", "configmap", names.KEYS, "--type=merge", "-p", json.dumps({"data": {key_id: None}})
            )  # fmt: skip
            assert json.loads(await client.recv())["error"]["code"] == "key_revoked"
            assert json.loads(await user.recv())["error"]["code"] == "key_revoked"
    finally:
        status, log, err = await gateway.stop()
        upload_status, upload_log, upload_err = await upload.stop()
    assert (status, err) == (0, "")
    assert (upload_status, upload_err) == (0, "")
    lines = [json.loads(line) for line in (log + upload_log).splitlines()]
    assert {"ts", "level", "logger", "message"} == set(lines[0])
    # An apiserver whose caches are not warm yet says 429 to a watch: that is told, and no fault of ours.
    loud = [line["message"] for line in lines if line["level"] in ("error", "warning")]
    assert [message for message in loud if "the apiserver said 429" not in message] == []
    assert not any(secret in log for secret in (key, mine))
    assert "hi" not in [word for line in lines for word in str(line["message"]).split()]


async def test_without_the_attestation_root_there_is_no_gateway(link_key: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(31))
    for missing in ("/nowhere", tmp_path / "short"):
        started = await Process.start(
            "gateway",
            link_key_file=link_key,
            platform_keys_dir=link_key.parent / "public",
            attestation_file=missing,
        )
        status, _, err = await started.end()
        assert (status, str(missing) in err, "Traceback" in err) == (1, True, False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"prot": 1}, "ROLEHOST_PROT", id="a-misspelt-name"),
        pytest.param({"redis_url": "redis://:hunter2@r"}, "ROLEHOST_REDIS_URL", id="a-password-in-a-url"),
        pytest.param({"link_key_file": "/nowhere"}, "/nowhere", id="no-key"),
    ],
)  # fmt: skip
async def test_bad_settings_end_the_start_with_a_sentence(settings: dict[str, object], said: str) -> None:
    status, _, err = await (await Process.start("gateway", **settings)).end()
    assert status == 1
    assert said in err
    assert "Traceback" not in err
    assert "hunter2" not in err
