"""How the operator is watched: metrics and health."""

from collections.abc import Callable, Iterable
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from rolehost_operator.kube.tidings import Tidings


class Metrics:
    """No label takes a value that a tenant can choose."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry}
        self.leader = Gauge("rolehost_operator_leader", "1 while this operator holds the lease.", **made)
        self.depth = Gauge("rolehost_operator_queue_depth", "Roles that wait to be looked after.", **made)
        self.gateways = Gauge("rolehost_operator_gateways_reporting", "Gateways whose word is fresh.", **made)
        self.roles = Gauge("rolehost_operator_roles", "Roles that were seen.", **made)
        self.without_rights = Gauge(
            "rolehost_operator_namespaces_without_rights",
            "Namespaces labelled as tenants' where this operator was refused; rolehost tenants add mends it.",
            **made,
        )
        self.upgrade_waiting = Gauge(
            "rolehost_operator_upgrade_waiting", "Roles whose pods wait for their turn to be replaced.", **made
        )
        self.upgrade_rolling = Gauge(
            "rolehost_operator_upgrade_rolling", "Sandbox Deployments whose pods are being replaced.", **made
        )
        self.upgrade_halted = Gauge(
            "rolehost_operator_upgrade_halted", "1 while new sandbox pods do not come up and no more begin.", **made
        )
        self.writes = Counter(
            "rolehost_operator_writes", "Writes to the Kubernetes API, tried.", ["verb", "kind"], **made
        )
        self.looks = Counter("rolehost_operator_reconciles", "Roles looked after, by outcome.", ["outcome"], **made)
        self.seconds = Histogram("rolehost_operator_reconcile_seconds", "Time to look after a Role once.", **made)

    def watch(self, tidings: Tidings) -> None:
        """Tell of these watches too."""
        self.registry.register(Watches(tidings))

    def looked_after(self, outcome: str, seconds: float) -> None:
        self.looks.labels(outcome).inc()
        self.seconds.observe(seconds)

    def wrote(self, verb: str, kind: str) -> None:
        self.writes.labels(verb, kind).inc()


class Watches(Collector):
    """What is known of the watches, by kind; read when somebody scrapes."""

    def __init__(self, tidings: Tidings) -> None:
        self._tidings = tidings

    def collect(self) -> Iterable[Metric]:
        age = GaugeMetricFamily(
            "rolehost_operator_watch_last_event_age_seconds",
            "Since a watch last brought an event or was opened; over 320 the operator is blind.",
            labels=["kind"],
        )
        for kind, seconds in self._tidings.ages().items():
            age.add_metric([kind], seconds)
        yield age
        for name, text, counts in (
            ("lists", "Whole listings taken; after the first, a watch had lost its place.", self._tidings.lists),
            ("opened", "Watches opened.", self._tidings.opened),
            (
                "failures",
                "Listings and watches that were refused or broke, and are tried again.",
                self._tidings.failures,
            ),
        ):
            family = CounterMetricFamily(f"rolehost_operator_watch_{name}", text, labels=["kind"])
            for kind, count in counts.items():
                family.add_metric([kind], count)
            yield family


async def serve(metrics: Metrics, port: int, ready: Callable[[], bool]) -> web.AppRunner:
    """/metrics, /healthz (the loop turns) and /readyz (`ready`); the caller cleans the runner up."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="not yet\n")

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104
    return runner
