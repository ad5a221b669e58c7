"""A killed run's namespaces: they go before the next run makes its own, and nobody else's do."""

import json
from typing import Any

import pytest
from tests.cluster import leftover
from tests.cluster.common import ClusterError, paths
from tests.cluster.testing import Cluster, Tenant


class Remembered(Cluster):
    """Keeps namespaces in memory, and what was asked."""

    def __init__(self, *there: dict[str, Any], stuck: bool = False) -> None:
        super().__init__(paths(), gateway="")
        self.namespaces = {one["metadata"]["name"]: one for one in there}
        self.asked: list[str] = []
        self.waits: list[float] = []
        self.stuck = stuck

    def kubectl(self, *argv: str, feed: str | None = None, timeout: float = 120) -> str:
        self.asked.append(" ".join(argv[:2]))
        name = argv[2] if len(argv) > 2 else ""
        match argv[0]:
            case "get":
                return json.dumps(self.namespaces[name]) if name in self.namespaces else ""
            case "delete":
                self.waits.append(timeout)
                if self.stuck:
                    raise ClusterError("timed out waiting for the condition")
                del self.namespaces[name]
            case "create":
                made = json.loads(feed or "")
                if made["metadata"]["name"] in self.namespaces:
                    raise ClusterError("AlreadyExists")
                self.namespaces[made["metadata"]["name"]] = made
        return ""

    def rolehost(self, *argv: str, key: str = "", check: bool = True) -> str:
        self.asked.append(" ".join(argv[:2]))
        return ""


def test_what_a_killed_run_left_goes_first_and_is_waited_for() -> None:
    cluster = Remembered()
    run = cluster.tenant("friends")
    tenant: Tenant = run.__enter__()
    assert tenant.name in cluster.namespaces  # and here the run is killed
    again = Remembered(*cluster.namespaces.values())
    with again.tenant("friends"):
        assert again.asked == ["get namespace", "delete namespace", "create -f", "tenants add"]
    assert again.waits[0] > leftover.SECONDS, "kubectl waits for it, and ends by itself before we end it"
    assert not again.namespaces
    run.__exit__(None, None, None)


def test_a_first_run_deletes_nothing() -> None:
    cluster = Remembered()
    with cluster.tenant("friends"):
        assert cluster.asked == ["get namespace", "create -f", "tenants add"]


def test_a_namespace_that_no_test_made_stays_and_that_is_said() -> None:
    cluster = Remembered({"metadata": {"name": "friends", "labels": {"rolehost.io/tenant": "friends"}}})
    with (
        pytest.raises(ClusterError, match=r"no test made it.*kubectl delete namespace friends"),
        cluster.tenant("friends"),
    ):
        pass
    assert cluster.asked == ["get namespace"]
    assert "friends" in cluster.namespaces


def test_one_that_does_not_go_is_said_with_what_tells_why() -> None:
    cluster = Remembered(leftover.namespace("friends"), stuck=True)
    with pytest.raises(ClusterError, match=r"not gone after 120 s.*status.conditions"), cluster.tenant("friends"):
        pass


def test_the_default_namespace_is_nobodys_to_delete() -> None:
    cluster = Remembered({"metadata": {"name": "default"}})
    with cluster.tenant("default"):
        assert cluster.asked == ["tenants add"]
    assert "default" in cluster.namespaces
