"""How the operator is watched: metrics and health."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from rolehost_api.vitals import Vitals
from rolehost_operator.kube.tidings import Tidings
from rolehost_operator.objects import KubeObject
from rolehost_operator.rollout.shown import FAMILIES, figures
from rolehost_operator.rollout.verdicts import FAMILIES as JUDGED
from rolehost_operator.rollout.verdicts import Verdicts


class Metrics:
    """No label takes a value that a tenant can choose, beyond the names of its namespace, Roles and objectives."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.vitals = Vitals(self.registry)
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
        self.transitions = Counter(
            "rolehost_rollout_transitions",
            "What happened to rollouts: Began, Stepped, Stopped, and how they ended. For marks in time.",
            ["tenant", "role", "action"],
            **made,
        )
        self.seconds = Histogram("rolehost_operator_reconcile_seconds", "Time to look after a Role once.", **made)
        self.analyses = Gauge("rolehost_operator_analyses", "Rollouts whose evidence is looked at.", **made)
        self.evidence_age = Gauge(
            "rolehost_operator_analysis_evidence_age_seconds",
            "Since the last good look at a rollout's evidence: the longest of all.",
            **made,
        )
        self.analysis_looks = Counter(
            "rolehost_operator_analysis_looks",
            "Looks at a rollout's evidence: good, or why there was none.",
            ["outcome"],
            **made,
        )

    def watch(self, tidings: Tidings) -> None:
        """Tell of these watches too."""
        self.registry.register(Watches(tidings))

    def rollouts(self, roles: Callable[[], Iterable[KubeObject]]) -> None:
        """Tell of these Roles' rollouts too."""
        self.registry.register(Rollouts(roles))

    def judged(self, verdicts: Verdicts) -> None:
        """Tell what is said of them too."""
        self.registry.register(Judged(verdicts))

    def looked_after(self, outcome: str, seconds: float) -> None:
        self.looks.labels(outcome).inc()
        self.seconds.observe(seconds)

    def rolled(self, tenant: str, role: str, actions: Iterable[str]) -> None:
        """What happened to a Role's rollout, once its status says it."""
        for action in actions:
            self.transitions.labels(tenant, role, action).inc()

    def looked_at_evidence(self, missing: str) -> None:
        """`missing`: a reason of our own, or empty."""
        self.analysis_looks.labels(missing or "good").inc()

    def wrote(self, verb: str, kind: str) -> None:
        self.writes.labels(verb, kind).inc()


class Rollouts(Collector):
    """What Roles' status says of their rollouts; read when somebody scrapes."""

    def __init__(self, roles: Callable[[], Iterable[KubeObject]]) -> None:
        self._roles = roles

    def collect(self) -> Iterable[Metric]:
        now = datetime.now(UTC)
        made = {
            name: GaugeMetricFamily(f"rolehost_rollout_{name}", text, labels=labels)
            for name, (text, labels) in FAMILIES.items()
        }
        for role in self._roles():
            for figure in figures(role, now):
                made[figure.family].add_metric(figure.labels, figure.value)
        return made.values()


class Judged(Collector):
    """What is said of the rollouts that go on; read when somebody scrapes."""

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts

    def collect(self) -> Iterable[Metric]:
        made = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in JUDGED.items()}
        for figure in self._verdicts.figures(time.monotonic()):
            made[figure.family].add_metric(figure.labels, figure.value)
        return made.values()


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
            (
                "lists",
                "Whole listings taken because a watch had lost its place; some take one as they begin.",
                self._tidings.lists,
            ),
            ("opened", "Watches opened.", self._tidings.opens),
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

    async def over(_: web.Application) -> None:
        metrics.vitals.stop()

    app = web.Application()
    app.on_cleanup.append(over)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104
    metrics.vitals.start()
    return runner
