"""What a session adds to its rollout's counts: once for each objective and stratum, whatever happens in it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.slo import BAD, CANCELLED, FIRST, FIRST_TURNS, GOOD, HORIZON_SECONDS, LATER, LIMITED, WHOLE
from rolehost_runtime.core.classifying import LEFT_OUT, Classified
from rolehost_runtime.core.scoring import HANG_SECONDS, Score

NAMES = ["works", "fast"]
GOOD_TURN, BAD_TURN = Classified((GOOD, GOOD)), Classified((BAD, BAD))
CUT, REFUSED = Classified((LEFT_OUT, LEFT_OUT), CANCELLED), Classified((LEFT_OUT, LEFT_OUT), LIMITED)
STEP = st.sampled_from(["ask", "good", "slow", "bad", "cut", "refused", "tick"])


def play(score: Score, turns: list[Classified], *, every: float = 1.0) -> list[tuple[str, str, str]]:
    """So many turns, one after the other, until the session is closed by its horizon."""
    found, now = [], 0.0
    for turn in turns:
        score.asked(now)
        now += every
        found += score.ended(now, NAMES, turn)
        score.answered(now)
        found += score.passed(now, NAMES)
    found += score.passed(max(now, score.until), NAMES)
    assert score.closed
    return [(point.objective, point.stratum, point.outcome) for point in found]


@pytest.mark.parametrize(
    ("turns", "scored"),
    [
        ([], []),
        ([GOOD_TURN], [("works", FIRST, GOOD)]),
        ([BAD_TURN], [("works", FIRST, BAD)]),
        ([GOOD_TURN, GOOD_TURN], [("works", FIRST, GOOD), ("works", LATER, GOOD)]),
        ([GOOD_TURN, BAD_TURN, GOOD_TURN], [("works", FIRST, GOOD), ("works", LATER, BAD)]),
        ([GOOD_TURN, GOOD_TURN, BAD_TURN, BAD_TURN], [("works", FIRST, GOOD), ("works", LATER, BAD)]),
        ([GOOD_TURN] * 5 + [BAD_TURN], [("works", FIRST, GOOD), ("works", LATER, GOOD)]),  # the sixth is none of its
        ([CUT, BAD_TURN], [("works", LATER, BAD)]),
        ([REFUSED, BAD_TURN], [("works", FIRST, BAD)]),
        ([REFUSED] * 9, []),
        ([GOOD_TURN, CUT, CUT], [("works", FIRST, GOOD)]),
    ],
)
def test_a_session_by_its_turns(turns: list[Classified], scored: list[tuple[str, str, str]]) -> None:
    found = [point for point in play(Score(0), turns) if point[0] == "works"]
    assert [point for point in found if point[1] != WHOLE] == scored
    outcomes = [outcome for *_, outcome in scored]
    whole = [("works", WHOLE, BAD if BAD in outcomes else GOOD)] if scored else []
    assert [point for point in found if point[1] == WHOLE] == whole


def test_turns_behind_the_horizon_do_not_score() -> None:
    score = Score(0)
    assert play(score, [GOOD_TURN], every=1)
    late = Score(0)
    late.asked(HORIZON_SECONDS + 1)
    assert late.ended(HORIZON_SECONDS + 2, NAMES, BAD_TURN) == []
    late.answered(HORIZON_SECONDS + 2)
    assert late.passed(HORIZON_SECONDS + 2, NAMES) == []
    assert late.closed


def test_a_turn_that_was_asked_for_in_time_scores_when_it_ends_later() -> None:
    score = Score(0)
    score.asked(HORIZON_SECONDS - 1)
    assert score.passed(HORIZON_SECONDS, NAMES) == []
    assert not score.closed
    assert [point.outcome for point in score.ended(HORIZON_SECONDS + 30, NAMES, GOOD_TURN)] == [GOOD, GOOD]
    score.answered(HORIZON_SECONDS + 30)
    assert score.ended(HORIZON_SECONDS + 31, NAMES, BAD_TURN) == []
    assert {point.stratum for point in score.passed(score.until, NAMES)} == {WHOLE}
    assert score.closed


@pytest.mark.parametrize(("before", "stratum"), [([], FIRST), ([GOOD_TURN], LATER)])
def test_a_hang_is_bad(before: list[Classified], stratum: str) -> None:
    score = Score(0)
    for turn in before:
        score.ended(1, NAMES, turn)
    score.asked(2)
    score.passed(HORIZON_SECONDS, NAMES)
    found = score.passed(2 + HANG_SECONDS, NAMES)
    assert {tuple(point) for point in found} == {(name, one, BAD) for name in NAMES for one in (stratum, WHOLE)}
    assert score.ended(2 + HANG_SECONDS, NAMES, GOOD_TURN) == []


@given(st.lists(st.tuples(STEP, st.floats(0, 90)), max_size=60))
def test_a_session_scores_at_most_once_for_each_objective_and_stratum_and_closes_in_four_minutes(
    steps: list[tuple[str, float]],
) -> None:
    score, now, points, asked = Score(0), 0.0, [], False
    turns = {
        "good": GOOD_TURN,
        "slow": Classified((GOOD, BAD)),
        "bad": BAD_TURN,
        "cut": CUT,
        "refused": REFUSED,
    }
    for step, seconds in steps:
        now += seconds
        if step == "ask":
            asked = asked or now < HORIZON_SECONDS
            score.asked(now)
        elif step in turns:
            points += score.ended(now, NAMES, turns[step])
            score.answered(now)
        points += score.passed(now, NAMES)
    points += score.passed(max(now, score.until), NAMES)
    points += score.passed(max(now, score.until), NAMES)
    assert score.closed
    assert score.until <= HORIZON_SECONDS + HANG_SECONDS
    assert score.turns <= FIRST_TURNS
    assert all(count == 1 for count in Counter((one.objective, one.stratum) for one in points).values())
    if not asked and score.turns == 0:
        assert points == []


@given(st.lists(st.sampled_from([GOOD_TURN, BAD_TURN, CUT, REFUSED]), max_size=12))
def test_a_session_is_bad_just_where_one_of_its_first_five_turns_was(turns: list[Classified]) -> None:
    places = [turn for turn in turns if turn.was_one][:FIRST_TURNS]
    found = play(Score(0), turns)
    assert (("works", FIRST, BAD) in found) == (places[:1] == [BAD_TURN])
    assert (("works", LATER, BAD) in found) == (BAD_TURN in places[1:])
    assert (("works", LATER, GOOD) in found) == (GOOD_TURN in places[1:] and BAD_TURN not in places[1:])
    assert (("works", WHOLE, BAD) in found) == (BAD_TURN in places)
    assert (("works", WHOLE, GOOD) in found) == (GOOD_TURN in places and BAD_TURN not in places)
