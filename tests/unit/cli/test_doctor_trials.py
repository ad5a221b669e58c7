"""The pods' short lives, over an API of the test's own: what is made, in which order, and that all of it goes."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rolehost.cli.doctor import trials as module
from rolehost.cli.doctor import walls
from rolehost.cli.doctor.api import JSON, Answer, Api
from rolehost.cli.doctor.finding import State
from rolehost.cli.doctor.objects import BOTH, NO_EGRESS, NO_INGRESS
from rolehost.cli.doctor.trials import Trials

CLOSED = {"rounds": [{str(BOTH): True, str(NO_EGRESS): False, str(NO_INGRESS): False}] * 4}
KERNEL = {"gvisor": True, "kernel": "Linux 4.4.0"}


class Cluster(Api):
    """Pods get an address when they are looked at once, and have ended, with what they say, when looked at twice."""

    def __init__(self, says: Mapping[str, Any], stuck: bool = False) -> None:
        self.ahead = None
        self.says, self.stuck = says, stuck
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.looks: dict[str, int] = {}
        self.late_logs = 0
        """So many reads of a log come before there is anything in it."""
        self.on_post: Callable[[], None] = lambda: None

    async def ask(self, method: str, path: str, body: Any = None, kind: str = JSON) -> Answer:
        await asyncio.sleep(0)
        path, _, query = path.partition("?")
        self.asked.append((method, path.rpartition("/")[2]))
        if method == "POST":
            self.objects[f"{path}/{body['metadata']['name']}"] = body
            self.on_post()
            return Answer(201, body)
        if method == "DELETE":
            return Answer(200 if self.objects.pop(path, None) else 404, {})
        if "labelSelector" in query:
            return Answer(200, {"items": [one for name, one in self.objects.items() if name.startswith(path)]})
        if path.endswith("/events"):
            return Answer(200, {"items": [{"message": "old", "lastTimestamp": "1"}, {"message": "no runsc", "lastTimestamp": "2"}]})  # fmt: skip
        if path.endswith("/log") and self.late_logs > 0:
            self.late_logs -= 1
            return Answer(200, "") if self.late_logs else Answer(500, {"message": "not yet"})
        if path.endswith("/log"):
            return Answer(200, "a warning\n" + json.dumps(self.says[path.removesuffix("/log").rpartition("-")[2]]))
        return Answer(200, self._pod(path))

    def _pod(self, path: str) -> dict[str, Any]:
        self.looks[path] = self.looks.get(path, 0) + 1
        ended = self.looks[path] > 1 and not path.endswith("server") and not self.stuck
        status = {"phase": "Succeeded" if ended else "Pending", **({} if self.stuck else {"podIP": "10.0.0.7"})}
        return {**self.objects[path], "spec": {**self.objects[path]["spec"], "nodeName": "n1"}, "status": status}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)


def trial(cluster: Cluster, seconds: float = 60.0) -> Trials:
    return Trials(cluster, "plat", "abc123", "sandbox:1", "IfNotPresent", time.monotonic() + seconds)


async def test_two_pods_between_policies_and_one_under_gvisor() -> None:
    cluster = Cluster({"client": CLOSED, "kernel": KERNEL})
    run = trial(cluster)
    assert walls.network(*await run.network()).state is State.OK
    assert walls.gvisor(await run.kernel()).state is State.OK
    posted = [where for method, where in cluster.asked if method == "POST"]
    assert posted == ["networkpolicies", "networkpolicies", "pods", "pods", "pods"], "the walls stand before the pods"
    client = next(one for name, one in cluster.objects.items() if name.endswith("pods/rolehost-doctor-abc123-client"))
    assert "10.0.0.7" in client["spec"]["containers"][0]["command"]
    await run.clear()
    assert cluster.objects == {}


async def test_a_log_that_comes_later_than_its_pods_end_is_waited_for() -> None:
    cluster = Cluster({"kernel": KERNEL})
    cluster.late_logs = 3
    assert walls.gvisor(await trial(cluster).kernel()).state is State.OK


async def test_so_is_the_log_of_a_pod_that_ended_at_the_last_moment() -> None:
    cluster = Cluster({"kernel": KERNEL})
    cluster.looks["/api/v1/namespaces/plat/pods/rolehost-doctor-abc123-kernel"] = 1
    cluster.late_logs = 3
    assert walls.gvisor(await trial(cluster, seconds=0.0).kernel()).state is State.OK


async def test_a_log_that_never_comes_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_SECONDS", 0.05)
    cluster = Cluster({"kernel": KERNEL})
    cluster.late_logs = 10**9
    found = walls.gvisor(await trial(cluster, seconds=0.05).kernel())
    assert found.state is not State.OK


async def test_a_pod_that_stays_pending_is_given_up_with_its_newest_warning() -> None:
    cluster = Cluster({}, stuck=True)
    run = trial(cluster, seconds=0.0)
    kernel = await run.kernel()
    assert kernel.said is None
    assert walls.gvisor(kernel).fix.startswith("Install runsc")
    assert walls.network(*await run.network()).state is State.FAIL
    assert not [name for name in cluster.objects if name.endswith("pods/rolehost-doctor-abc123-client")], (
        "without an address there is none to try"
    )
    await run.clear()
    assert cluster.objects == {}


@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_whenever_it_is_stopped_nothing_stays(at: int) -> None:
    """Also what was asked for when the word came: it is waited for, and then taken away."""
    cluster = Cluster({"client": CLOSED, "kernel": KERNEL})
    run = trial(cluster)
    work = asyncio.create_task(run.network())
    count = iter(range(1, 100))

    def stop() -> None:
        if next(count) == at:
            work.cancel()

    cluster.on_post = stop
    with pytest.raises(asyncio.CancelledError):
        await work
    await run.clear()
    assert cluster.objects == {}
