"""One fleet for each test that breaks it: starting one takes two seconds, mending one longer."""

from collections.abc import Iterator

import pytest
from tests.support import redis_fleet
from tests.support.redis_fleet import Fleet


@pytest.fixture(params=["sentinels", "cluster"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Two replicas behind Sentinels, or one for each of a cluster's three primaries."""
    with redis_fleet.sentinels() if request.param == "sentinels" else redis_fleet.cluster() as made:
        yield made
