"""A cache bounded by bytes: what it gives is what was put, and it never holds more than it may."""

import doctest

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.core import sieve
from rolehost_runtime.core.sieve import Sieve

STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 8), st.integers(0, 40)), max_size=120
)


@given(STEPS)
def test_it_holds_what_was_put_last_within_its_bound(steps: list[tuple[str, int, int]]) -> None:
    cache = Sieve[int, int](max_bytes=100)
    put: dict[int, int] = {}
    for what, key, size in steps:
        if what == "put":
            cache.put(key, size, size)
            put[key] = size
        elif what == "drop":
            cache.drop(key)
            put.pop(key, None)
        else:
            assert cache.get(key) in (None, put.get(key))
        held = [found for key in put if (found := cache.get(key)) is not None]
        assert len(held) == len(cache)
        assert cache.nbytes == sum(held) <= 100


@given(st.integers(1, 50))
def test_what_is_asked_for_again_outlives_any_number_of_what_is_asked_for_once(others: int) -> None:
    cache = Sieve[int, int](max_bytes=30)
    cache.put(-1, 1, 10)
    for number in range(others):
        assert cache.get(-1) == 1
        cache.put(number, 1, 10)
    assert cache.get(-1) == 1


def test_worked_examples_hold() -> None:
    assert doctest.testmod(sieve).failed == 0
