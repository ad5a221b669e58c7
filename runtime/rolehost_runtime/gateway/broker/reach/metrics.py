"""Requests to servers outside, counted. Labels are a tenant's name, its Role's name, and a class of answers or a code of ours."""

from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ReachSink(Protocol):
    def request(self, tenant: str, role: str, outcome: str, seconds: float, sent: int, received: int) -> None: ...


class NoReachSink:
    """Counts nothing."""

    def request(self, tenant: str, role: str, outcome: str, seconds: float, sent: int, received: int) -> None:
        """Nothing."""


class PrometheusReachSink:
    """Implements ReachSink over one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rolehost_reach_requests",
            "Requests to servers outside, by the class of their answer (2xx …) or the stable code that they failed with.",
            ["tenant", "role", "outcome"],
            registry=registry,
        )
        self._bytes = Counter(
            "rolehost_reach_bytes",
            "Bytes of those requests and their answers, as they travelled.",
            ["tenant", "role", "direction"],
            registry=registry,
        )
        self._seconds = Histogram(
            "rolehost_reach_seconds",
            "How long they took, redirects and waiting among it.",
            ["tenant", "role"],
            buckets=SECONDS,
            registry=registry,
        )

    def request(self, tenant: str, role: str, outcome: str, seconds: float, sent: int, received: int) -> None:
        self._requests.labels(tenant, role, outcome).inc()
        self._seconds.labels(tenant, role).observe(seconds)
        self._bytes.labels(tenant, role, "sent").inc(sent)
        self._bytes.labels(tenant, role, "received").inc(received)
