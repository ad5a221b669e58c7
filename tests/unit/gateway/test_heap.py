"""What the gateway asks of Python's collector."""

import gc
from collections.abc import Iterator

import pytest

from rolehost_runtime.gateway import heap


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_loaded_is_not_looked_through_again_and_the_rest_seldom() -> None:
    heap.settle()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == (heap.YOUNG, heap.MIDDLE, heap.OLD)


def test_garbage_in_cycles_still_goes_by_itself() -> None:
    heap.settle()
    gone = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            gone.append(1)

    kept = [Cycle() for _ in range(10)]
    kept.clear()
    kept.extend(Cycle() for _ in range(heap.YOUNG + 1))
    assert len(gone) == 10
