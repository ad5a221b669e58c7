"""A world of series, and what fires in it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from tests.support.promtool import Expected, Series, objections


class World:
    """Series, and what is expected of them; looked at once, at the end of the test."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.expected: list[Expected] = []
        self.every = 2
        self.groups = "rolehost-slo"

    def has(self, *series: Iterable[Series]) -> None:
        for some in series:
            self.series += some

    def fires(self, at: int, alert: str, *labels: Mapping[str, str], window: str = "") -> None:
        """In minute `at` exactly these alerts of that name fire; with a `window`, of those that look at it."""
        assert labels
        self.expected.append(Expected(at, alert, labels, window))

    def quiet(self, at: int, *alerts: str, window: str = "") -> None:
        self.expected += [Expected(at, alert, (), window) for alert in alerts]


@pytest.fixture
def world(tmp_path: Path) -> Iterable[World]:
    made = World()
    yield made
    assert made.expected
    assert objections(made.series, made.expected, tmp_path, made.every, made.groups) == ""
