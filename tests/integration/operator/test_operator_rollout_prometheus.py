"""From the gateways' counters to a decision: the operator as a process, a real apiserver, a real Prometheus.

The test's hands are the gateways' and the kubelet's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.operator.conftest import Cluster, eventually
from tests.integration.operator.test_operator_process import newest, report
from tests.support.prometheus import Exporter, PrometheusProcess
from tests.support.proof import SOAK

from rolehost_api import slo
from rolehost_api.observed import WarmReport

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not SOAK, reason="a minute; its parts are in the slice: evidence, judge, engine, writes"),
]
ANALYSIS = {"intervalSeconds": 1}
ROLLOUT = {
    "strategy": "Progressive",
    "steps": [{"percent": 20, "pauseSeconds": 0}, {"percent": 50, "pauseSeconds": 0}],
    "analysis": ANALYSIS,
    "watchSeconds": 0,
    "cooldownSeconds": 0,
}


@pytest.fixture
def gateway() -> Iterator[Exporter]:
    made = Exporter()
    yield made
    made.close()


class Stage:
    """One Role, and sessions on it as the traffic of the moment divides them."""

    def __init__(self, cluster: Cluster, gateway: Exporter, url: str) -> None:
        self.cluster, self.gateway = cluster, gateway
        self.namespace = cluster.tenant()
        self.operator = cluster.operator("--prometheus-url", url)
        eventually(lambda: self.operator.says("this operator leads"), "it leads")

    def edit(self, number: int) -> str:
        """A new template; its revision, with two Ready pods."""
        spec = {"template": {"persona": {"system": f"You are cat {number}."}}, "rollout": ROLLOUT}
        meta = {"name": "cat", "namespace": self.namespace}
        self.cluster.api.apply({"apiVersion": "rolehost.io/v1alpha1", "kind": "Role", "metadata": meta, "spec": spec})
        name = newest(self.cluster, self.namespace, number)
        self.cluster.gateway.say(report(self.namespace, name))
        self.cluster.count_ready(self.namespace, name, pods=2)
        if number > 1:
            self.warm(name)
        return name

    def warm(self, revision: str) -> None:
        """What a gateway does once the status asks for it: an operator that is not told would wait for half a minute."""

        def asked() -> str:
            rollout = self.status.get("rollout") or {}
            return rollout.get("id", "") if rollout.get("revision") == revision and rollout.get("warmingSince") else ""

        rollout = str(eventually(asked, f"{revision} is to be warmed", seconds=60))
        self.cluster.gateway.say(warmed=WarmReport(namespace=self.namespace, role="cat", rollout=rollout))

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.cluster.api.get("rhr", "cat", "-n", self.namespace).get("status", {}))

    def told(self, series: str, **labels: str) -> float:
        """What the operator exports of this Role."""
        of = sorted({**labels, "role": "cat", "tenant": self.namespace}.items())
        return self.operator.metric(series + "{" + ",".join(f'{name}="{value}"' for name, value in of) + "}")

    def until(self, what: str, **wanted: Any) -> dict[str, Any]:
        """Of status.rollout."""

        def there() -> dict[str, Any] | None:
            rollout = self.status.get("rollout") or {}
            return rollout if all(rollout.get(key, "") == value for key, value in wanted.items()) else None

        try:
            found: dict[str, Any] = eventually(there, f"{what}: {wanted}", seconds=60)
        except AssertionError as error:
            raise AssertionError(f"{error}; status: {self.status}") from None
        return found

    def sessions(self, many: int, bad_percent: float = 0) -> None:
        """So many new ones, of which so many percent of the new revision's are bad."""
        status = self.status
        rollout = status["rollout"]
        for share in status["traffic"]:
            count = many * share["percent"] // 100
            bad = int(count * bad_percent / 100) if share["revision"] == rollout["revision"] else 0
            labels = (
                f'tenant="{self.namespace}",role="cat",rollout="{rollout["id"]}",epoch="{rollout["epoch"]}",'
                f'revision="{share["revision"]}",arm="{share["arm"]}",percent="{share["percent"]}"'
            )
            name = "rolehost_rollout_sessions_total"
            self.gateway.series[f'{name}{{{labels},known="user",objective="",stratum="",outcome="assigned"}}'] = count
            self.gateway.series[f"rolehost_rollout_turns_total{{{labels}}}"] = 5 * count
            for stratum in ("first", "later", "whole"):
                scored = f'{labels},known="user",objective="turn-success",stratum="{stratum}"'
                self.gateway.series[f'{name}{{{scored},outcome="good"}}'] = count - bad
                self.gateway.series[f'{name}{{{scored},outcome="bad"}}'] = bad


def test_what_gateways_count_promotes_a_good_revision_and_rolls_a_bad_one_back(
    cluster: Cluster, gateway: Exporter, tmp_path: Path
) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    server = PrometheusProcess(folder, {"gateways": [gateway.address]})
    server.start()
    try:
        stage = Stage(cluster, gateway, server.url)
        first = stage.edit(1)
        eventually(lambda: stage.status.get("stableRevision") == first, "the first one is stable", seconds=60)
        good = stage.edit(2)
        for step, percent in ((1, 20), (2, 50)):
            stage.until("a step", stage="Stepping", step=step, percent=percent)
            stage.sessions(10_000)
        ended = stage.until("it is promoted", stage="", revision=good)
        assert stage.status["stableRevision"] == good
        assert stage.status["history"][0]["action"] == "Promoted"
        assert ended["lastDecision"]["action"] == "Finish"

        bad = stage.edit(3)
        stage.until("a step", stage="Stepping", revision=bad)
        stage.sessions(2_000, bad_percent=20)
        ended = stage.until("it is rolled back", stage="", revision=bad)
        decision = ended["lastDecision"]
        assert (decision["action"], decision["verdict"], decision["reason"]) == (
            "Rollback",
            "Unhealthy",
            "WorseThanStable",
        )
        assert decision["samples"] == 400
        assert stage.status["stableRevision"] == good
        assert [one["revision"] for one in stage.status["leaving"]][-1] == bad
        assert stage.operator.metric('rolehost_operator_analysis_looks_total{outcome="good"}') > 0
        assert stage.told(slo.VERDICT, verdict="Unhealthy") == 1
        direction = {"direction": "Unhealthy", "metric": "turn-success/whole"}
        assert stage.told(slo.EVIDENCE, **direction) >= stage.told(slo.EVIDENCE_THRESHOLD, **direction) > 0
        assert stage.told(slo.SAMPLES) == 400
    finally:
        server.kill()


def test_without_prometheus_it_holds_and_goes_on_when_it_is_back(
    cluster: Cluster, gateway: Exporter, tmp_path: Path
) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    server = PrometheusProcess(folder, {"gateways": [gateway.address]})
    server.start()
    try:
        stage = Stage(cluster, gateway, server.url)
        first = stage.edit(1)
        eventually(lambda: stage.status.get("stableRevision") == first, "the first one is stable", seconds=60)
        new = stage.edit(2)
        stage.until("a step", stage="Stepping", step=1)
        server.kill()

        def reason() -> str:
            return str(((stage.status.get("rollout") or {}).get("lastDecision") or {}).get("reason", ""))

        eventually(lambda: reason() == "PrometheusUnreachable", "it says so", seconds=60)
        stage.sessions(10_000)
        assert stage.status["rollout"]["step"] == 1
        server.start()
        stage.until("it goes on by itself", step=2, revision=new)
    finally:
        server.kill()
