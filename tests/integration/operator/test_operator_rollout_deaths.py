"""F01 with canaries: an operator that dies after each of its writes, against a real apiserver.

A life is the shell in this process: it lists, looks, writes once, and never hears the answer. Kubelet and gateways are
this test's hands. What no life remembers stands in the Role's status.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import kopf
import pytest
from tests.integration.operator.conftest import ACCOUNT, GATEWAY_ADDRESS, Cluster
from tests.support.apiserver import ADMIN

from rolehost_api.link.messages import Probe
from rolehost_api.names import ABORT, API_VERSION, PROMOTE
from rolehost_api.observed import HostFacts, Observed, PodReport, WarmReport
from rolehost_operator.handlers.shell import Shell
from rolehost_operator.kube.client import Client
from rolehost_operator.objects import KubeObject
from rolehost_operator.platform import Platform
from rolehost_operator.telemetry import Metrics

PLATFORM = Platform("rolehost-system", "sandbox:1", "ws://gateway.test", ("a2V5",), bytes(32), ("10.96.0.1:443",))
PROBE = Probe(gvisor=True, token=False, tried=("10.96.0.1:443", f"{GATEWAY_ADDRESS}:8080"))
HOST = HostFacts(runtime=True, account=True, image=True, apart=True, owned=True)
STEPS = [{"percent": 5, "pauseSeconds": 0}, {"percent": 50, "pauseSeconds": 0}]
ROLLOUT = {"strategy": "Manual", "steps": STEPS, "watchSeconds": 0}


class Died(BaseException):
    """Nobody catches it."""


class Mortal(Client):
    """Dies once `left` writes are done, before it hears the last one's answer."""

    left: int | None = None
    writes = 0

    async def _ask(self, method: str, where: str, **given: Any) -> bytes:
        answer = await super()._ask(method, where, **given)
        if method != "GET":
            self.writes += 1
            if self.left is not None and self.writes >= self.left:
                raise Died
        return answer


