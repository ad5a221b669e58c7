"""Hundreds of Roles at once: few writes each, and none by an operator that begins anew. `make bench NAME=roles` has thousands."""

import secrets
import time
from collections.abc import Iterable

import pytest
from tests.integration.operator.conftest import ACCOUNT, Cluster
from tests.support.plenty import Bare, Crowd, at_rest, per_role, written

from rolehost_api.names import ROLES

MANY = 300


@pytest.mark.timeout(300)
async def test_many_roles_take_three_writes_each_and_a_restart_none(cluster: Cluster) -> None:
    cluster.empty()
    async with Bare(cluster.api.kubeconfig) as bare:
        crowd = Crowd(bare, MANY, cluster.rights, f"plenty-{secrets.token_hex(2)}")
        try:
            await crowd.tenants()
            await crowd.declare()
            first = cluster.operator()
            deadline = time.monotonic() + 120
            while (there := await crowd.converged()) < MANY:
                assert time.monotonic() < deadline, f"{there} of {MANY}"
            first.stop()
            before = written(cluster.api, ACCOUNT, crowd.namespaces)
            assert per_role(before) <= 3

            second = cluster.operator()
            deadline = time.monotonic() + 120
            while not at_rest(second, MANY):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert written(cluster.api, ACCOUNT, crowd.namespaces) == before
        finally:
            clear(cluster, crowd.namespaces)


def clear(cluster: Cluster, namespaces: Iterable[str]) -> None:
    """Whole collections at once: one by one, hundreds are more than the next test waits for."""
    for namespace in namespaces:
        for kinds in (
            f"rolehost.io/v1alpha1/namespaces/{namespace}/{ROLES}",
            f"apps/v1/namespaces/{namespace}/deployments",
        ):
            cluster.api.kubectl("delete", "--raw", f"/apis/{kinds}")
