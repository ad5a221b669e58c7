"""The drill: a model server becomes slow, the right alert pages, the trace names the call, and one field mends it.

A backend without a timeout of its own, a spare one behind it. The server goes from 200 ms to seconds and breaks off now
and then; somebody is paged, looks at a trace, and gives the backend an 800 ms timeout while everything runs.
"""

import json
import secrets
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster import install
from tests.cluster.common import REPOSITORY
from tests.cluster.monitoring import Monitoring
from tests.cluster.relay import Relay
from tests.cluster.testing import Cluster, Tenant, until
from tests.support.arrivals import Arrivals
from tests.support.proof import keep

from rolehost.cli import flames
from rolehost.cli.trace import read

RUN = secrets.token_hex(3)
SERVERS = {"laggard": {"milliseconds": 200, "failing": 0}, "spare": {"milliseconds": 200, "failing": 0}}
SICK = {"milliseconds": 3000, "failing": 20}
TIMEOUT_MILLISECONDS = 800
SLO = {
    "objectives": [
        {"name": "fast", "type": "Latency", "thresholdMilliseconds": 1000, "target": "99"},
        {"name": "works", "type": "Success", "target": "99"},
    ]
}
LOGIC = """
from rolehost import Role, State, Turn

class Count(State):
    turns: int = 0

drilled = Role("drilled", state=Count)

@drilled.on_message
async def answer(t: Turn[Count]) -> None:
    t.state.turns += 1
    await t.reply(t.ask())
    t.say(f" {t.state.turns}")
"""
PAGE_TO_ACTION_SECONDS = 240.0
pytestmark = pytest.mark.timeout(600)


def server(name: str) -> list[dict[str, Any]]:
    """The pod, and its backend, which falls back on the spare one."""
    meta = {"name": name, "namespace": "models"}
    container = {
        "name": "server",
        "image": "localhost/monitoring:1",
        "imagePullPolicy": "Never",
        "command": ["python3", "/code/server.py"],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/v1/models", "port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "code", "configMap": {"name": "laggard"}}],
    }
    labels = {"app": name}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {**meta, "name": "laggard"},
            "data": {"server.py": (REPOSITORY / "tests/cluster/laggard/server.py").read_text()},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8000, "targetPort": "http"}]},
        },
        backend(name),
    ]


def backend(name: str, **timeouts: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "OpenAI",
        "baseURL": f"http://{name}.models.svc.cluster.local:8000/v1",
        "models": [{"name": "small", "model": "tiny"}],
        "retries": {"maxRetries": 0},
        "breaker": {"failurePercent": 50, "minCalls": 5, "windowSeconds": 10, "openSeconds": 15},
        "timeouts": timeouts,
    }
    if name != "spare":
        spec["fallbacks"] = ["spare"]
    return {"apiVersion": "rolehost.io/v1alpha1", "kind": "ModelBackend", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def tenant(cluster: Cluster, monitoring: Monitoring) -> Iterator[Tenant]:
    for name in ("spare", "laggard"):
        cluster.apply(*server(name))
        install.rolled_out(cluster.where, f"deployment/{name}", "models", 60)
    with cluster.tenant("drills") as made:
        made.apply_role("drilled", logic=LOGIC, template={"model": {"backend": "laggard", "name": "small"}}, slo=SLO)
        made.wait_ready("drilled")
        yield made
    cluster.kubectl("delete", "modelbackend", *SERVERS)
    cluster.kubectl("delete", "deployment,service", *SERVERS, "-n", "models")


def mood(cluster: Cluster, name: str, **wanted: int) -> None:
    address = cluster.get("service", name, "-n", "models")["spec"]["clusterIP"]
    with Relay(address, 8000, where=cluster.where) as relay:
        url, body = f"http://{relay.host}:{relay.port}/mood", json.dumps(wanted).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10) as answer:
            assert answer.status == 200


