"""What the cluster's Prometheus, Alertmanager and Jaeger say, asked from outside of the node."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tests.cluster import node
from tests.cluster.common import ClusterError, Paths

NAMESPACE = "monitoring"
PORTS = {"prometheus": 9090, "alertmanager": 9093, "jaeger": 16686}


def near(where: Paths, name: str, port: int) -> int:
    """The loopback port that leads to a Service of theirs, for as long as the cluster is up."""
    query = ("get", "service", name, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")
    return node.relay(where, name, node.kubectl(where, *query).strip(), port, 10_000 + port)


class Monitoring:
    def __init__(self, where: Paths) -> None:
        self._urls = {name: f"http://127.0.0.1:{near(where, name, port)}" for name, port in PORTS.items()}

    @property
    def prometheus(self) -> str:
        """Its URL, from this machine."""
        return self._urls["prometheus"]

    def query(self, promql: str) -> dict[str, float]:
        """An instant vector: the labels' values joined by commas, in the order of their names, and the number."""
        answer = self._get("prometheus", "/api/v1/query", query=promql)
        rows = answer["data"]["result"]
        return {
            ",".join(value for name, value in sorted(row["metric"].items()) if name != "__name__"): float(
                row["value"][1]
            )
            for row in rows
        }

    def number(self, promql: str) -> float | None:
        """Of a query that gives one number; None where it gives none."""
        found = self.query(promql)
        if len(found) > 1:
            raise ClusterError(f"{promql} gives {len(found)} numbers, not one")
        return next(iter(found.values()), None)

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """Those that Alertmanager holds as active, with these labels."""
        alerts: list[dict[str, Any]] = self._get("alertmanager", "/api/v2/alerts", active="true")
        return [one for one in alerts if labels.items() <= one["labels"].items()]

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace as Jaeger tells them; empty where it knows none."""
        try:
            found = self._get("jaeger", f"/api/traces/{trace_id}")
        except urllib.error.HTTPError:
            return []
        spans: list[dict[str, Any]] = found["data"][0]["spans"] if found.get("data") else []
        return spans

    def _get(self, name: str, path: str, **query: str) -> Any:
        url = f"{self._urls[name]}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
