"""An apiserver that is away, silent, forgetful or merely quiet, as the operator sees it: F04 to F07."""

import time
from collections.abc import Callable

import pytest
from tests.integration.faults.helpers import LEADS, create, deployment_of, merge, ready, role, serve
from tests.integration.operator.conftest import Cluster, Operator, eventually
from tests.support.faultproxy import Asked, FaultProxy
from tests.support.proof import NUMBERS, SOAK, keep


def watching(plural: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.watch and asked.name == plural


def listing(plural: str) -> Callable[[Asked], bool]:
    return lambda asked: asked.method == "GET" and not asked.watch and asked.name == plural


def leading(cluster: Cluster, proxy: FaultProxy, *options: str) -> Operator:
    operator = cluster.operator(*options, kubeconfig=proxy.kubeconfig)
    eventually(lambda: operator.says(LEADS), "it leads", 40)
    eventually(lambda: proxy.requests(watching("hostedroles")), "it watches", 40)
    return operator


def watch_metric(operator: Operator, name: str, plural: str) -> float:
    return operator.metric(f'rolehost_operator_watch_{name}{{kind="{plural}"}}')


def age(operator: Operator, plural: str) -> float:
    return watch_metric(operator, "last_event_age_seconds", plural)


def replicas(cluster: Cluster, namespace: str) -> int:
    [one] = cluster.api.items("deployments", "-n", namespace)
    return int(one["spec"]["replicas"])


@pytest.mark.timeout(NUMBERS.outage_seconds + 240)
def test_f04_an_apiserver_that_is_away_is_waited_for_in_flat_memory(cluster: Cluster) -> None:
    """F04: killed, and its port refuses. The operator stays up, stands by, and has converged ≤30 s after."""
    namespace = cluster.tenant()
    operator = cluster.operator()
    create(cluster.api, role(namespace))
    serve(cluster, namespace)
    ready(cluster, namespace)
    before = operator.memory_mib()
    cluster.api.down()
    try:
        away = time.monotonic()
        eventually(lambda: operator.says("this operator stands by"), "it cannot renew, so it stands by", 30)
        most = before
        while time.monotonic() - away < NUMBERS.outage_seconds:
            time.sleep(1)
            assert operator.alive()
            most = max(most, operator.memory_mib())
        assert operator.metric("rolehost_operator_leader") == 0.0
        assert watch_metric(operator, "failures_total", "hostedroles") >= 1
        assert age(operator, "hostedroles") > NUMBERS.outage_seconds - 10
    finally:
        cluster.api.up()
    back = time.monotonic()
    merge(cluster.api, "rhr", "cat", namespace, {"spec": {"template": {"persona": {"system": "You are a dog."}}}})
    eventually(lambda: deployment_of(cluster, namespace, sequence=2), "what changed is done", 40)
    took = time.monotonic() - back
    assert took <= 30
    eventually(lambda: age(operator, "hostedroles") < 20, "the age falls")
    assert most - before < 16, f"{before:.0f} MiB before, {most:.0f} at the most"
    keep("faults-f04-operator", {"outage_s": NUMBERS.outage_seconds, "converged_s": took, "mib": [before, most]})


@pytest.mark.timeout(180)
def test_f05_what_was_made_changed_and_deleted_in_a_gap_of_the_watch_is_seen_after_it(
    cluster: Cluster, proxy: FaultProxy
) -> None:
    """F05: events are lost, then 410 Gone. Create, update and delete in between are all caught up, once."""
    namespace = cluster.tenant()
    operator = leading(cluster, proxy)
    create(cluster.api, role(namespace, "changed"), role(namespace, "deleted"))
    for name in ("changed", "deleted"):
        serve(cluster, namespace, name)
        ready(cluster, namespace, name)
    lists = watch_metric(operator, "lists_total", "hostedroles")

    def counted() -> bool:
        return operator.metric("rolehost_operator_roles") == len(cluster.api.items("rhr", "-A"))

    eventually(counted, "it knows all that there are")

    proxy.swallow.add("hostedroles")
    create(cluster.api, role(namespace, "made"), role(namespace, "changed", "You are a dog."))
    cluster.api.kubectl("delete", "rhr", "deleted", "-n", namespace)
    time.sleep(1.5)
    assert not deployment_of(cluster, namespace, "made")  # the gap is one
    proxy.swallow.clear()
    assert proxy.gone("hostedroles") >= 1

    eventually(lambda: deployment_of(cluster, namespace, "made"), "the new one is seen", 40)
    eventually(lambda: deployment_of(cluster, namespace, "changed", 2), "the change is seen", 40)
    eventually(counted, "one more, and one less", 40)
    assert watch_metric(operator, "lists_total", "hostedroles") == lists + 1
    made = [one["spec"]["roleName"] for one in cluster.revisions(namespace)]
    assert (made.count("made"), made.count("changed")) == (1, 2)

    # Nobody collects garbage here, so what is left of the deleted one lies about: it is not touched any more.
    [orphan] = [one for one in cluster.revisions(namespace) if one["spec"]["roleName"] == "deleted"]
    quiet = time.monotonic()
    cluster.api.kubectl("delete", "deployment", orphan["metadata"]["name"], "-n", namespace)
    time.sleep(3)
    assert [asked for asked in proxy.writes(namespace, since=quiet) if "deleted" in asked.path] == []


@pytest.mark.timeout(240)
def test_f06_a_watch_that_went_silent_is_found_out_and_nothing_is_lost(cluster: Cluster, proxy: FaultProxy) -> None:
    """F06: connections stand, no byte comes. Found out after the silence that is set (70 s; here 4), told by the
    age of the last event, and what happened meanwhile is applied when bytes flow again."""
    namespace = cluster.tenant()
    operator = leading(cluster, proxy, "--watch-silence-seconds", "4")
    silent = time.monotonic()
    proxy.blackhole()
    create(cluster.api, role(namespace))
    eventually(lambda: proxy.requests(watching("hostedroles"), since=silent), "another connection is tried", 30)
    assert proxy.requests(watching("hostedroles"), since=silent)[0].at - silent <= 4 + 2
    eventually(lambda: age(operator, "hostedroles") >= 4, "it is told")
    eventually(lambda: operator.says("this operator stands by"), "it stands by: it cannot renew either", 40)
    proxy.flow()
    eventually(lambda: deployment_of(cluster, namespace), "what happened meanwhile is applied", 60)
    eventually(lambda: age(operator, "hostedroles") < 4, "and the age falls", 40)


@pytest.mark.timeout(NUMBERS.quiet_seconds + 120)
def test_f07_a_stream_of_bookmarks_alone_keeps_the_watch(cluster: Cluster, proxy: FaultProxy) -> None:
    """F07: no reconnect and no listing for as long as bookmarks come, however little else happens.

    The soak waits for the apiserver's own, one a minute; the slice sends its own, one a second."""
    plural = "hostedrolerevisions"
    operator = leading(cluster, proxy, *(() if SOAK else ("--watch-silence-seconds", "3")))
    eventually(lambda: proxy.requests(watching(plural)), "it watches", 40)
    eventually(lambda: proxy.requests(listing(plural)), "at first sight", 40)
    began, opened = time.monotonic(), watch_metric(operator, "opened_total", plural)
    while time.monotonic() - began < NUMBERS.quiet_seconds:
        time.sleep(1)
        if not SOAK:
            version = str(cluster.api.get("rhv", "-A")["metadata"]["resourceVersion"] or "1")
            assert proxy.bookmark(plural, "rolehost.io/v1alpha1", "RoleRevision", version) == 1
    # We ask for 240 s at a time: that end is the one reason to open it again.
    most = NUMBERS.quiet_seconds // 240 + 1 if SOAK else 0
    assert len(proxy.requests(watching(plural), since=began)) <= most
    assert watch_metric(operator, "opened_total", plural) - opened <= most
    assert watch_metric(operator, "failures_total", plural) == 0
    if not SOAK:  # a soak meets the listing that lies under all watches as a net, every 300 s
        assert proxy.requests(listing(plural), since=began) == []
