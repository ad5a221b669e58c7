"""All checks of one run, side by side; their findings come in the order of CHECKS."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rolehost.cli.doctor import archive, clocks, cluster, durability, parts, walls
from rolehost.cli.doctor.api import Api
from rolehost.cli.doctor.finding import Finding, Seen, skipped, unseen, warn
from rolehost.cli.doctor.gateway import Heard, heard, reached
from rolehost.cli.doctor.ownkey import OwnKey
from rolehost.cli.doctor.trials import Trials
from rolehost.cli.kubectl import Kubectl
from rolehost.cli.tenants import OPERATOR
from rolehost_api import __version__
from rolehost_api.names import LEASE, OPERATOR_WRITER, RUNTIME_CLASS, TENANT, TRUSTED_IMAGES

TRIAL_SECONDS = 7.0
"""From the start of a run; what pods have not said then they need not say."""
RBAC = "/apis/rbac.authorization.k8s.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
DOOR = "/apis/admissionregistration.k8s.io/v1"
OURS = quote("app.kubernetes.io/name=rolehost", safe="")
Checked = Awaitable[Finding | list[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What whoever runs it asked for."""

    kubectl: Kubectl
    """Its namespace is the platform's."""
    url: str = ""
    key: str = ""
    probe_namespace: str = ""
    pods: bool = True


