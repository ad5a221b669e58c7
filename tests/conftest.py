"""Every test has a category, so that `pytest -m unit` means what it says."""

import pytest
from hypothesis import settings
from tests.support.proof import SOAK

# How long an example takes says more about the machine than about the code: no deadlines. The slice is the
# same examples at every run, so that a red run is red again; the soak goes looking for new ones.
settings.register_profile("slice", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("soak" if SOAK else "slice")

pytest_plugins = ["tests.support.apiserver", "tests.support.crds"]

CATEGORIES = {"unit", "contract", "alerts", "integration", "e2e", "bench"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A folder gives its tests their category; a test outside of one does not collect."""
    for item in items:
        for part in item.path.parts:
            if part in CATEGORIES:
                item.add_marker(getattr(pytest.mark, part))
        if not CATEGORIES & {mark.name for mark in item.iter_markers()}:
            raise pytest.UsageError(f"{item.nodeid} has no category: put it under one of tests/{sorted(CATEGORIES)}")