def p99(monitoring: Monitoring, seconds: int = 20) -> float:
    """Of first tokens, in seconds, over the last while; NaN where nobody spoke."""
    rate = f'sum by (le) (rate(rolehost_turn_first_token_seconds_bucket{{role="drilled"}}[{seconds}s]))'
    return monitoring.number(f"histogram_quantile(0.99, {rate})") or float("nan")


def test_a_slow_model_pages_somebody_and_one_field_mends_it(
    cluster: Cluster, tenant: Tenant, monitoring: Monitoring
) -> None:
    timeline: list[tuple[float, str]] = []
    began = time.monotonic()

    def note(what: str) -> None:
        timeline.append((round(time.monotonic() - began, 1), what))
        print(f"{timeline[-1][0]:7.1f} s  {what}")

    key = tenant.key("chat", "act-as-user")
    with Arrivals(cluster.gateway, key, "drilled", run=RUN, per_second=2, most=40, pause=0.5) as people:
        until(lambda: people.summary()["turns"] > 150 or None, 120, lambda: f"people talk: {people.summary()}")
        usual = p99(monitoring)
        note(f"people talk; P99 of first tokens {usual * 1000:.0f} ms")
        assert usual < 1.0, usual  # as promised; on a quiet machine a little over the 200 ms of the server
        mood(cluster, "laggard", **SICK)
        note("the model server becomes slow and breaks off now and then; the backend has no timeout that would help")
        page = until(
            lambda: next(iter(monitoring.alerts(tenant=tenant.name, role="drilled", severity="page")), None),
            300,
            lambda: f"somebody is paged; P99 is {p99(monitoring)}; {monitoring.query('ALERTS')}",
        )
        paged = time.monotonic()
        sick = p99(monitoring)
        note(f"page: {page['labels']['alertname']}, objective {page['labels'].get('objective')}; P99 {sick:.1f} s")
        assert sick > 1.0, sick
        assert people.summary()["errors"], "errors rose too"
        assert page["annotations"]["runbook_url"]
        slow = slowest_trace(cluster, key)
        spans = until(lambda: monitoring.trace(slow) or None, 60, lambda: f"Jaeger has trace {slow}")
        culprit = max((one for one in spans if is_leaf(one, spans)), key=lambda one: one["duration"])
        (whole,) = read(json.dumps({"data": [{"spans": spans}]})).values()
        print(flames.as_text(whole))
        note(f"the trace's longest call: {culprit['operationName']}, {culprit['duration'] / 1e6:.1f} s")
        tags = {tag["key"]: tag["value"] for tag in culprit["tags"]}
        assert "laggard" in tags["server.address"], tags
        cluster.apply(backend("laggard", firstTokenMilliseconds=TIMEOUT_MILLISECONDS))
        acted = time.monotonic()
        note(
            f"timeouts.firstTokenMilliseconds: {TIMEOUT_MILLISECONDS} is applied, {acted - paged:.0f} s after the page"
        )
        until(
            lambda: p99(monitoring, 15) < 2 * max(usual, 0.25) or None, 120, lambda: f"P99 is back: {p99(monitoring)}"
        )
        note(f"P99 is back: {p99(monitoring, 15) * 1000:.0f} ms")
    assert acted - paged <= PAGE_TO_ACTION_SECONDS
    summary = people.check()
    keep("drill", {"timeline": [{"seconds": at, "what": what} for at, what in timeline], **summary})


def slowest_trace(cluster: Cluster, key: str) -> str:
    """Somebody's own turn, slow as all are now: its receipt names its trace."""
    with cluster.talk("drilled", key, f"sre-{RUN}") as person:
        done = person.say("hello", timeout=60)
    assert done["trace_id"], done
    return str(done["trace_id"])


def is_leaf(span: dict[str, Any], spans: list[dict[str, Any]]) -> bool:
    return all(ref["spanID"] != span["spanID"] for other in spans for ref in other.get("references", ()))
