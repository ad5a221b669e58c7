"""Operators that die, freeze, and come back: F01, F02, F03."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from tests.integration.faults.conftest import MakeProxy
from tests.integration.faults.helpers import (
    LEADS,
    create,
    deployment_of,
    events,
    lease,
    merge,
    ready,
    role,
    serve,
    without_lease,
    word,
)
from tests.integration.operator.conftest import Cluster, Operator, eventually
from tests.support.faultproxy import FaultProxy

TO_DEPLOYMENT = 7
"""Writes from a Role to its pods: five that guard the namespace, the revision, the Deployment."""


def killer(operators: list[Operator], at: int) -> Callable[[int], bool]:
    """Kills the newest operator at this write, in the middle of its request; False from then on."""

    def maybe(number: int) -> bool:
        if number == at:
            operators[-1].process.send_signal(signal.SIGKILL)
            operators[-1].process.wait(10)
        return number < at

    return maybe


def dead_or_ready(cluster: Cluster, operator: Operator, namespace: str) -> None:
    """Whichever comes first."""
    eventually(lambda: not operator.alive() or cluster.reason(namespace, "cat") == "Serving", "its death, or Ready", 40)


def one_child_each(cluster: Cluster, namespace: str) -> None:
    names = [one["metadata"]["name"] for one in cluster.revisions(namespace)]
    deployments = [one["metadata"]["name"] for one in cluster.api.items("deployments", "-n", namespace)]
    assert (len(names), deployments) == (1, names)
    assert len(cluster.api.items("networkpolicies", "-n", namespace)) == 1
    told = [(one["reason"], one["message"]) for one in events(cluster, namespace)]
    assert len(told) == len(set(told)), told


@pytest.mark.timeout(300)
def test_f01_an_operator_that_dies_after_every_single_write_gets_there(cluster: Cluster, make_proxy: MakeProxy) -> None:
    """F01: each life's first write is done, and its answer never heard. Role → Ready all the same."""
    namespace = cluster.tenant()
    create(cluster.api, role(namespace))
    lives, revision = 0, ""
    while cluster.reason(namespace, "cat") != "Serving":
        lives += 1
        assert lives < 15, "it never gets there"
        without_lease(cluster)
        proxy = make_proxy()
        proxy.after_write = killer(cluster.operators, 1)
        operator = cluster.operator(kubeconfig=proxy.kubeconfig)
        dead_or_ready(cluster, operator, namespace)
        if not revision and (revision := deployment_of(cluster, namespace)):
            word(cluster, namespace, "cat", revision)
    assert lives >= TO_DEPLOYMENT + 1  # and the status
    last = make_proxy()
    without_lease(cluster)
    calm = cluster.operator(kubeconfig=last.kubeconfig)
    eventually(lambda: calm.says(LEADS), "the last one leads", 40)
    time.sleep(1)
    assert last.writes(namespace) == []
    one_child_each(cluster, namespace)


@pytest.mark.timeout(600)
def test_f01_whichever_write_it_dies_before_the_end_is_the_same(cluster: Cluster, make_proxy: MakeProxy) -> None:
    """F01: killed before its Nth write reaches the apiserver, for every N that there is."""
    for number in range(1, 16):
        namespace = cluster.tenant()
        create(cluster.api, role(namespace))
        without_lease(cluster)
        proxy = make_proxy()
        proxy.before_write = killer(cluster.operators, number)
        first = cluster.operator(kubeconfig=proxy.kubeconfig)
        if number > TO_DEPLOYMENT:  # past it there is nothing to write before the pods are there
            serve(cluster, namespace)
        dead_or_ready(cluster, first, namespace)
        if first.alive():
            assert number > TO_DEPLOYMENT + 1
            first.stop(signal.SIGKILL)
            return  # there is no Nth write
        without_lease(cluster)
        second = cluster.operator()
        serve(cluster, namespace)
        ready(cluster, namespace)
        one_child_each(cluster, namespace)
        assert second.metric("rolehost_operator_leader") == 1.0
        second.stop()
    raise AssertionError("it never stops writing")


@pytest.mark.timeout(120)
def test_f02_killed_and_started_at_once_it_works_again_within_30_s(cluster: Cluster) -> None:
    """F02: no ghost of the dead one holds the living up for longer than its Lease."""
    namespace = cluster.tenant()
    first = cluster.operator()
    eventually(lambda: first.says(LEADS), "the first leads", 40)
    transitions = lease(cluster)["leaseTransitions"]
    first.stop(signal.SIGKILL)
    died = time.monotonic()
    second = cluster.operator()
    create(cluster.api, role(namespace))
    eventually(lambda: deployment_of(cluster, namespace), "the second works", 40)
    assert time.monotonic() - died <= 30
    assert second.metric("rolehost_operator_leader") == 1.0
    assert lease(cluster)["leaseTransitions"] == transitions + 1


@pytest.mark.timeout(180)
def test_f03_a_leader_that_was_frozen_and_wakes_up_late_writes_nothing(cluster: Cluster, make_proxy: MakeProxy) -> None:
    """F03: one writes; the other takes over in ≤20 s; the first, thawed, finds out before it writes."""
    namespace = cluster.tenant()
    ways: list[FaultProxy] = [make_proxy(), make_proxy()]
    first = cluster.operator(kubeconfig=ways[0].kubeconfig)
    eventually(lambda: first.says(LEADS), "the first leads", 40)
    second = cluster.operator(kubeconfig=ways[1].kubeconfig)
    create(cluster.api, role(namespace))
    serve(cluster, namespace)
    ready(cluster, namespace)
    assert ways[1].writes() == []
    eventually(lambda: ways[1].requests(lambda asked: asked.watch), "the second watches", 60)

    os.kill(first.process.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    eventually(lambda: second.metric("rolehost_operator_leader") == 1.0, "the second takes over", 40)
    assert time.monotonic() - frozen <= 20 + 3  # and one round of looking
    edited = time.monotonic()
    # Something is to be done at the very moment that the first wakes up, and it knows nothing of the second yet.
    merge(cluster.api, "rhr", "cat", namespace, {"spec": {"template": {"persona": {"system": "You are a dog."}}}})
    os.kill(first.process.pid, signal.SIGCONT)
    serve(cluster, namespace, sequence=2)
    ready(cluster, namespace)
    eventually(lambda: first.says("this operator stands by"), "the first knows", 40)
    assert ways[0].writes(since=edited) == []
    assert len(ways[1].writes(since=edited)) >= 3
    assert first.metric("rolehost_operator_leader") == 0.0
    holder = lease(cluster)["holderIdentity"]
    assert holder.startswith("operator-1_")