class Theatre:
    """One Role in a namespace of its own; `deadly`: no operator outlives a write."""

    def __init__(self, cluster: Cluster, hands: Client, *, deadly: bool) -> None:
        self.cluster, self.hands, self.deadly = cluster, hands, deadly
        self.namespace = cluster.tenant()
        self.lives = 0
        self.weights: list[int] = []
        """Of canaries, as they were one after the other."""

    async def role(self) -> KubeObject:
        raw = await self.hands.get(API_VERSION, "Role", self.namespace, "cat")
        assert raw is not None
        return raw

    async def declare(self, system: str, **annotations: str) -> None:
        metadata = {"name": "cat", "namespace": self.namespace, "annotations": annotations}
        spec = {"template": {"persona": {"system": system}}, "rollout": ROLLOUT}
        await self.hands.apply({"apiVersion": API_VERSION, "kind": "Role", "metadata": metadata, "spec": spec})
        await self.settle()

    async def settle(self) -> None:
        """Until an operator looks twice and writes nothing."""
        quiet = 0
        while quiet < 2:
            self.lives += 1
            assert self.lives < 80, "it never rests"
            quiet = quiet + 1 if await self.life() == 0 else 0
            await self.kubelet()

    async def life(self) -> int:
        """One operator, from its first listing to its end; how many writes it did."""
        client = Mortal(access_of(self.cluster, ACCOUNT), lambda: True)
        client.left = 1 if self.deadly else None
        shell = Shell(client, PLATFORM, Metrics(), f"life-{self.lives}")
        try:
            await shell.resync()
            shell.sightings.expect({"gw"}, datetime.now(UTC))
            shell.sightings.heard("gw", await self.reports(), datetime.now(UTC))
            await shell._look_after((self.namespace, "cat"))
        except Died:
            pass
        finally:
            await client.close()
        self.watch(await self.role())
        return client.writes

    def watch(self, role: KubeObject) -> None:
        """What gateways would read at this moment."""
        traffic = (role.get("status") or {}).get("traffic", [])
        assert not traffic or sum(one["percent"] for one in traffic) == 100
        weight = next((one["percent"] for one in traffic if one["tag"] == "canary"), 0)
        if not self.weights or self.weights[-1] != weight:
            self.weights.append(weight)

    async def reports(self) -> Observed:
        deployments, _ = await self.hands.list_all("apps/v1", "Deployment", self.namespace)
        pods = tuple(
            PodReport(
                uid=name, name=f"{name}-0", namespace=self.namespace, role="cat", revision=name,
                host=HOST, probe=PROBE, loaded=True,
            )
            for name in (one["metadata"]["name"] for one in deployments)
        )  # fmt: skip
        rollout = ((await self.role()).get("status") or {}).get("rollout") or {}
        asked = rollout.get("warmingSince")
        done = (WarmReport(namespace=self.namespace, role="cat", rollout=rollout["id"]),) if asked else ()
        return Observed(gateway="gw/1", number=1, listening=True, pods=pods, warmed=done)

    async def kubelet(self) -> None:
        """Every Deployment has the pods that it declares."""
        deployments, _ = await self.hands.list_all("apps/v1", "Deployment", self.namespace)
        for one in deployments:
            pods = one["spec"]["replicas"]
            if (one.get("status") or {}).get("readyReplicas") != pods:
                status = {"replicas": pods, "readyReplicas": pods, "updatedReplicas": pods}
                generation = one["metadata"]["generation"]
                await self.hands.write_status(one, {**status, "observedGeneration": generation})

    async def word(self) -> str:
        return str((await self.role())["status"]["rollout"]["id"])

    async def end(self) -> Mapping[str, Any]:
        """What there is, without times and what they are hashed into."""
        status = (await self.role())["status"]
        revisions, _ = await self.hands.list_all(API_VERSION, "RoleRevision", self.namespace)
        deployments, _ = await self.hands.list_all("apps/v1", "Deployment", self.namespace)
        events, _ = await self.hands.list_all("v1", "Event", self.namespace)
        told = [(one["reason"], one["message"]) for one in events]
        assert len(told) == len(set(told)), told
        rollout = {
            key: status["rollout"].get(key) for key in ("attempt", "revision", "stage", "step", "percent", "epoch")
        }
        return {
            "stable": status["stableRevision"],
            "traffic": status.get("traffic"),
            "leaving": [(one["revision"], one["policy"], one["reason"]) for one in status.get("leaving", [])],
            "history": [(one["revision"], one["action"], one.get("reason")) for one in status["history"]],
            "rollout": rollout,
            "revisions": sorted((one["spec"]["sequence"], one["metadata"]["name"]) for one in revisions),
            "deployments": sorted((one["metadata"]["name"], one["spec"]["replicas"]) for one in deployments),
        }


def access_of(cluster: Cluster, user: str, *groups: str) -> Any:
    certificate, key = cluster.api.authority.issue(user, groups)
    info = kopf.ConnectionInfo(
        server=cluster.api.url,
        ca_path=str(cluster.api.authority.file),
        certificate_path=str(certificate),
        private_key_path=str(key),
    )
    return lambda: info


@pytest.fixture
async def hands(cluster: Cluster) -> AsyncIterator[Client]:
    client = Client(access_of(cluster, ADMIN, "system:masters"), lambda: True)
    yield client
    await client.close()


async def story(theatre: Theatre) -> Mapping[str, Any]:
    """A first revision; a second that is promoted through its steps; a third that is given up at its first."""
    await theatre.declare("You are a cat.")
    await theatre.declare("You are a dog.")
    word = await theatre.word()
    await theatre.declare("You are a dog.", **{PROMOTE: f"{word}/1"})
    await theatre.declare("You are a dog.", **{PROMOTE: f"{word}/2"})
    await theatre.declare("You are an owl.", **{PROMOTE: f"{word}/2"})
    await theatre.declare("You are an owl.", **{ABORT: await theatre.word()})
    return await theatre.end()


@pytest.mark.timeout(120)
async def test_f01_operators_that_die_after_every_write_of_a_canary_come_to_the_same_end(
    cluster: Cluster, hands: Client
) -> None:
    calm, deadly = Theatre(cluster, hands, deadly=False), Theatre(cluster, hands, deadly=True)
    expected = await story(calm)
    assert await story(deadly) == expected
    assert expected["history"][0][1:] == ("Aborted", "Aborted")
    assert expected["history"][1][1:] == ("Promoted", "Promoted")
    assert len(expected["revisions"]) == 3
    assert calm.weights == deadly.weights == [0, 5, 50, 0, 5, 0], "no weight was ever jumped over, or fell back"
    assert deadly.lives > calm.lives