class Examination:
    """Facts are asked for once and shared, as tasks; checks await those that they judge."""

    def __init__(self, api: Api, wanted: Wanted, tasks: asyncio.TaskGroup) -> None:
        self._api, self._wanted, self._tasks = api, wanted, tasks
        self._platform = platform = wanted.kubectl.namespace
        self._deadline = time.monotonic() + TRIAL_SECONDS
        see = self._see
        self._version = see("/version")
        self._nodes = see("/api/v1/nodes?limit=500")
        self._crds = {
            name: see(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}") for name in cluster.KINDS
        }
        self._deployments = see(f"/apis/apps/v1/namespaces/{platform}/deployments?labelSelector={OURS}")
        self._trusted = see(f"/api/v1/namespaces/{platform}/configmaps/{TRUSTED_IMAGES}")
        self._redis = see(f"/apis/apps/v1/namespaces/{platform}/statefulsets/{parts.REDIS}")
        self._lease = see(f"{LEASES}/{platform}/leases/{LEASE}")
        self._node_leases = see(f"{LEASES}/kube-node-lease/leases?limit=500")
        self._class = see(f"/apis/node.k8s.io/v1/runtimeclasses/{RUNTIME_CLASS}")
        self._policies = see(f"{DOOR}/validatingadmissionpolicies?labelSelector={OURS}")
        self._bindings = see(f"{DOOR}/validatingadmissionpolicybindings?labelSelector={OURS}")
        self._tenants = see(f"/api/v1/namespaces?labelSelector={quote(TENANT, safe='')}")
        self._bound = see(f"{RBAC}/rolebindings?fieldSelector=metadata.name%3D{OPERATOR_WRITER}")
        self._writer = see(f"{RBAC}/clusterroles/{OPERATOR_WRITER}")
        self._own_key = OwnKey(api, platform, self._tenants)
        self._heard = tasks.create_task(self._hear())
        self._trials: asyncio.Task[Trials | Seen] = tasks.create_task(self._prepared())

    def _see(self, path: str) -> asyncio.Task[Seen]:
        return self._tasks.create_task(self._api.see(path))

    async def findings(self) -> AsyncIterator[Finding]:
        """In a fixed order, each as soon as it and all before it are there."""
        running = [
            (check, self._tasks.create_task(self._guarded(check, one()))) for check, one in self._checks().items()
        ]
        for _, task in running:
            for finding in await task:
                yield finding

    def _checks(self) -> Mapping[str, Callable[[], Checked]]:
        return {
            "kubernetes": self._kubernetes,
            "crds": self._kinds,
            "runtimeclass": self._runtime_class,
            "gateway": lambda: self._workload("gateway", parts.GATEWAY),
            "operator": lambda: self._workload("operator", OPERATOR),
            "upload": lambda: self._workload("upload", parts.UPLOAD),
            "redis": self._bundled_redis,
            "lease": self._leads,
            "admission": self._admission,
            "tenants": self._onboarded,
            "answers": self._answers,
            "durability": self._durability,
            "archive": self._archive,
            "versions": self._versions,
            "clocks": self._clocks,
            "gvisor": self._gvisor,
            "network": self._network,
        }

    async def _guarded(self, check: str, asked: Checked) -> list[Finding]:
        """An object of a shape that we do not know must not keep the other checks from being told."""
        try:
            found = await asked
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            return [
                warn(
                    check,
                    f"what came back could not be read ({type(error).__name__})",
                    "Is this command of another release? rolehost --version",
                )
            ]
        return found if isinstance(found, list) else [found]

    async def clear(self) -> None:
        """Take away all that was made."""
        made = self._trials.result() if self._trials.done() and not self._trials.cancelled() else None
        await asyncio.gather(self._own_key.clear(), *([made.clear()] if isinstance(made, Trials) else []))

    # ── facts ───────────────────────────────────────────────────────────────────────

    async def _hear(self) -> Heard:
        wanted = self._wanted
        way = wanted.url or "through a port-forward"
        async with reached(wanted.kubectl, wanted.url) as address:
            return await heard(way, address, wanted.key, self._own_key)

    async def _named(self) -> tuple[Seen, dict[str, Any]]:
        seen = await self._deployments
        return seen, {one["metadata"]["name"]: one for one in (seen.value or {}).get("items", ())}

    async def _prepared(self) -> Trials | Seen:
        seen, named = await self._named()
        image = parts.variable(named.get(OPERATOR), "ROLEHOST_SANDBOX_IMAGE")
        if not image:
            why = seen.refused or f"Deployment {OPERATOR} does not say which image sandboxes run"
            return Seen(refused=why, forbidden=seen.forbidden)
        pull = parts.variable(named.get(OPERATOR), "ROLEHOST_SANDBOX_PULL_POLICY") or "IfNotPresent"
        where = self._wanted.probe_namespace or self._platform
        return Trials(self._api, where, secrets.token_hex(3), image, pull, self._deadline)

    # ── checks ──────────────────────────────────────────────────────────────────────

    async def _kubernetes(self) -> Finding:
        return cluster.kubernetes(await self._version, await self._nodes)

    async def _kinds(self) -> Finding:
        return cluster.crds({name: await task for name, task in self._crds.items()}, self._platform)

    async def _runtime_class(self) -> Finding:
        return cluster.runtime_class(await self._class, self._platform)

    async def _workload(self, check: str, name: str) -> Finding:
        seen, named = await self._named()
        return parts.workload(
            check, "Deployment", name, seen if seen.refused else Seen(named.get(name)), self._platform
        )

    async def _bundled_redis(self) -> list[Finding]:
        seen = await self._redis
        if seen.value is None and not seen.refused:
            return []  # one of the user's own
        return [parts.workload("redis", "StatefulSet", parts.REDIS, seen, self._platform)]

    async def _leads(self) -> Finding:
        seen = await self._lease
        renewed = clocks.seconds(((seen.value or {}).get("spec") or {}).get("renewTime") or "")
        now = time.time() + (self._api.ahead.middle if self._api.ahead else 0.0)
        return parts.lease(seen, now - renewed if renewed is not None else 0.0, self._platform)

    async def _admission(self) -> Finding:
        return cluster.admission(await self._policies, await self._bindings, self._platform)

    async def _onboarded(self) -> Finding:
        return cluster.tenants(await self._tenants, await self._bound, await self._writer, self._platform)

    async def _answers(self) -> Finding:
        found = await self._heard
        return durability.answers(found.ready, found.way, self._platform)

    async def _durability(self) -> list[Finding]:
        return durability.durability((await self._heard).health, self._platform)

    async def _archive(self) -> Finding:
        return archive.archive((await self._heard).health, self._platform)

    async def _versions(self) -> Finding:
        health, (_, named) = (await self._heard).health, await self._named()
        told = str((health.value or {}).get("version", ""))
        return parts.versions(__version__, told, named, await self._trusted, self._platform)

    async def _clocks(self) -> Finding:
        found = dict((await self._heard).ahead)
        leases = ((await self._node_leases).value or {}).get("items", ())
        if (server := self._api.ahead) is not None:
            found["apiserver"] = server
            for lease in leases:
                if (node := clocks.node_ahead(lease)) is not None:
                    found[f"node {lease['metadata']['name']}"] = node.plus(server)
        return clocks.clocks(found)

    async def _gvisor(self) -> Finding:
        if not self._wanted.pods:
            return skipped("gvisor", "not tried (--no-pods)")
        seen = await self._class
        if seen.value is None and not seen.refused:
            return skipped("gvisor", f"there is no RuntimeClass {RUNTIME_CLASS} to try")
        trials = await self._trials
        return unseen("gvisor", trials) if isinstance(trials, Seen) else walls.gvisor(await trials.kernel())

    async def _network(self) -> Finding:
        if not self._wanted.pods:
            return skipped("network", "not tried (--no-pods)")
        trials = await self._trials
        return unseen("network", trials) if isinstance(trials, Seen) else walls.network(*await trials.network())
