"""Every test has a category, so that `pytest -m unit` means what it says."""

import pytest
from hypothesis import settings

settings.register_profile("rolehost", deadline=None)  # how long an example takes says more about the machine
settings.load_profile("rolehost")

pytest_plugins = ["tests.support.apiserver", "tests.support.crds"]

CATEGORIES = {"unit", "contract", "integration", "e2e", "bench"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A folder gives its tests their category; a test outside of one does not collect."""
    for item in items:
        for part in item.path.parts:
            if part in CATEGORIES:
                item.add_marker(getattr(pytest.mark, part))
        if not CATEGORIES & {mark.name for mark in item.iter_markers()}:
            raise pytest.UsageError(f"{item.nodeid} has no category: put it under one of tests/{sorted(CATEGORIES)}")
