"""One cluster for all end-to-end tests: brought up if it is not, running this checkout's code, left up for the next run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import install
from tests.cluster.common import REPOSITORY, paths
from tests.cluster.monitoring import Monitoring
from tests.cluster.testing import Cluster, Tenant

CANNOT = 3
USUAL_SECONDS = 120


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's own time is bounded, not what it took to set the cluster up: every wait in there has a bound itself."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            asked = item.get_closest_marker("timeout")
            seconds = asked.args[0] if asked else USUAL_SECONDS
            item.add_marker(pytest.mark.timeout(seconds, func_only=True), append=False)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster. Where none can run the tests are skipped, but never with CI set.

    The tool runs as a program of its own, as anybody runs it; what it says goes to the test's output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster", "up"], cwd=REPOSITORY, capture_output=True, text=True, timeout=3600
    )
    if done.returncode == CANNOT and not os.environ.get("CI"):
        pytest.skip(f"no cluster can run here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"the cluster did not come up:\n{done.stderr}"
    where = paths()
    return Cluster(where, gateway=install.gateway(where))


@pytest.fixture(scope="session")
def monitoring(cluster: Cluster) -> Monitoring:
    """Prometheus, Alertmanager and Jaeger beside the platform; put there by the first test that asks."""
    install.monitoring(cluster.where)
    return Monitoring(cluster.where)


@pytest.fixture(scope="session")
def acme(cluster: Cluster) -> Iterator[Tenant]:
    """A tenant with one Role, `parrot`, that is Ready; for all that only talk to it."""
    with cluster.tenant("acme") as tenant:
        tenant.apply_role("parrot", system="You repeat.")
        tenant.wait_ready("parrot")
        yield tenant


@pytest.fixture(scope="session")
def key(acme: Tenant) -> str:
    return acme.key("chat")
