"""An apiserver that says no, and a tenant that wants everything: F08, F16."""

import time
from collections import defaultdict
from itertools import pairwise

import pytest
from tests.integration.faults.helpers import LEADS, create, ready, role, serve
from tests.integration.operator.conftest import Cluster, eventually
from tests.support.faultproxy import Asked, FaultProxy, Refusal
from tests.support.proof import NUMBERS, keep

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
    tried = proxy.requests(write, since=storm)
    assert len(tried) >= 2
    assert all(later.at - earlier.at >= RETRY_AFTER for earlier, later in pairwise(tried))
    assert operator.metric('rolehost_operator_reconciles_total{outcome="refused"}') == len(tried)
    proxy.refusals = []
    serve(cluster, namespace)
    ready(cluster, namespace)


@pytest.mark.timeout(240)
def test_f08_half_of_all_writes_in_conflict_still_get_there_without_a_hot_loop(
    cluster: Cluster, proxy: FaultProxy
) -> None:
    """F08: 50 % of the writes are 409. No object is written to again within a second of its refusal."""
    namespace = cluster.tenant()
    operator = cluster.operator(kubeconfig=proxy.kubeconfig)
    eventually(lambda: operator.says(LEADS), "it leads", 40)
    proxy.refusals = [Refusal(write, 409, share=0.5)]
    storm = time.monotonic()
    names = ("a", "b", "c")
    create(cluster.api, *(role(namespace, name) for name in names))
    for name in names:
        serve(cluster, namespace, name)
    for name in names:
        ready(cluster, namespace, name)
    by_object: dict[str, list[Asked]] = defaultdict(list)
    for asked in proxy.requests(write, since=storm):
        if "rolehost-sandbox" not in asked.path:  # which belongs to all Roles of the namespace
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


@pytest.mark.timeout(600)
def test_f16_one_tenants_flood_does_not_make_another_wait(cluster: Cluster) -> None:
    """F16: another tenant's time from create to Deployment, with the flood and without: less than twice, or a second
    more where both are fractions of one. The queue's depth is the signal."""
    victim, flooder = cluster.tenant(), cluster.tenant()
    operator = cluster.operator()
    eventually(lambda: operator.says(LEADS), "it leads", 40)

    def took(name: str) -> float:
        create(cluster.api, role(victim, name))
        began = time.monotonic()
        eventually(lambda: cluster.api.items("deployments", "-n", victim, "-l", f"rolehost.io/role={name}"), name, 120)
        return time.monotonic() - began

    took("warm")
    alone = sorted(took(f"alone-{number}") for number in range(5))
    create(cluster.api, *(role(flooder, f"flood-{number}") for number in range(NUMBERS.flood)))
    depth = operator.metric("rolehost_operator_queue_depth")
    flooded = sorted(took(f"flooded-{number}") for number in range(3))
    done = len(cluster.api.items("deployments", "-n", flooder))
    keep("faults-f16", {"roles": NUMBERS.flood, "alone_s": alone, "flooded_s": flooded, "done": done, "depth": depth})
    assert flooded[1] < max(2 * alone[2], alone[2] + 1), (alone, flooded, done)
    eventually(
        lambda: len(cluster.api.items("deployments", "-n", flooder)) == NUMBERS.flood, "the flood is served too", 400
    )
