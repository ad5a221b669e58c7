"""An apiserver that says no, and a tenant that wants everything: F08, F16."""

import time
from collections import defaultdict
from itertools import pairwise

import pytest
from tests.integration.faults.helpers import LEADS, create, ready, role, serve
from tests.integration.operator.conftest import Cluster, eventually
from tests.support.faultproxy import Asked, FaultProxy, Refusal
from tests.support.proof import NUMBERS, keep

from rolehost_api.names import LINK_SECRET, PLATFORM_KEYS, SANDBOX_BUDGET, SANDBOX_POLICY, SANDBOX_SERVICE_ACCOUNT
from rolehost_operator.handlers.shell import WORKERS

RETRY_AFTER = 3


def write(asked: Asked) -> bool:
    return asked.write and "/events" not in asked.path


@pytest.mark.timeout(180)
def test_f08_a_storm_of_429_is_waited_out_as_long_as_it_says(cluster: Cluster, proxy: FaultProxy) -> None:
    """F08: every write is refused with Retry-After: 3, and rings come all the while; nothing is asked before that."""
    namespace = cluster.tenant()
    operator = cluster.operator(kubeconfig=proxy.kubeconfig)
    eventually(lambda: operator.says(LEADS), "it leads", 40)
    proxy.refusals = [Refusal(write, 429, headers={"Retry-After": str(RETRY_AFTER)})]
    storm = time.monotonic()
    create(cluster.api, role(namespace))
    for number in range(10):
        cluster.api.kubectl("annotate", "rhr", "cat", f"ring={number}", "--overwrite", "-n", namespace)
        time.sleep(1)
    tried = [asked for asked in proxy.writes(namespace, since=storm) if write(asked)]
    assert len(tried) >= 2
    assert all(later.at - earlier.at >= RETRY_AFTER for earlier, later in pairwise(tried))
    assert operator.metric('rolehost_operator_reconciles_total{outcome="refused"}') >= len(tried)
    proxy.refusals = []
    serve(cluster, namespace)
    ready(cluster, namespace)


OF_ALL_ROLES = (SANDBOX_POLICY, SANDBOX_SERVICE_ACCOUNT, SANDBOX_BUDGET, LINK_SECRET, PLATFORM_KEYS)
"""What the namespace holds once, and each of its Roles sees to in its own time."""


@pytest.mark.timeout(400)
def test_f08_half_of_all_writes_in_conflict_still_get_there_without_a_hot_loop(
    cluster: Cluster, proxy: FaultProxy
) -> None:
    """F08: 50 % of the writes are 409. No object is written to again within a second of its refusal."""
    namespace = cluster.tenant()
    operator = cluster.operator(kubeconfig=proxy.kubeconfig)
    eventually(lambda: operator.says(LEADS), "it leads", 40)
    proxy.refusals = [Refusal(write, 409, share=0.5)]
    storm = time.monotonic()
    names = ("a", "b")
    create(cluster.api, *(role(namespace, name) for name in names))
    for name in names:
        serve(cluster, namespace, name, seconds=150)
    for name in names:
        ready(cluster, namespace, name, seconds=150)
    by_object: dict[str, list[Asked]] = defaultdict(list)
    for asked in proxy.writes(namespace, since=storm):
        if write(asked) and not any(name in asked.path for name in OF_ALL_ROLES):
            by_object[asked.path].append(asked)
    refused = [
        (path, again.at - before.at)
        for path, tries in by_object.items()
        for before, again in pairwise(tries)
        if before.status == 409
    ]
    assert refused
    assert all(pause >= 1.0 for _, pause in refused), refused
    assert operator.metric('rolehost_operator_reconciles_total{outcome="refused"}') >= len(refused)


@pytest.mark.timeout(900)
def test_f16_one_tenants_flood_does_not_make_another_wait(cluster: Cluster, proxy: FaultProxy) -> None:
    """F16: an operator that comes to a thousand Roles of one tenant (here 200) and one of another serves that one among
    the first, and one that comes later too: tenants take turns. The queue's depth is the signal.

    Counted, not timed: how many Deployments the flood got before the other tenant got its own."""
    # Listings come by name: the flood is seen first, and more than are worked on at a time before the one that waits.
    flooder, *between, victim = sorted(cluster.tenant() for _ in range(WORKERS + 4))
    create(cluster.api, *(role(flooder, f"flood-{number}") for number in range(NUMBERS.flood)))
    create(cluster.api, *(role(namespace) for namespace in between), role(victim, "early"))
    operator = cluster.operator(kubeconfig=proxy.kubeconfig)
    deepest = 0.0

    def deployments(namespace: str) -> list[Asked]:
        of = f"/namespaces/{namespace}/deployments/"
        return proxy.requests(lambda asked: write(asked) and of in asked.path and asked.status in (200, 201))

    def served(count: int) -> bool:
        nonlocal deepest
        if operator.says(LEADS):
            deepest = max(deepest, operator.metric("rolehost_operator_queue_depth"))
        return len(deployments(victim)) >= count

    eventually(lambda: served(1), "the early one", 120)
    before_early = sum(one.at < deployments(victim)[0].at for one in deployments(flooder))
    asked_at = time.monotonic()
    create(cluster.api, role(victim, "late"))
    eventually(lambda: served(2), "the late one", 120)
    before_late = sum(asked_at < one.at < deployments(victim)[1].at for one in deployments(flooder))
    left = NUMBERS.flood - len(deployments(flooder))
    keep("faults-f16", {"flood": NUMBERS.flood, "before_early": before_early, "left": left, "deepest": deepest})
    # A turn of each in turn, eight at work at a time, two or three turns to a Deployment.
    assert before_early <= 30, before_early
    assert left == 0 or before_late <= NUMBERS.flood // 4, before_late
    eventually(lambda: len(deployments(flooder)) >= NUMBERS.flood, "the flood is served too", 400)
    assert deepest > 0
