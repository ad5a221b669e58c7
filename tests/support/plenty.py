"""Thousands of Roles on a real apiserver, made by a bare client that knows no platform: also what ours is compared with."""

import asyncio
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml
from tests.support.apiserver import ApiServer

from rolehost_api.names import API_VERSION, FIELD_MANAGER, GROUP, REVISIONS, ROLE, ROLES, TENANT, VERSION
from rolehost_operator.kube.client import path

PER_TENANT = 100
WORKERS = 8
"""As many as the operator has."""
APPLY = "application/apply-patch+yaml"


class Bare:
    """A client of the apiserver with a few connections, and nothing else."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        self._server = cluster["server"]
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=WORKERS + 4))

    async def __aenter__(self) -> "Bare":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, where: str, body: Any = None, media: str = "application/json", **query: str
    ) -> Any:
        headers = {"Content-Type": media, "Accept": "application/json"}
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, self._server + where, params=query, data=data, headers=headers) as got:
            text = await got.read()
            assert got.status < 400, f"{method} {where}: {got.status} {text[:500]!r}"
            return json.loads(text)

    async def apply(self, wanted: Mapping[str, Any], subresource: str = "", manager: str = FIELD_MANAGER) -> Any:
        meta = wanted["metadata"]
        where = path(wanted["apiVersion"], wanted["kind"], meta.get("namespace", ""), meta["name"], subresource)
        return await self.send("PATCH", where, wanted, APPLY, fieldManager=manager, force="true")

    async def listed(self, where: str) -> tuple[list[dict[str, Any]], str]:
        found: list[dict[str, Any]] = []
        query = {"limit": "500"}
        while True:
            page = await self.send("GET", where, **query)
            found += page["items"]
            if not page["metadata"].get("continue"):
                return found, page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"]["continue"]

    async def events(self, where: str, version: str) -> AsyncIterator[dict[str, Any]]:
        query = {"watch": "true", "resourceVersion": version}
        unbounded = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + where, params=query, timeout=unbounded) as got:
            rest = b""
            async for chunk in got.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)


async def side_by_side(jobs: Iterable[Callable[[], Awaitable[Any]]], workers: int = WORKERS) -> None:
    """All of them, so many at a time."""
    left = iter(jobs)

    async def work() -> None:
        for job in left:
            await job()

    await asyncio.gather(*(work() for _ in range(workers)))


def role(namespace: str, name: str, system: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"persona": {"system": system}}},
    }


@dataclass(frozen=True)
class Written:
    """One write of somebody's in a tenant's namespace."""

    namespace: str
    resource: str
    name: str
    verb: str
    at: float


def written(api: ApiServer, user: str, namespaces: Sequence[str]) -> list[Written]:
    """Accepted ones, in the order of their arrival; the audit log tells."""
    within = set(namespaces)
    found = []
    with api.audit_log.open() as log:
        for line in log:
            event = json.loads(line)
            about = event.get("objectRef", {})
            if (
                event["user"]["username"] == user
                and about.get("namespace") in within
                and event["responseStatus"]["code"] < 400
            ):
                part = f"/{about['subresource']}" if about.get("subresource") else ""
                at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
                named = about.get("name", "")
                found.append(Written(about["namespace"], about["resource"] + part, named, event["verb"], at))
    return sorted(found, key=lambda one: one.at)


def per_role(writes: Iterable[Written]) -> float:
    """Writes that each Role has for itself, in the mean: what its namespace holds once is left out."""
    own = Counter(one.resource for one in writes)
    roles = own["deployments"]
    once = ("networkpolicies", "serviceaccounts", "poddisruptionbudgets", "secrets", "configmaps")
    return sum(count for resource, count in own.items() if resource not in once) / max(1, roles)


class Measured(Protocol):
    """An operator's process, as far as it is looked at here."""

    def alive(self) -> bool: ...
    def metric(self, name: str) -> float: ...


def at_rest(operator: Measured, looks: int) -> bool:
    """It leads, has looked after so many, and none waits."""
    assert operator.alive()
    try:
        leads = operator.metric("rolehost_operator_leader") == 1
        done = operator.metric('rolehost_operator_reconciles_total{outcome="done"}')
        return leads and done >= looks and operator.metric("rolehost_operator_queue_depth") == 0
    except (OSError, StopIteration):  # not up yet, or nothing done yet
        return False


