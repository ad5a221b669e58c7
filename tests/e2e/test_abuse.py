"""One session's logic does its worst in the cluster; five others on the same pod stream their answers meanwhile."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
from tests.cluster.testing import Cluster, Tenant
from tests.support.abuse import LOGIC, percentile
from tests.support.proof import keep
from tests.support.talk import Frame

ROLE = "bully"
RUN = secrets.token_hex(4)
NEIGHBOURS = 5
TURNS = 10
"""Of each neighbour, at least; they go on until the abuser has done its deed three times."""
DEEDS = {
    "": None,
    "loop": "hook_deadline",
    "allocate": "hook_failed",
    "fork": "hook_deadline",
    "exit": "hook_died",
    "signal": None,
    "threads": "hook_failed",
    "shout": "hook_deadline",
    "fill-shm": "hook_failed",
    "fill-tmp": "hook_failed",
}
"""What is done, and what is said of the hook that does it. The last one leaves /tmp full."""


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    with cluster.tenant("abuse") as made:
        made.apply_role(ROLE, logic=LOGIC, scaling={"minReplicas": 1, "maxReplicas": 1})
        made.wait_ready(ROLE)
        yield made


@pytest.fixture(scope="module")
def key(tenant: Tenant) -> str:
    return tenant.key("chat")


def restarts(cluster: Cluster) -> dict[str, int]:
    pods = cluster.get("pods", "-n", "abuse", "-l", f"rolehost.io/role={ROLE}")["items"]
    return {pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}


def streaming(cluster: Cluster, key: str, session_id: str, over: Event) -> list[float]:
    """Turns of one who does nothing wrong, each of them whole; how long each took, in seconds."""
    took: list[float] = []
    with cluster.talk(ROLE, key, session_id) as person:
        while len(took) < TURNS or not over.is_set():
            message = f"turn {len(took)} of {session_id}"
            began = time.perf_counter()
            done = person.say(message)
            took.append(time.perf_counter() - began)
            assert done["type"] == "response.done", done
            assert done["status"] == "completed", done
            assert not done.get("degraded"), done
            assert done["message"].startswith("[You said: Which mood?")
            assert done["message"].count(f"You said: {message}\n") == 1
            assert person.streamed == done["message"], "no text is lost, and none comes twice"
    return took


def abusing(cluster: Cluster, key: str, deed: str, over: Event) -> list[Frame]:
    try:
        with cluster.talk(ROLE, key, f"abuser-{deed}-{RUN}") as person:
            return [person.say(deed) for _ in range(3)]
    finally:
        over.set()


@pytest.mark.timeout(600)
def test_neighbours_of_an_abuser_stream_on_and_the_pod_lives(cluster: Cluster, tenant: Tenant, key: str) -> None:
    before = restarts(cluster)
    assert list(before.values()) == [0]
    figures: dict[str, object] = {}
    with ThreadPoolExecutor(NEIGHBOURS + 1) as threads:
        for deed, code in DEEDS.items():
            over = Event()
            neighbours: list[Future[list[float]]] = [
                threads.submit(streaming, cluster, key, f"n{number}-{deed}-{RUN}", over) for number in range(NEIGHBOURS)
            ]
            if deed:
                for done in threads.submit(abusing, cluster, key, deed, over).result():
                    assert done.get("status") == "completed", (deed, done)
                    codes = [degraded["code"] for degraded in done.get("degraded") or ()]
                    assert codes == ([code] if code else []), (deed, done)
            over.set()
            took = [seconds for neighbour in neighbours for seconds in neighbour.result()]
            figures[deed or "nobody"] = {
                "turns": len(took),
                "p50_ms": percentile(took, 0.5),
                "p99_ms": percentile(took, 0.99),
            }
    assert restarts(cluster) == before, "the same pod, and it never started anew"
    keep("worker-abuse-cluster", {"turns_failed": 0, "pod_restarts": 0, **figures})
