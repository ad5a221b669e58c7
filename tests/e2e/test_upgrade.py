"""The version before, this one, and the version before again: images, chart and CRDs, under people who are talking."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.cluster import install, release
from tests.cluster.release import THIS, Release
from tests.cluster.testing import PLATFORM, Cluster, Tenant, until
from tests.support.crowd import COUNTING, Crowd
from tests.support.proof import keep

from rolehost_api import names

RUN = secrets.token_hex(4)
PEOPLE = 12
SETTLED_SECONDS = 180
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def previous(cluster: Cluster) -> Iterator[Release]:
    """Installed when the tests begin; whatever became of them, this checkout's version is what is left."""
    before = release.checked_out(cluster.where, release.previous_commit())
    before.load(cluster.where)
    # As on a cluster that has never seen this version, so that nothing of it is trusted from before.
    cluster.kubectl("delete", "configmap", names.TRUSTED_IMAGES, "-n", PLATFORM, "--ignore-not-found")
    try:
        before.upgrade(cluster.where)
        settled(cluster, before)
        yield before
    finally:
        THIS.upgrade(cluster.where)
        settled(cluster, THIS)


@pytest.fixture(scope="module")
def tenant(cluster: Cluster, previous: Release) -> Iterator[Tenant]:
    """Onboarded, with its Roles, by the version before."""
    with cluster.tenant("upgraded") as made:
        for name in ("crowd", "other"):
            made.apply_role(name, logic=COUNTING)
        for name in ("crowd", "other"):
            made.wait_ready(name)
        yield made


def settled(cluster: Cluster, wanted: Release) -> None:
    """Every part of the platform and every sandbox is of this version, and nothing of another one is left."""
    install.await_platform(cluster.where)
    for part in ("gateway", "operator"):
        cluster.rolled_out(f"deployment/rolehost-{part}", 200)
    until(lambda: not strangers(cluster, wanted) or None, SETTLED_SECONDS, lambda: str(strangers(cluster, wanted)))


def strangers(cluster: Cluster, wanted: Release) -> list[str]:
    """Pods of ours, platform and sandboxes, that run an image of another version, or are not Ready."""
    found = []
    component = "app.kubernetes.io/component"
    # Redis is not an image of ours.
    for pod in cluster.get("pods", "-A", "-l", f"{component} in (gateway, operator, upload, sandbox)")["items"]:
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))
        images = [one["image"] for one in pod["spec"]["containers"]]
        if not ready or any(not image.endswith(f":{wanted.tag}") for image in images):
            found.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']} {images} ready={ready}")
    return found


def new_sandboxes(cluster: Cluster, tenant: Tenant) -> list[str]:
    sandboxes = cluster.get("pods", "-n", tenant.name)["items"]
    return [pod["metadata"]["name"] for pod in sandboxes if THIS.sandbox_image in str(pod["spec"]["containers"])]


def rollback(cluster: Cluster) -> None:
    """As anybody does in the night."""
    install.helm(cluster.where, "rollback", "rolehost")


def revisions(cluster: Cluster, tenant: Tenant) -> dict[str, Any]:
    found = cluster.get("hostedrolerevisions", "-n", tenant.name)["items"]
    return {one["metadata"]["name"]: one["spec"] for one in found}


@contextmanager
def crowd(cluster: Cluster, tenant: Tenant, case: str, previous: Release) -> Iterator[Crowd]:
    """Nobody is cut, no answer is lost, no plain request fails, and no revision is made."""
    before = revisions(cluster, tenant)
    with Crowd(cluster.gateway, tenant.key("chat"), "crowd", PEOPLE, prefix=f"{case}-{RUN}") as people:
        yield people
    told = people.check()
    keep(f"upgrade-{case}", {"the version before": previous.commit, **told})
    assert told["cut"] == 0, told
    assert people.failed_probes == [], told
    assert revisions(cluster, tenant) == before


def test_an_upgrade_taken_back_midway_is_not_noticed(cluster: Cluster, tenant: Tenant, previous: Release) -> None:
    """While gateways, operators and sandboxes of both versions run side by side."""
    with crowd(cluster, tenant, "midway", previous):
        THIS.upgrade(cluster.where)
        until(lambda: new_sandboxes(cluster, tenant) or None, 120, lambda: "the first sandbox of this version")
        rollback(cluster)
        settled(cluster, previous)


def test_an_upgrade_is_not_noticed(cluster: Cluster, tenant: Tenant, previous: Release) -> None:
    with crowd(cluster, tenant, "forward", previous) as people:
        THIS.upgrade(cluster.where)
        settled(cluster, THIS)
    assert people.summary()["moved"] >= PEOPLE, "every gateway was replaced"
    tenant.apply_role("newcomer", logic=COUNTING)
    tenant.wait_ready("newcomer")


def test_nor_is_the_way_back(cluster: Cluster, tenant: Tenant, previous: Release) -> None:
    with crowd(cluster, tenant, "back", previous) as people:
        rollback(cluster)
        settled(cluster, previous)
    assert people.summary()["moved"] >= PEOPLE, "every gateway was replaced"
    for name in ("other", "newcomer"):
        tenant.wait_ready(name)
        with cluster.talk(name, tenant.key("chat")) as person:
            assert person.say("hello")["status"] == "completed"
