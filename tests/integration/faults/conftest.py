"""The operator's cluster without machines, and a proxy per operator that does it harm."""

from collections.abc import Callable, Iterator

import pytest
from tests.integration.operator.conftest import ACCOUNT, Cluster, cluster, platform
from tests.support.faultproxy import FaultProxy

__all__ = ["cluster", "platform"]

MakeProxy = Callable[[], FaultProxy]


@pytest.fixture
def make_proxy(cluster: Cluster) -> Iterator[MakeProxy]:
    """Each with the operator's own rights."""
    made: list[FaultProxy] = []

    def make() -> FaultProxy:
        made.append(FaultProxy(cluster.api, ACCOUNT))
        return made[-1]

    yield make
    cluster.stop_all()
    for proxy in made:
        proxy.close()


@pytest.fixture
def proxy(make_proxy: MakeProxy) -> FaultProxy:
    return make_proxy()
