"""A rollout whose evidence does not come any more: it holds, and not for ever."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.observing import PLATFORM, role
from tests.support.rolling import Cluster

from rolehost_api.names import TENANT
from rolehost_operator.evidence.analyses import STAGES
from rolehost_operator.handlers.shell import Shell
from rolehost_operator.kube.client import ApiError
from rolehost_operator.objects import KubeObject
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rehearsal import carried_out
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.telemetry import Metrics


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(minutes=10), timedelta(minutes=-10)])
def test_without_prometheus_the_deadline_comes_all_the_same(skew: timedelta) -> None:
    """The last sample's time stands still then; what passes is counted by the operator's own clock."""
    cluster = Cluster(progressDeadlineSeconds=600).edit("You are a dog.")
    rollout = cluster.status.rollout
    last = Evidence(rollout.id, cluster.now + skew, missing="PrometheusUnreachable", detail="it is away")
    stages = []
    for _ in range(30):
        plan = reconcile(replace(cluster.seen, evidence=last), cluster.now)
        cluster.seen = cluster.running(carried_out(cluster.seen, plan))
        stages.append(cluster.status.rollout.stage)
        cluster.now += timedelta(minutes=1)
    assert stages[0] == "Stepping"
    assert stages[-1] == "Stopped"
    assert not cluster.status.leaving


def shell_with(client: Any, stage: str) -> Shell:
    """That saw a Role whose rollout is in this stage."""
    shell = Shell(client, PLATFORM, Metrics(), "me")
    space = {"kind": "Namespace", "metadata": {"name": "acme", "uid": "u", "labels": {TENANT: "yes"}}}
    raw = role(rollout={"strategy": "Progressive"})
    raw["metadata"]["resourceVersion"] = "1"
    raw["status"] = {"rollout": {"id": "1-aa", "stage": stage, "revision": "cat-new", "previous": "cat-old"}}
    for one in (space, raw):
        shell.world.put(one)
    return shell


@pytest.mark.parametrize("stage", ["", "Preparing", "Stepping", "Watching", "Stopped"])
def test_what_was_read_is_in_the_picture_that_is_decided_on(stage: str) -> None:
    shell = shell_with(None, stage)
    seen = shell.observe(("acme", "cat"))
    assert seen is not None
    if stage in ("Stepping", "Watching"):
        assert seen.evidence is not None
        assert (seen.evidence.rollout, seen.evidence.missing) == ("1-aa", "PrometheusNotConfigured")
        assert [key for key, _ in shell.world.in_rollout(STAGES)] == [("acme", "cat")]
    else:
        assert seen.evidence is None
        assert list(shell.world.in_rollout(STAGES)) == []


class Refusing:
    """As much of kube.client.Client as a look needs that may write nothing."""

    async def get(self, *_: str) -> None:
        return None

    async def apply(self, _: KubeObject) -> KubeObject:
        raise ApiError("apply", 403, "no")

    async def write_status(self, *_: object) -> KubeObject:
        raise ApiError("write", 403, "no")


@pytest.mark.parametrize(("stage", "told"), [("", 0), ("Preparing", 0), ("Stepping", 1), ("Watching", 1)])
async def test_what_was_said_of_it_is_told_while_it_is_judged(stage: str, told: int) -> None:
    shell = shell_with(Refusing(), stage)
    shell.lead(True)
    with pytest.raises(ApiError):
        await shell._look_after(("acme", "cat"))
    far = time.monotonic() + 3_600
    assert {one.labels for one in shell.verdicts.figures(far) if one.value} == (
        {("acme", "cat", "Unknown")} if told else set()
    )
    shell.lead(False)
    assert len(shell.verdicts) == 0


async def test_of_a_namespace_that_is_no_tenants_any_more_nothing_is_told() -> None:
    shell = shell_with(Refusing(), "Stepping")
    shell.lead(True)
    with pytest.raises(ApiError):
        await shell._look_after(("acme", "cat"))
    shell.world.put(
        {"kind": "Namespace", "metadata": {"name": "acme", "uid": "u", "resourceVersion": "2", "labels": {}}}
    )
    assert list(shell.verdicts.figures(time.monotonic() + 3_600)) == []
