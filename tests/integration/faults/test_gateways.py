"""Gateways that lose the apiserver: F04 to F07 on their side, and one that starts while it is away."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.apiserver import ApiServer
from tests.support.faultproxy import Asked, FaultProxy
from tests.support.proof import NUMBERS, SOAK, keep
from tests.support.redis import RedisServer, running
from tests.support.rooms import PodDialer, Shelves, revision_entry
from websockets.asyncio.client import ClientConnection, connect

from rolehost_api import identity, names
from rolehost_api.crd.modelbackend import BackendType
from rolehost_runtime.gateway.app import Adapters, Gateway, Options, wall_ms
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.redis_tables import RedisLastGood
from rolehost_runtime.gateway.edge.auth import KeyAuth
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.tables import KINDS, Tables
from rolehost_runtime.gateway.watch.api import Api, from_kubeconfig
from rolehost_runtime.gateway.watch.cluster import ClusterFeed
from rolehost_runtime.gateway.watch.lastgood import LastGood

IMAGE = "sandbox:1"
REVISION = revision_entry()
SLOW_SECONDS = 40


class Town:
    """What a platform team and a tenant applied, and the one pod that runs there."""

    def __init__(self, api: ApiServer, redis: RedisServer) -> None:
        self.api, self.redis = api, redis
        self.dialer = PodDialer()
        self.platform = api.namespace("platform")
        self.tenant = api.namespace("tenant", {names.TENANT: "yes"})
        self.key_id, self.key, sha256 = identity.new_key()
        uid = api.get("namespace", self.tenant)["metadata"]["uid"]
        entry = {"sha256": sha256, "tenant": self.tenant, "tenantUID": uid, "scopes": ["chat"]}
        here = {"namespace": self.tenant}
        labels = {names.ROLE: "cat", names.REVISION: REVISION.name, names.POD_TEMPLATE_HASH: "abc"}
        replicaset = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{REVISION.name}-abc", "uid": "1-2-3"}
        owned = {"ownerReferences": [{**replicaset, "controller": True}]}
        api.apply(
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"},
            {
                "apiVersion": names.API_VERSION, "kind": "ModelBackend", "metadata": {"name": "default"},
                "spec": {"type": "Scripted", "script": [{"reply": "{message}, after {previous}"}]},
            },
            {
                "apiVersion": names.API_VERSION, "kind": "Role", "metadata": {"name": "cat", **here},
                "spec": {"template": msgspec.to_builtins(REVISION.spec.template)},
            },
            {
                "apiVersion": names.API_VERSION, "kind": "RoleRevision", "metadata": {"name": REVISION.name, **here},
                "spec": msgspec.to_builtins(REVISION.spec),
            },
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": names.SANDBOX_SERVICE_ACCOUNT, **here}},
            {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cat-0", "labels": labels, **owned, **here},
                "spec": {
                    "runtimeClassName": "gvisor", "serviceAccountName": names.SANDBOX_SERVICE_ACCOUNT,
                    "containers": [{"name": "sandbox", "image": IMAGE}],
                },
            },
            {
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": names.KEYS, "namespace": self.platform}, "data": {self.key_id: json.dumps(entry)},
            },
            {
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": names.TRUSTED_IMAGES, "namespace": self.platform}, "data": {"trusted": IMAGE},
            },
        )  # fmt: skip
        self.patch("pod", "cat-0", {"phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}]})
        self.patch("hostedroles.rolehost.io", "cat", {"stableRevision": REVISION.name})
        self.dialer.add(api.get("pod", "cat-0", "-n", self.tenant)["metadata"]["uid"])

    def patch(self, kind: str, name: str, status: dict[str, Any]) -> None:
        body = json.dumps({"status": status})
        self.api.kubectl("-n", self.tenant, "patch", kind, name, "--subresource=status", "--type=merge", "-p", body)

    def revoke(self) -> None:
        body = json.dumps({"data": {self.key_id: None}})
        self.api.kubectl("-n", self.platform, "patch", "configmap", names.KEYS, "--type=merge", "-p", body)


class House:
    """A gateway's process, but for the process: watches, Redis and sockets are real, its one pod is not."""

    def __init__(self, town: Town, kubeconfig: Path, key: Ed25519PrivateKey) -> None:
        self.town, self.tables, self.metrics = town, Tables(), Metrics()
        self._kubeconfig, self._key = kubeconfig, key

    async def __aenter__(self) -> "House":
        town, url = self.town, self.town.redis.url
        api = await Api(from_kubeconfig(self._kubeconfig)).__aenter__()
        store, kept = RedisSessionStore.connect(url), RedisLastGood.connect(url)
        feed = ClusterFeed(api, self.tables, self.metrics, namespace=town.platform)
        key = self._key
        last_good = LastGood(self.tables, kept, feed.places, key, key.public_key(), self.metrics, wall_ms)
        adapters = Adapters(
            tables=self.tables, dialer=town.dialer, bundles=Shelves(), store=store,
            models=Models({BackendType.SCRIPTED: ScriptedProvider()}), auth=KeyAuth(self.tables.keys),
            signing_key=town.dialer.key, store_answers=store.answers, require_gvisor=False, feeds=(feed, last_good),
            closing=(store.close, kept.close, api.close),
        )  # fmt: skip
        self.gateway = Gateway(Options(port=0, drain_seconds=0.2), adapters, self.metrics)
        await self.gateway.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.stop()

    def number(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def ready(self) -> dict[str, Any]:
        """What /readyz says once it is."""
        async with aiohttp.ClientSession() as http, asyncio.timeout(SLOW_SECONDS):
            while True:
                async with http.get(f"http://127.0.0.1:{self.gateway.port}/readyz") as answer:
                    if answer.status == 200:
                        return dict(await answer.json())
                await asyncio.sleep(0.1)

    def talk(self) -> connect:
        headers = {"Authorization": f"Bearer {self.town.key}"}
        return connect(f"ws://127.0.0.1:{self.gateway.port}/role/cat", additional_headers=headers)


async def say(client: ClientConnection, message: str) -> str:
    """The answer to it; an error's code where there is none."""
    await client.send(json.dumps({"message": message, "session_id": "s"}))
    async with asyncio.timeout(SLOW_SECONDS):
        while True:
            frame = json.loads(await client.recv())
            if frame["type"] == "error":
                return str(frame["error"]["code"])
            if frame.get("done"):
                return str(frame["message"])


async def until(check: Callable[[], bool], what: str, seconds: float = SLOW_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def town(role_api: ApiServer, redis: RedisServer) -> AsyncIterator[Town]:
    yield await asyncio.to_thread(Town, role_api, redis)
    await asyncio.to_thread(role_api.up)  # whatever a test did
    store = RedisLastGood.connect(redis.url)
    await store._redis.everywhere("FLUSHALL")
    await store.close()


@pytest.fixture
async def proxy(role_api: ApiServer) -> AsyncIterator[FaultProxy]:
    made = await asyncio.to_thread(FaultProxy, role_api, "admin", ("system:masters",))
    yield made
    await asyncio.to_thread(made.close)


def memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watching(plural: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.watch and asked.name == plural


AGE = "rolehost_gateway_watch_last_event_age_seconds"


@pytest.mark.timeout(NUMBERS.outage_seconds + 240)
async def test_f04_sessions_go_on_while_the_apiserver_is_away(town: Town) -> None:
    """F04: killed. No socket is dropped and no turn fails; the age of the last event tells; memory stays flat."""
    async with House(town, town.api.kubeconfig, Ed25519PrivateKey.generate()) as house:
        assert await house.ready() == {"ok": True}
        async with house.talk() as client:
            assert await say(client, "one") == "one, after "
            before, number, last = memory_mib(), 0, "one"
            await asyncio.to_thread(town.api.down)
            away = time.monotonic()
            while time.monotonic() - away < NUMBERS.outage_seconds:
                number += 1
                assert await say(client, f"turn {number}") == f"turn {number}, after {last}"
                last = f"turn {number}"
                await asyncio.sleep(0.5)
            assert house.number(AGE, kind="pods") > NUMBERS.outage_seconds - 10
            assert house.number("rolehost_gateway_watch_failures_total", kind="pods") >= 1
            grown = memory_mib() - before
            assert grown < 16, grown
            assert await house.ready() == {"ok": True}
            await asyncio.to_thread(town.api.up)
            back = time.monotonic()
            await asyncio.to_thread(town.revoke)
            async with asyncio.timeout(30):
                assert json.loads(await client.recv())["error"]["code"] == "key_revoked"
            took = time.monotonic() - back
            await until(lambda: house.number(AGE, kind="pods") < 20, "the age falls")
    keep("faults-f04-gateway", {"outage_s": NUMBERS.outage_seconds, "turns": number, "mib": grown, "caught_up_s": took})


@pytest.mark.timeout(240)
async def test_a_gateway_that_starts_while_the_apiserver_is_away_serves_from_the_last_good_tables(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    key = Ed25519PrivateKey.generate()
    async with House(town, town.api.kubeconfig, key) as seeing:
        await seeing.ready()
        async with seeing.talk() as client:
            assert await say(client, "one") == "one, after "
        await until(
            lambda: seeing.number("rolehost_tables_kept_total", outcome="kept") >= len(KINDS), "all kinds are kept"
        )
    await asyncio.to_thread(town.api.down)
    async with House(town, town.api.kubeconfig, key) as blind:
        assert await blind.ready() == {"ok": True, "stale": True}
        assert blind.number("rolehost_tables_stale") == 1.0
        assert "serving from the last good tables" in caplog.text
        assert (await blind.gateway.report.observed(-1, 0)).stale
        async with blind.talk() as client:
            assert await say(client, "two") == "two, after one"
            await asyncio.to_thread(town.api.up)
            await until(lambda: blind.number("rolehost_tables_stale") == 0.0, "the listings replace them")
            assert await say(client, "three") == "three, after two"
            assert not (await blind.gateway.report.observed(-1, 0)).stale
            await asyncio.to_thread(town.revoke)
            async with asyncio.timeout(30):
                assert json.loads(await client.recv())["error"]["code"] == "key_revoked"
        assert await blind.ready() == {"ok": True}


@pytest.mark.timeout(240)
async def test_a_key_revoked_while_nobody_could_see_it_ends_with_the_first_listing(town: Town) -> None:
    """While it is blind a gateway takes a key that was revoked meanwhile: it cannot know. With the apiserver that ends."""
    key = Ed25519PrivateKey.generate()
    async with House(town, town.api.kubeconfig, key) as seeing:
        await seeing.ready()
        await until(
            lambda: seeing.number("rolehost_tables_kept_total", outcome="kept") >= len(KINDS), "all kinds are kept"
        )
    await asyncio.to_thread(town.revoke)
    # Between this gateway and an apiserver that is well, nothing passes.
    dead = await asyncio.to_thread(FaultProxy, town.api, "admin", ("system:masters",))
    dead.blackhole()
    try:
        async with House(town, dead.kubeconfig, key) as blind:
            assert (await blind.ready())["stale"] is True
            async with blind.talk() as client:
                assert await say(client, "one") == "one, after "
                await asyncio.to_thread(dead.flow)
                async with asyncio.timeout(SLOW_SECONDS):
                    assert json.loads(await client.recv())["error"]["code"] == "key_revoked"
    finally:
        await asyncio.to_thread(dead.close)


@pytest.mark.timeout(120)
async def test_a_gateway_of_another_key_takes_nothing_from_what_is_kept(town: Town) -> None:
    async with House(town, town.api.kubeconfig, Ed25519PrivateKey.generate()) as seeing:
        await seeing.ready()
        await until(
            lambda: seeing.number("rolehost_tables_kept_total", outcome="kept") >= len(KINDS), "all kinds are kept"
        )
    await asyncio.to_thread(town.api.down)
    async with House(town, town.api.kubeconfig, Ed25519PrivateKey.generate()) as stranger:
        await asyncio.sleep(12)  # it has looked, and looked again
        assert not stranger.tables.filled


@pytest.fixture
async def watches(town: Town, proxy: FaultProxy) -> AsyncIterator[tuple[Tables, Metrics, Town]]:
    """The watches alone, with a silence of 3 s in the slice."""
    tables, metrics = Tables(), Metrics()
    async with Api(from_kubeconfig(proxy.kubeconfig)) as api:
        feed = ClusterFeed(
            api, tables, metrics, namespace=town.platform,
            silence_seconds=70.0 if SOAK else 3.0,
        )  # fmt: skip
        running = asyncio.create_task(feed.run())
        await until(lambda: tables.filled and bool(proxy.requests(watching("pods"))), "the tables are filled")
        yield tables, metrics, town
        running.cancel()


@pytest.mark.timeout(120)
async def test_f05_what_was_lost_in_a_gap_is_known_after_410(
    watches: tuple[Tables, Metrics, Town], proxy: FaultProxy
) -> None:
    """F05: a pod deleted and a Role made while events are lost; one new listing knows both."""
    tables, metrics, town = watches
    lists = metrics.registry.get_sample_value("rolehost_gateway_watch_lists_total", {"kind": "hostedroles"}) or 0
    proxy.swallow |= {"hostedroles", "pods"}
    other = {"metadata": {"name": "dog", "namespace": town.tenant}, "spec": {"template": {"persona": {"system": "x"}}}}
    await asyncio.to_thread(town.api.apply, {"apiVersion": names.API_VERSION, "kind": "Role", **other})
    await asyncio.to_thread(
        town.api.kubectl, "-n", town.tenant, "delete", "pod", "cat-0", "--grace-period=0", "--force"
    )
    await asyncio.sleep(0.5)
    assert tables.roles.get(town.tenant, "dog") is None
    proxy.swallow.clear()
    for plural, watchers in (("hostedroles", 1), ("pods", 2)):  # tenants' pods, and the gateways' own
        assert await asyncio.to_thread(proxy.gone, plural) == watchers
    await until(lambda: tables.roles.get(town.tenant, "dog") is not None, "the Role is known")
    await until(lambda: not [pod for pod in tables.pods.values() if pod.tenant.name == town.tenant], "the pod is not")
    assert metrics.registry.get_sample_value("rolehost_gateway_watch_lists_total", {"kind": "hostedroles"}) == lists + 1


@pytest.mark.timeout(120)
@pytest.mark.skipif(SOAK, reason="with the real 70 s it is the same code")
async def test_f06_a_watch_that_went_silent_is_opened_anew(
    watches: tuple[Tables, Metrics, Town], proxy: FaultProxy
) -> None:
    """F06: no byte comes. Found out after the silence, told by age and counter; nothing of meanwhile is lost."""
    tables, metrics, town = watches
    silent = time.monotonic()
    proxy.blackhole()
    other = {"metadata": {"name": "dog", "namespace": town.tenant}, "spec": {"template": {"persona": {"system": "x"}}}}
    await asyncio.to_thread(town.api.apply, {"apiVersion": names.API_VERSION, "kind": "Role", **other})
    await until(lambda: bool(proxy.requests(watching("hostedroles"), since=silent)), "another connection is tried")
    assert proxy.requests(watching("hostedroles"), since=silent)[0].at - silent <= 3 + 2
    labels = {"kind": "hostedroles"}
    await until(lambda: (metrics.registry.get_sample_value(AGE, labels) or 0) >= 2.9, "it is told")
    assert (metrics.registry.get_sample_value("rolehost_gateway_watch_silent_total", labels) or 0) >= 1
    proxy.flow()
    await until(lambda: tables.roles.get(town.tenant, "dog") is not None, "what happened meanwhile is known")


@pytest.mark.timeout(NUMBERS.quiet_seconds + 120)
async def test_f07_bookmarks_alone_keep_a_watch(watches: tuple[Tables, Metrics, Town], proxy: FaultProxy) -> None:
    """F07: no reconnect for as long as bookmarks come. The soak waits for the apiserver's own, one a minute."""
    _, metrics, town = watches
    plural = "hostedrolerevisions"
    began = time.monotonic()
    while time.monotonic() - began < NUMBERS.quiet_seconds:
        await asyncio.sleep(1)
        if not SOAK:
            found = await asyncio.to_thread(town.api.get, "rhv", "-A")
            version = str(found["metadata"]["resourceVersion"] or "1")
            assert await asyncio.to_thread(proxy.bookmark, plural, names.API_VERSION, "RoleRevision", version) == 1
    opened = proxy.requests(watching(plural), since=began)
    assert len(opened) <= (NUMBERS.quiet_seconds // 240 + 1 if SOAK else 0)
    assert not metrics.registry.get_sample_value("rolehost_gateway_watch_silent_total", {"kind": plural})
