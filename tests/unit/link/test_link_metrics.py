"""What is counted of pods and links: the binder's pods once, by what became of them, and no word that a pod made up."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client import CollectorRegistry
from tests.support.fleet import START
from tests.support.rooms import (
    ACME,
    CAT_1,
    NONCE,
    Clock,
    FakePod,
    PodDialer,
    Shelves,
    pod_entry,
    put,
    revision_entry,
    role_entry,
    world,
)

from rolehost_api.link.messages import Commit, Degraded, Hello, Probe, StartTurn, TurnFailed
from rolehost_api.observed import Observed, RevisionReport, RolloutReport
from rolehost_runtime.gateway.link.metrics import Facts, LinkGauges, PrometheusLinkSink, Sight
from rolehost_runtime.gateway.link.pool import LinkPool

WHERE = {"tenant": "acme", "role": "cat", "revision": CAT_1}


class Bench:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tables, self.dialer = world(ACME), PodDialer()
        sink = PrometheusLinkSink(self.registry)
        self.pool = LinkPool(
            self.tables, self.dialer, Shelves(), self.dialer.key, Clock(), "gw", backoff_seconds=(0,), sink=sink
        )
        self.registry.register(LinkGauges(self.pool.facts))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    await made.pool.start()
    yield made
    await made.pool.stop()


async def test_a_bound_pod_is_counted_with_its_link_and_its_sessions(bench: Bench) -> None:
    bench.dialer.add("p1")
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.value("rolehost_pods", **WHERE, state="loaded") == 1)
    assert bench.value("rolehost_links", **WHERE) == 1
    assert bench.value("rolehost_link_binds_total", outcome="ok") == 1
    assert bench.value("rolehost_pod_sessions_max", **WHERE) == 0
    bench.pool.pin(role_entry(), CAT_1, "s1")
    await bench.pool.start_turn(role_entry(), revision_entry(), "s1", START, 1)
    assert bench.value("rolehost_pod_sessions_max", **WHERE) == 1
    assert bench.value("rolehost_revision_sessions", **WHERE) == 1


async def test_a_leaking_sandbox_is_counted_as_refused(bench: Bench) -> None:
    bench.dialer.add("p1", hello=Hello(protocols=(1,), nonce=NONCE, probe=Probe(gvisor=False, token=False)))
    put(bench.tables, pod_entry("p1"))
    await bench.until(lambda: bench.value("rolehost_link_failures_total", code="sandbox_breached") == 1)
    assert bench.value("rolehost_pods", **WHERE, state="refused") == 1
    assert bench.value("rolehost_links", **WHERE) == 0


async def test_strangers_are_counted_by_tenant(bench: Bench) -> None:
    for uid in ("s1", "s2"):
        bench.tables.strangers.put((uid,), pod_entry(uid))
    assert bench.value("rolehost_pods_unproved", tenant="acme") == 2


async def commits(pod: FakePod, channel: int, start: StartTurn) -> None:
    said = (Degraded("on_message:answer", "hook_deadline"), Degraded("on_message:answer", "buy_now"))
    pod.send(channel, Commit(degraded=said))


async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, TurnFailed(code="logic_unavailable", hook="on_message"))


@pytest.mark.parametrize(
    ("turn", "code"),
    [pytest.param(commits, "hook_deadline", id="went-on"), pytest.param(fails, "logic_unavailable", id="failed")],
)
async def test_workers_that_a_pod_ended_are_counted_by_known_codes_only(bench: Bench, turn: object, code: str) -> None:
    bench.dialer.add("p1", turn=turn)
    put(bench.tables, pod_entry("p1"))
    call = await bench.pool.start_turn(role_entry(), revision_entry(), "s1", START, 1)
    await call.next(1)
    counted = bench.registry.get_sample_value(
        "rolehost_sandbox_workers_ended_total", {"tenant": "acme", "role": "cat", "code": code}
    )
    assert counted == 1
    samples = [sample for family in bench.registry.collect() for sample in family.samples]
    assert not [sample for sample in samples if "buy_now" in sample.labels.values()]


def test_gauges_add_pods_up_by_revision_and_tell_what_a_rollouts_end_did() -> None:
    observed = Observed(
        gateway="gw",
        number=1,
        revisions=(RevisionReport(namespace="acme", role="cat", revision="cat-2", sessions=7),),
        rollouts=(RolloutReport(namespace="acme", role="cat", rollout="r1", migrated=3, dropped=1, breaker=True),),
    )
    sights = (
        Sight("acme", "cat", "cat-2", "loaded", True, 4),
        Sight("acme", "cat", "cat-2", "loaded", True, 9),
        Sight("acme", "cat", "cat-2", "failed"),
    )
    registry = CollectorRegistry()
    registry.register(LinkGauges(lambda: Facts(sights, {"acme": 2}, observed)))
    of = {"tenant": "acme", "role": "cat"}
    revision = {**of, "revision": "cat-2"}
    told = registry.get_sample_value
    assert told("rolehost_pods", {**revision, "state": "loaded"}) == 2
    assert told("rolehost_pods", {**revision, "state": "failed"}) == 1
    assert told("rolehost_links", revision) == 2
    assert told("rolehost_pod_sessions_max", revision) == 9
    assert told("rolehost_revision_sessions", revision) == 7
    assert told("rolehost_pods_unproved", {"tenant": "acme"}) == 2
    rollout = {**of, "rollout": "r1"}
    assert told("rolehost_rollout_evacuated_sessions_total", {**rollout, "how": "migrated"}) == 3
    assert told("rolehost_rollout_evacuated_sessions_total", {**rollout, "how": "dropped"}) == 1
    assert told("rolehost_rollout_breaker", rollout) == 1
