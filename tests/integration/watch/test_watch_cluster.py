"""All watches on a real apiserver, as the account that the chart gives a gateway; and the internal port."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import yaml
from tests.support.apiserver import ApiServer

from rolehost_api import names
from rolehost_api.observed import Observed
from rolehost_runtime.core.assignment import Traffic
from rolehost_runtime.gateway.edge.internal import OperatorOnly, SmallServer, internal_app
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.tables import Table, Tables, Tenant
from rolehost_runtime.gateway.watch.api import Api, from_kubeconfig
from rolehost_runtime.gateway.watch.cluster import ClusterFeed
from rolehost_runtime.gateway.watch.review import TokenReview

IMAGE = "registry/rolehost-sandbox:1"
GATEWAY = "gateway-under-test"
READS = """
- {apiGroups: [rolehost.io], resources: [hostedroles, hostedrolerevisions, modelbackends], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [pods, namespaces], verbs: [get, list, watch]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
"""


@dataclass
class Cluster:
    server: ApiServer
    platform: str
    """The platform's namespace."""
    tables: Tables
    api: Api

    async def apply(self, *objects: dict[str, Any]) -> None:
        await asyncio.to_thread(self.server.apply, *objects)

    async def kubectl(self, *arguments: str) -> str:
        done = await asyncio.to_thread(self.server.kubectl, *arguments)
        return done.stdout.strip()


def bound(kind: str, name: str, subject: dict[str, str]) -> list[dict[str, Any]]:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
    return [{"roleRef": ref, "subjects": [subject]}]


@pytest.fixture
async def cluster(role_api: ApiServer) -> AsyncIterator[Cluster]:
    platform = await asyncio.to_thread(role_api.namespace, "platform")
    rbac, user = (
        "rbac.authorization.k8s.io/v1",
        {"kind": "User", "name": GATEWAY, "apiGroup": "rbac.authorization.k8s.io"},
    )
    keys = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [names.KEYS, names.TRUSTED_IMAGES],
            "verbs": ["get", "list", "watch"],
        }
    ]
    here = {"name": GATEWAY, "namespace": platform}
    await asyncio.to_thread(
        role_api.apply,
        {"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": GATEWAY}, "rules": yaml.safe_load(READS)},
        {"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": GATEWAY}, **bound("ClusterRole", GATEWAY, user)[0]},
        {"apiVersion": rbac, "kind": "Role", "metadata": here, "rules": keys},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": here, **bound("Role", GATEWAY, user)[0]},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": names.KEYS, "namespace": platform}},
        trusting(platform, IMAGE),
    )  # fmt: skip
    tables = Tables()
    access = from_kubeconfig(await asyncio.to_thread(role_api.kubeconfig_for, GATEWAY))
    async with Api(access) as api:
        feed = ClusterFeed(api, tables, Metrics(), namespace=platform)
        running = asyncio.create_task(feed.run())
        yield Cluster(role_api, platform, tables, api)
        running.cancel()


def trusting(platform: str, *images: str) -> dict[str, Any]:
    meta = {"name": names.TRUSTED_IMAGES, "namespace": platform}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"trusted": ",".join(images)}}


async def row(table: Table[Any], *key: str, present: bool = True) -> Any:
    """The row once it is there, or None once it is gone."""
    changed = asyncio.Event()
    table.listen(lambda _: changed.set())
    async with asyncio.timeout(20):
        while (table.get(*key) is not None) is not present:
            changed.clear()
            await changed.wait()
    return table.get(*key)


def role(namespace: str, text: str = "You are a cat.") -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION, "kind": "Role", "metadata": {"name": "cat", "namespace": namespace},
        "spec": {"template": {"persona": {"system": text}}},
    }  # fmt: skip


async def test_where_new_sessions_go_is_known_to_every_gateway_by_its_own_watch(cluster: Cluster) -> None:
    """A write of the Role's status is all that it takes, and all that there is to see."""
    tenant = await asyncio.to_thread(cluster.server.namespace, "tenant", {names.TENANT: "t"})
    await cluster.apply(role(tenant))
    other = Tables()
    feed = asyncio.create_task(ClusterFeed(cluster.api, other, Metrics(), namespace=cluster.platform).run())
    gateways = (cluster.tables, other)
    for tables in gateways:
        assert (await row(tables.roles, tenant, "cat")).traffic == Traffic()
    news = [asyncio.Event() for _ in gateways]
    for tables, one in zip(gateways, news, strict=True):
        tables.roles.listen(lambda _, one=one: one.set())  # type: ignore[misc]
    status = {
        "traffic": [{"revision": "cat-2", "percent": 5, "tag": "canary", "arm": "Candidate"}],
        "leaving": [
            {"revision": "cat-0", "policy": "MigrateAtTurn", "reason": "rollback", "since": "2030-01-01T00:00:00Z"}
        ],
        "rollout": {"id": "cat-7", "epoch": 3},
    }
    patch = json.dumps({"status": status})
    await cluster.kubectl(
        "patch", "hostedroles", "cat", "-n", tenant, "--subresource=status", "--type=merge", "-p", patch
    )
    for tables, one in zip(gateways, news, strict=True):
        async with asyncio.timeout(20):
            await one.wait()
        known = tables.roles.get(tenant, "cat")
        assert known is not None
        assert (known.traffic.rollout, known.traffic.epoch, known.traffic.shares[0].percent) == ("cat-7", 3, 5)
        assert [one.revision for one in known.leaving] == ["cat-0"]
    feed.cancel()


