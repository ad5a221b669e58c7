"""Something changes what the operator applies, every time: it is told, and no hot loop."""

import asyncio
import copy
from typing import Any

import pytest
from tests.support.observing import PLATFORM, role

from rolehost_operator.handlers.shell import Shell
from rolehost_operator.objects import KubeObject
from rolehost_operator.telemetry import Metrics


class Webhooked:
    """As much of kube.client.Client as one pass needs; whatever is applied comes back changed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.wrote: list[str] = []
        self.kept: dict[tuple[str, str], KubeObject] = {}

    async def get(self, api_version: str, kind: str, namespace: str, name: str) -> KubeObject | None:
        return self.kept.get((kind, name))

    async def apply(self, wanted: KubeObject) -> KubeObject:
        self.wrote.append(f"apply {wanted['kind']}")
        return self._stored(wanted)

    async def replace_pods(self, wanted: KubeObject) -> KubeObject:
        self.wrote.append(f"replace {wanted['kind']}")
        return self._stored(wanted)

    async def write_status(self, owner: KubeObject, status: Any) -> KubeObject:
        return {**owner, "status": status}

    def _stored(self, wanted: KubeObject) -> KubeObject:
        made = copy.deepcopy(wanted)
        made["metadata"] |= {"uid": made["metadata"]["name"], "resourceVersion": str(100 + len(self.wrote))}
        if made["kind"] == self.kind == "Deployment":
            made["spec"]["template"]["spec"]["containers"].append({"name": "injected"})
        elif made["kind"] == self.kind:
            made["spec"]["egress"] = [{}]
        self.kept[made["kind"], made["metadata"]["name"]] = made
        return made


@pytest.mark.parametrize(
    ("kind", "last"),
    [("Deployment", ["apply Deployment", "replace Deployment"]), ("NetworkPolicy", ["apply NetworkPolicy"])],
)
async def test_what_never_becomes_as_wanted_is_tried_ever_more_slowly(
    kind: str, last: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    client, metrics = Webhooked(kind), Metrics()
    shell = Shell(client, PLATFORM, metrics, "me")  # type: ignore[arg-type]
    namespace = {"name": "acme", "uid": "n", "resourceVersion": "1", "labels": {"rolehost.io/tenant": "yes"}}
    raw = role()
    raw["metadata"] |= {"resourceVersion": "1"}
    runtime_class = {"name": "gvisor", "uid": "r", "resourceVersion": "1"}
    backend = {"name": "default", "uid": "b", "resourceVersion": "1"}
    for one in (
        {"kind": "Namespace", "metadata": namespace},
        {"kind": "RuntimeClass", "metadata": runtime_class},
        {"kind": "ModelBackend", "metadata": backend, "spec": {"type": "Scripted"}},
        raw,
    ):
        shell.world.put(one)
    shell.lead(True)
    workers = [asyncio.create_task(shell.work()) for _ in range(2)]
    async with asyncio.timeout(10):
        while "not stored as it was applied" not in caplog.text:
            await asyncio.sleep(0)
    for _ in range(200):  # its own answers ring, and are not followed: it rests
        await asyncio.sleep(0)
    for worker in workers:
        worker.cancel()
    assert client.wrote[-len(last) :] == last
    assert client.wrote.count(last[0]) == 1
    assert metrics.registry.get_sample_value("rolehost_operator_reconciles_total", {"outcome": "contested"}) == 1.0
    assert "admission webhook" in caplog.text
