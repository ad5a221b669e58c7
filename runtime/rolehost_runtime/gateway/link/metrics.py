"""Pods, links and what a rollout's end did to sessions, counted. Labels are names of tenants, Roles and revisions, and
codes of ours: what a pod says of itself is in a label only where it is one of the words known here.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rolehost_api.observed import Observed

OK = "ok"
STOPPED = frozenset({"hook_deadline", "hook_died", "turn_deadline", "logic_unavailable"})
"""Codes by which a pod says that a worker of its was ended."""

State = Literal["waiting", "loaded", "failed", "refused"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class Sight:
    """A pod that this gateway binds, or refused to."""

    tenant: str
    role: str
    revision: str
    state: State
    linked: bool = False
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a gateway knows of pods at one moment."""

    sights: Sequence[Sight]
    strangers: Mapping[str, int]
    """By tenant: pods that say they are sandboxes, and nobody dials."""
    observed: Observed


class LinkSink(Protocol):
    def bound(self, outcome: str) -> None:
        """A pod told what came of its Bind: `ok`, or a load error's code."""

    def ended(self, code: str) -> None:
        """A link ended, or never stood, by a fault of this code."""

    def stopped(self, tenant: str, role: str, code: str) -> None:
        """A pod ended a worker, and with it a hook or a turn."""


class NoLinkSink:
    """Counts nothing."""

    def bound(self, outcome: str) -> None:
        """Nothing."""

    def ended(self, code: str) -> None:
        """Nothing."""

    def stopped(self, tenant: str, role: str, code: str) -> None:
        """Nothing."""


class PrometheusLinkSink:
    """Implements LinkSink over one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._binds = Counter(
            "rolehost_link_binds",
            "Pods that told what came of being bound to a revision: `ok`, or the stable code of a load error.",
            ["outcome"],
            registry=registry,
        )
        self._ended = Counter(
            "rolehost_link_failures", "Links to pods that ended, or never stood, by why.", ["code"], registry=registry
        )
        self._stopped = Counter(
            "rolehost_sandbox_workers_ended",
            "Workers that a pod ended under a hook or a turn, by the code that it tells.",
            ["tenant", "role", "code"],
            registry=registry,
        )

    def bound(self, outcome: str) -> None:
        self._binds.labels(outcome).inc()

    def ended(self, code: str) -> None:
        self._ended.labels(code).inc()

    def stopped(self, tenant: str, role: str, code: str) -> None:
        if code in STOPPED:
            self._stopped.labels(tenant, role, code).inc()


class LinkGauges(Collector):
    """What is so now, read when somebody scrapes."""

    def __init__(self, facts: Callable[[], Facts]) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        facts = self._facts()
        yield from _of_pods(facts.sights)
        yield _of_strangers(facts.strangers)
        yield _of_sessions(facts.observed)
        yield from _of_rollouts(facts.observed)


def _of_pods(sights: Sequence[Sight]) -> Iterable[Metric]:
    """A pod is its binder's to count, so the gateways' numbers add up."""
    of = ["tenant", "role", "revision"]
    pods = GaugeMetricFamily(
        "rolehost_pods",
        "Sandbox pods that this gateway binds: waiting, loaded, failed, or refused for their sandbox leaks.",
        labels=[*of, "state"],
    )
    links = GaugeMetricFamily("rolehost_links", "Of those, pods whose link stands.", labels=of)
    fullest = GaugeMetricFamily("rolehost_pod_sessions_max", "Sessions on the fullest of those pods.", labels=of)
    by_state: Tally[tuple[str, str, str, str]] = Tally()
    standing: Tally[tuple[str, str, str]] = Tally()
    most: dict[tuple[str, str, str], int] = {}
    for one in sights:
        where = (one.tenant, one.role, one.revision)
        for state in STATES:  # nought is told too: nothing at all would be nobody's word
            by_state[(*where, state)] += state == one.state
        standing[where] += one.linked
        most[where] = max(most.get(where, 0), one.sessions)
    for labels, count in sorted(by_state.items()):
        pods.add_metric(labels, count)
    for where, count in sorted(standing.items()):
        links.add_metric(where, count)
    for where, count in sorted(most.items()):
        fullest.add_metric(where, count)
    yield from (pods, links, fullest)


def _of_strangers(strangers: Mapping[str, int]) -> Metric:
    """Every gateway sees all of them, so the largest number is theirs."""
    unproved = GaugeMetricFamily(
        "rolehost_pods_unproved",
        "Pods that say they are a tenant's sandboxes and that Kubernetes does not vouch for; nobody dials them.",
        labels=["tenant"],
    )
    for tenant, count in sorted(strangers.items()):
        unproved.add_metric([tenant], count)
    return unproved


def _of_sessions(observed: Observed) -> Metric:
    sessions = GaugeMetricFamily(
        "rolehost_revision_sessions",
        "Sessions that this gateway answers on a revision and that spoke within their idle timeout.",
        labels=["tenant", "role", "revision"],
    )
    for one in observed.revisions:
        sessions.add_metric([one.namespace, one.role, one.revision], one.sessions)
    return sessions


def _of_rollouts(observed: Observed) -> Iterable[Metric]:
    of = ["tenant", "role", "rollout"]
    moved = CounterMetricFamily(
        "rolehost_rollout_evacuated_sessions",
        "Sessions that a rollout's end took from their revision: migrated, drained, dropped, or reset to a new state.",
        labels=[*of, "how"],
    )
    breaker = GaugeMetricFamily(
        "rolehost_rollout_breaker",
        "1 where this gateway gives a candidate no new sessions by itself: too many bad ones in a row.",
        labels=of,
    )
    for one in observed.rollouts:
        where = [one.namespace, one.role, one.rollout]
        for how in ("migrated", "drained", "dropped", "reset"):
            moved.add_metric([*where, how], getattr(one, how))
        breaker.add_metric(where, one.breaker)
    yield from (moved, breaker)