class Crowd:
    """So many Roles in tenants' namespaces of a hundred each."""

    def __init__(self, bare: Bare, count: int, rights: Callable[[str], dict[str, Any]], prefix: str) -> None:
        self.bare = bare
        self.count = count
        self._rights = rights
        tenants = -(-count // PER_TENANT)
        self.namespaces = [f"{prefix}-{number}" for number in range(tenants)]

    def names(self) -> Iterator[tuple[str, str]]:
        """Namespace and name, tenant after tenant in turn."""
        for number in range(self.count):
            yield self.namespaces[number % len(self.namespaces)], f"role-{number}"

    async def tenants(self) -> None:
        async def one(name: str) -> None:
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {TENANT: "yes"}}}
            await self.bare.send("POST", path("v1", "Namespace"), space)
            rights = self._rights(name)
            where = f"/apis/{rights['apiVersion']}/namespaces/{name}/rolebindings"
            await self.bare.send("POST", where, rights)

        await side_by_side([partial(one, name) for name in self.namespaces])

    async def declare(self, system: str = "You are a cat.") -> None:
        declared = (role(space, name, system) for space, name in self.names())
        await side_by_side([partial(self.bare.apply, one, manager="tenant") for one in declared])

    async def converged(self) -> int:
        """How many have their Deployment and a status that speaks of what is declared."""
        roles, _ = await self.bare.listed(f"/apis/{GROUP}/{VERSION}/{ROLES}")
        deployments, _ = await self.bare.listed("/apis/apps/v1/deployments")
        run = {(one["metadata"]["namespace"], one["metadata"]["labels"].get(ROLE)) for one in deployments}
        mine = set(self.namespaces)
        return sum(
            one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"]
            and (one["metadata"]["namespace"], one["metadata"]["name"]) in run
            for one in roles
            if one["metadata"]["namespace"] in mine
        )

    async def edit(self, per_second: int, seconds: float, watch_seconds: float = 60.0) -> list[float]:
        """Seconds from an edit's answer to the sight of the revision that it makes: of each edit, at such a pace."""
        where = f"/apis/{GROUP}/{VERSION}/{REVISIONS}"
        _, version = await self.bare.listed(where)
        edited: dict[tuple[str, str], float] = {}
        seen: dict[tuple[str, str], float] = {}
        wanted = min(self.count, int(per_second * seconds))
        complete = asyncio.Event()

        async def watch() -> None:
            async for event in self.bare.events(where, version):
                one = event["object"]
                if event["type"] == "ADDED" and one["spec"]["sequence"] == 2:
                    seen[one["metadata"]["namespace"], one["spec"]["roleName"]] = time.monotonic()
                    if len(seen) >= wanted:
                        complete.set()

        async def edit(key: tuple[str, str]) -> None:
            await self.bare.apply(role(*key, "You are another cat."), manager="tenant")
            edited[key] = time.monotonic()

        watching = asyncio.create_task(watch())
        edits = []
        began = time.monotonic()
        for number, key in zip(range(wanted), self.names(), strict=False):
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            edits.append(asyncio.create_task(edit(key)))
        await asyncio.gather(*edits)
        await asyncio.wait_for(complete.wait(), watch_seconds)
        watching.cancel()
        return [max(0.0, seen[key] - at) for key, at in edited.items()]

    async def objects(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
        """Revisions, Deployments and Roles as they are now."""
        mine = set(self.namespaces)
        lists = [
            (await self.bare.listed(where))[0]
            for where in (
                f"/apis/{GROUP}/{VERSION}/{REVISIONS}",
                "/apis/apps/v1/deployments",
                f"/apis/{GROUP}/{VERSION}/{ROLES}",
            )
        ]
        found = [[one for one in some if one["metadata"]["namespace"] in mine] for some in lists]
        return found[0], found[1], found[2]

    async def bare_writes(self, prefix: str) -> float:
        """The same writes once more by this client, in namespaces that are nobody's: seconds that they took.

        Of each Role a revision, a Deployment and a status, with the content that the operator gave them, applied as it does.
        """
        other = {name: f"{prefix}-{number}" for number, name in enumerate(self.namespaces)}
        revisions, deployments, roles = await self.objects()
        spaces = ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in other.values())
        await side_by_side([partial(self.bare.send, "POST", path("v1", "Namespace"), one) for one in spaces])
        # The Roles are there before the clock runs, as they were for the operator.
        declared = (_moved(one, other, API_VERSION, "Role", "spec") for one in roles)
        await side_by_side([partial(self.bare.apply, one, manager="tenant") for one in declared])
        made = [
            *(_moved(one, other, API_VERSION, "RoleRevision", "spec") for one in revisions),
            *(_moved(one, other, "apps/v1", "Deployment", "spec") for one in deployments),
        ]
        told = [_moved(one, other, API_VERSION, "Role", "status") for one in roles]
        began = time.monotonic()
        await side_by_side(
            [
                *(partial(self.bare.apply, one) for one in made),
                *(partial(self.bare.apply, one, "status") for one in told),
            ]
        )
        return time.monotonic() - began


def _moved(one: Mapping[str, Any], to: Mapping[str, str], version: str, kind: str, part: str) -> dict[str, Any]:
    meta = one["metadata"]
    kept = {key: meta[key] for key in ("labels", "annotations") if key in meta}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": meta["name"], "namespace": to[meta["namespace"]], **kept},
        part: one[part],
    }
