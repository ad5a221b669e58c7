"""The gateway's own breaker: what it takes to hold a candidate back, and what does not."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.crd.rollout import Arm
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.tripping import BASELINE, IN_A_ROW, USERS, Tripping, scored

Score = tuple[str, bool, Arm, bool]
"""Unit, known, arm, bad."""


def of(unit: str, known: bool = True, arm: Arm = Arm.CANDIDATE, epoch: int = 1) -> Assignment:
    return Assignment("cat-1", epoch, "cat-2", arm, 5, known, unit, 0)


def after(*scores: Score) -> Tripping:
    seen = Tripping()
    for unit, known, arm, bad in scores:
        seen = scored(seen, of(unit, known, arm), bad=bad)
    return seen


def bad(*units: str, known: bool = True) -> list[Score]:
    return [(unit, known, Arm.CANDIDATE, True) for unit in units]


MANY = [f"u{n}" for n in range(IN_A_ROW)]


def test_so_many_bad_ones_in_a_row_from_so_many_users_trip_it() -> None:
    assert after(*bad(*MANY)).tripped
    assert not after(*bad(*MANY[:-1])).tripped


def test_few_users_or_nobody_in_particular_do_not() -> None:
    few = [f"u{n % (USERS - 1)}" for n in range(3 * IN_A_ROW)]
    assert not after(*bad(*few)).tripped
    assert not after(*bad(*MANY, *MANY, known=False)).tripped
    assert after(*bad(*MANY[:USERS]), *bad(*MANY[USERS:], known=False)).tripped


def test_a_good_one_in_between_ends_the_row() -> None:
    assert not after(*bad(*MANY[:-1]), ("good", True, Arm.CANDIDATE, False), *bad(*MANY[:-1])).tripped


def test_where_the_other_side_is_bad_too_it_is_not_the_candidate() -> None:
    other: list[Score] = [(f"o{n}", True, Arm.BASELINE, True) for n in range(BASELINE)]
    assert not after(*other, *bad(*MANY)).tripped
    well: list[Score] = [(f"w{n}", True, Arm.BASELINE, False) for n in range(BASELINE)]
    assert after(*other, *well, *bad(*MANY)).tripped


def test_it_ends_with_its_evidence() -> None:
    seen = after(*bad(*MANY))
    assert seen.holds_for("cat-1", 1)
    assert not seen.holds_for("cat-1", 2)
    assert not seen.holds_for("cat-2", 1)
    assert not scored(seen, of("z", epoch=2), bad=True).tripped


scores = st.tuples(
    st.sampled_from("abcdefg"),
    st.booleans(),
    st.sampled_from([Arm.CANDIDATE] * 9 + [Arm.BASELINE]),
    st.sampled_from([True] * 19 + [False]),
)


@given(st.lists(scores, min_size=20, max_size=80))
def test_it_never_trips_on_less_and_never_lets_go_by_itself(said: list[Score]) -> None:
    seen, was, row, users = Tripping(), False, 0, set[str]()
    for unit, known, arm, is_bad in said:
        seen = scored(seen, of(unit, known, arm), bad=is_bad)
        if arm is Arm.CANDIDATE:
            row, users = (row + 1, users | ({unit} if known else set())) if is_bad else (0, set())
        if seen.tripped and not was:
            assert row >= IN_A_ROW
            assert len(users) >= USERS
        assert seen.tripped or not was
        was = seen.tripped
