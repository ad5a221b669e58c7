"""Laws of sharing the store's memory."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.core.shares import level_of, over_share, room_of

USAGES = st.lists(st.integers(0, 10**9), min_size=1, max_size=40)


def named(usages: list[int]) -> dict[str, int]:
    return {str(number): usage for number, usage in enumerate(usages)}


@given(USAGES, st.integers(0, 10**11))
def test_shares_together_are_the_room_and_none_is_below_an_equal_part(usages: list[int], room: int) -> None:
    level = level_of(usages, room)
    given_out = sum(min(usage, level) for usage in usages)
    assert given_out <= room
    assert given_out == sum(usages) or given_out > room - len(usages), "what is left over is less than a byte for each"
    assert level >= room // len(usages)


@given(USAGES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_somebody_is_refused_whenever_the_store_is_crowded_and_never_the_small(
    usages: list[int], used: int, bound: int
) -> None:
    over = over_share(named(usages), used, bound)
    room = room_of(bound)
    if not bound or used <= room or not sum(usages):
        assert over == frozenset()
        return
    taken = {name: usage * used / sum(usages) for name, usage in named(usages).items()}
    assert all(taken[name] > room // len(usages) for name in over), "who takes no more than an equal part is let in"
    if used > room + len(usages):
        assert over
    largest = max(usages)
    assert not over or {name for name, usage in named(usages).items() if usage == largest} <= over
    for name in over:
        assert {other for other, usage in named(usages).items() if usage >= usages[int(name)]} <= over


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_lone_tenant_has_all_of_the_room_and_no_more(usage: int, used: int, bound: int) -> None:
    assert bool(over_share({"alone": usage}, used, bound)) == (used > room_of(bound))


@given(USAGES, st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 1_000))
def test_only_how_they_stand_to_each_other_counts(usages: list[int], used: int, bound: int, times: int) -> None:
    scaled = [usage * times for usage in usages]
    assert over_share(named(usages), used, bound) == over_share(named(scaled), used, bound)
