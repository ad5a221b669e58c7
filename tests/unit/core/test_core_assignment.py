"""Laws of where new sessions go: the same everywhere, by nobody's choice, and never back and forth."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.rollout import Arm, Share
from rolehost_api.slo import BUCKETS
from rolehost_runtime.core.assignment import Assignment, Traffic, assigned, assignment_key, bucket, unit_id

KEY = assignment_key(b"r" * 32)
UNITS = [f"u-{n}" for n in range(2_000)]
percents = st.integers(0, 100)


def canary(percent: int) -> tuple[Share, ...]:
    return (
        Share(revision="new", percent=percent, tag="canary", arm=Arm.CANDIDATE),
        Share(revision="old", percent=100 - percent, tag="stable", arm=Arm.BASELINE),
    )


def on_new(percent: int, rollout: str = "cat-1") -> set[str]:
    shares = canary(percent)
    return {unit for unit in UNITS if _revision(shares, bucket(KEY, rollout, unit)) == "new"}


def _revision(shares: tuple[Share, ...], at: int) -> str:
    share = assigned(shares, at)
    return share.revision if share is not None else ""


@given(percents, percents)
def test_a_raised_weight_only_adds_units_and_a_lowered_one_takes_the_highest_buckets(one: int, other: int) -> None:
    low, high = sorted((one, other))
    fewer, more = on_new(low), on_new(high)
    assert fewer <= more
    edge = low * BUCKETS // 100
    assert all(bucket(KEY, "cat-1", unit) >= edge for unit in more - fewer)


@given(percents, st.integers(0, BUCKETS - 1))
def test_a_bucket_below_the_weight_is_the_candidates(percent: int, at: int) -> None:
    assert (_revision(canary(percent), at) == "new") == (at < percent * BUCKETS // 100)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=2), st.integers(0, BUCKETS - 1), st.booleans())
def test_every_bucket_has_one_share_in_the_order_in_which_they_stand(
    variants: list[int], at: int, stable_first: bool
) -> None:
    others = tuple(Share(revision=f"v{n}", percent=percent, tag="variant") for n, percent in enumerate(variants))
    stable = Share(revision="old", percent=100 - sum(variants))
    shares = (stable, *others) if stable_first else (*others, stable)
    edges, expected = 0, ""
    for share in shares:
        if edges <= at < edges + share.percent * 100:
            expected = share.revision
        edges += share.percent * 100
    assert _revision(shares, at) == expected


@given(st.sampled_from(UNITS), st.text(max_size=20), st.text(max_size=20))
def test_an_answer_is_the_same_for_whoever_has_the_key_and_says_nothing_to_others(
    unit: str, one: str, two: str
) -> None:
    assert bucket(KEY, one, unit) == bucket(assignment_key(b"r" * 32), one, unit)
    assert 0 <= bucket(KEY, one, unit) < BUCKETS
    name = unit_id(KEY, one, unit)
    assert unit not in name
    assert len(name) == 32
    if one != two:
        assert name != unit_id(KEY, two, unit)


def test_shares_of_units_are_as_the_weights_say() -> None:
    for percent in (5, 25, 50):
        found = len(on_new(percent)) / len(UNITS)
        spread = (percent / 100 * (1 - percent / 100) / len(UNITS)) ** 0.5
        assert abs(found - percent / 100) < 4 * spread


def test_one_rollouts_buckets_say_nothing_of_another_ones() -> None:
    """Of those that the first one had at 50 %, the second one has half."""
    first, second = on_new(50, "cat-1"), on_new(50, "cat-2")
    both = len(first & second) / len(first)
    assert abs(both - 0.5) < 4 * (0.25 / len(first)) ** 0.5
    assert on_new(50, "cat-1") == first


def test_another_platforms_key_sorts_units_otherwise() -> None:
    other = assignment_key(b"s" * 32)
    assert sum(bucket(KEY, "cat-1", unit) == bucket(other, "cat-1", unit) for unit in UNITS) < 10


def test_without_a_stable_share_nobody_is_compared_outside_the_others() -> None:
    assert assigned(canary(5)[:1], 500) is None
    assert assigned((), 0) is None
    assert Traffic().shares == ()
    assert Assignment("r", 1, "new", Arm.CANDIDATE, 5, True, "u", 0) == Assignment(
        "r", 1, "new", Arm.CANDIDATE, 5, True, "u", 0
    )
