"""The three ways in which a Redis may stand, for the suites of every store."""

from collections.abc import Iterator

import pytest
from tests.support import redis_fleet
from tests.support.redis import RedisServer, running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as redis:
        yield redis


@pytest.fixture(scope="module")
def sentinels() -> Iterator[redis_fleet.Fleet]:
    with redis_fleet.sentinels(1) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def cluster() -> Iterator[redis_fleet.Fleet]:
    with redis_fleet.cluster() as fleet:
        yield fleet