async def test_what_is_applied_is_known_and_what_is_deleted_is_not(cluster: Cluster) -> None:
    tenant = await asyncio.to_thread(cluster.server.namespace, "tenant", {names.TENANT: "yes"})
    other = await asyncio.to_thread(cluster.server.namespace, "other")
    uid = (await asyncio.to_thread(cluster.server.get, "namespace", tenant))["metadata"]["uid"]
    await cluster.apply(role(tenant), role(other))
    entry = await row(cluster.tables.roles, tenant, "cat")
    assert (entry.tenant, entry.spec.template.persona.system) == (Tenant(tenant, uid), "You are a cat.")
    assert cluster.tables.filled
    assert cluster.tables.roles.get(other, "cat") is None

    sha256 = "a" * 64
    key = {"sha256": sha256, "tenant": tenant, "tenantUID": uid, "scopes": ["chat", "push"]}
    meta = {"name": names.KEYS, "namespace": cluster.platform}
    await cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"k1": json.dumps(key)}})
    assert (await row(cluster.tables.keys, sha256)).tenant == Tenant(tenant, uid)

    await cluster.kubectl(
        "-n", cluster.platform, "patch", "configmap", names.KEYS, "--type=merge", "-p", '{"data":{"k1":null}}'
    )
    await row(cluster.tables.keys, sha256, present=False)
    await cluster.kubectl("-n", tenant, "delete", "hostedroles.rolehost.io", "cat", "--wait=false")
    await row(cluster.tables.roles, tenant, "cat", present=False)


async def test_a_namespace_becomes_a_tenant_and_ceases_to_be_one(cluster: Cluster) -> None:
    namespace = await asyncio.to_thread(cluster.server.namespace, "late")
    await cluster.apply(role(namespace))
    await cluster.kubectl("label", "namespace", namespace, f"{names.TENANT}=yes")
    await row(cluster.tables.roles, namespace, "cat")
    await cluster.kubectl("label", "namespace", namespace, f"{names.TENANT}-")
    await row(cluster.tables.roles, namespace, "cat", present=False)


async def test_only_a_sandbox_pod_may_be_dialled(cluster: Cluster) -> None:
    tenant = await asyncio.to_thread(cluster.server.namespace, "tenant", {names.TENANT: "yes"})
    labels = {names.ROLE: "cat", names.REVISION: "cat-1", names.POD_TEMPLATE_HASH: "abc"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cat-1-abc", "uid": "1-2-3", "controller": True}
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "gvisor"},
        "handler": "runsc",
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": names.SANDBOX_SERVICE_ACCOUNT, "namespace": tenant},
    }
    await cluster.apply(runtime, account)
    for name, change in (
        ("good", {}),
        ("orphan", {}),
        ("runc", {"runtimeClassName": None}),
        ("image", {"containers": [{"name": "s", "image": "evil"}]}),
    ):
        spec = {
            "runtimeClassName": "gvisor", "serviceAccountName": names.SANDBOX_SERVICE_ACCOUNT,
            "containers": [{"name": "s", "image": IMAGE}],
        } | change  # fmt: skip
        meta: dict[str, Any] = {"name": name, "namespace": tenant, "labels": labels}
        if name != "orphan":
            meta["ownerReferences"] = [owner]
        await cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        status = '{"status":{"phase":"Running","podIP":"10.0.0.7","podIPs":[{"ip":"10.0.0.7"}]}}'
        await cluster.kubectl("-n", tenant, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", status)
    good = (await asyncio.to_thread(cluster.server.get, "-n", tenant, "pod", "good"))["metadata"]["uid"]
    assert (await row(cluster.tables.pods, good)).address == "10.0.0.7:7420"
    await cluster.kubectl("-n", tenant, "delete", "pod", "good", "--grace-period=0", "--force")
    await row(cluster.tables.pods, good, present=False)
    assert [pod.name for pod in cluster.tables.pods.values() if pod.tenant.name == tenant] == []
    strangers = {pod.name: pod.host for pod in cluster.tables.strangers.values() if pod.tenant.name == tenant}
    assert strangers.keys() == {"orphan", "runc", "image"}
    assert not strangers["orphan"].owned
    assert not strangers["runc"].runtime


class Picture:
    """Implements ports.Report."""

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        return Observed(gateway=f"g-{wait_seconds:.0f}", number=after + 1)


async def test_only_the_operators_token_for_our_audience_reads_the_report(cluster: Cluster) -> None:
    namespace = cluster.platform
    for name in ("operator", "somebody"):
        meta = {"name": name, "namespace": namespace}
        await cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    audience = f"--audience={names.OBSERVED_AUDIENCE}"
    operator = await cluster.kubectl("-n", namespace, "create", "token", "operator", audience)
    elsewhere = await cluster.kubectl("-n", namespace, "create", "token", "operator")
    somebody = await cluster.kubectl("-n", namespace, "create", "token", "somebody", audience)
    door = OperatorOnly(TokenReview(cluster.api), f"{namespace}/operator")
    server = SmallServer(internal_app(Picture(), door), "127.0.0.1", 0)
    await server.start()
    url = f"http://127.0.0.1:{server.port}/internal/v1/observed"
    try:
        async with aiohttp.ClientSession() as http:
            for token, status in ((operator, 200), (elsewhere, 401), (somebody, 403), ("x", 401), ("", 401)):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with http.get(url, params={"after": "4", "wait": "9999"}, headers=headers) as answer:
                    assert answer.status == status
                    if status == 200:
                        assert await answer.json() == {
                            "gateway": "g-60",
                            "number": 5,
                            "listening": False,
                            "pods": [],
                            "revisions": [],
                            "stale": False,
                            "rollouts": [],
                            "warmed": [],
                        }
    finally:
        await server.stop()
