"""A turn's marks: a table of every code there is, and laws over all objectives and outcomes."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rolehost_api
import rolehost_runtime
from rolehost_api.crd.role import Measure, Objective, ObjectiveType
from rolehost_api.slo import BAD, CANCELLED, GOOD, INVALID, LIMITED, UNASKED
from rolehost_runtime.core.classifying import FATES, LEFT_OUT, Classified, Rules, classify, rules_of

API, RUNTIME = Path(rolehost_api.__path__[0]), Path(rolehost_runtime.__path__[0])
TURNS_PASS = (
    *(API / part for part in ("errors.py", "wire.py", "identity.py", "link", "persona")),
    *(RUNTIME / part for part in ("core", "gateway")),
)
"""Where an error may begin that ends a turn. What a sandbox says is `logic_error`, whatever it calls it."""
ELSEWHERE = ("upload", "watch", "settings.py", "app.py")
"""Of them, what no message ever waits for: uploads and checks, watches, how a process starts."""


def stable_codes() -> Iterator[str]:
    for root in TURNS_PASS:
        for path in root.rglob("*.py") if root.is_dir() else (root,):
            if any(part in ELSEWHERE for part in path.parts):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.keyword(arg="code", value=ast.Constant(value=str(code))) if code:
                        yield code
                    case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))) if code:
                        yield code


def test_every_stable_code_is_decided_about() -> None:
    unknown = sorted(set(stable_codes()) - FATES.keys())
    assert not unknown, "core/classifying.FATES says nothing of these, so they are bad; say so there, or what they are"


@pytest.mark.parametrize(
    ("outcome", "fate"),
    [
        ("completed", GOOD),
        ("filtered", GOOD),
        ("cancelled", CANCELLED),
        ("deadline_exceeded", CANCELLED),
        ("busy", LIMITED),
        ("budget_exhausted", LIMITED),
        ("tenant_over_share", LIMITED),
        ("session_full", LIMITED),
        ("invalid_frame", INVALID),
        ("greeting_not_found", INVALID),
        ("token_expired", INVALID),
        # a bound that the logic, our machines or a model's server ran into is nobody's limit
        ("turn_tokens_spent", BAD),
        ("pods_full", BAD),
        ("model_busy", BAD),
        ("model_overloaded", BAD),
        ("no_pod_ready", BAD),
        ("no_ready_revision", BAD),
        ("pod_lost", BAD),
        ("superseded", BAD),
        ("turn_given_up", BAD),
        ("turn_timeout", BAD),
        ("state_unavailable", BAD),
        ("logic_error", BAD),
        ("invalid_patch", BAD),
        ("internal", BAD),
        ("stopping", BAD),
    ],
)
def test_what_becomes_of_a_turn_that_ended_so(outcome: str, fate: str) -> None:
    assert FATES[outcome] == fate


def test_a_code_that_nobody_knows_is_bad() -> None:
    assert classify(rules_of(OBJECTIVES), "made_up_yesterday", 1, 2).marks == (BAD,) * len(OBJECTIVES)


OBJECTIVES = [
    Objective(name="works", type=ObjectiveType.SUCCESS, target="99"),
    Objective(name="fast", type=ObjectiveType.LATENCY, target="95", threshold_milliseconds=800),
    Objective(
        name="whole", type=ObjectiveType.LATENCY, target="95", measure=Measure.COMPLETE, threshold_milliseconds=4_000
    ),
]


@pytest.mark.parametrize(
    ("outcome", "ttft_ms", "total_ms", "marks"),
    [
        ("completed", 800, 4_000, (GOOD, GOOD, GOOD)),
        ("completed", 800.1, 4_000.1, (GOOD, BAD, BAD)),
        ("filtered", 5, 5_000, (GOOD, GOOD, BAD)),
        ("completed", None, 700, (GOOD, GOOD, GOOD)),  # it said nothing: its end is its first text
        ("completed", None, 900, (GOOD, BAD, GOOD)),
        ("turn_timeout", 10, 30_000, (BAD, BAD, BAD)),
        ("cancelled", 100, 2_000, (LEFT_OUT, GOOD, LEFT_OUT)),
        ("cancelled", 900, 2_000, (LEFT_OUT, BAD, LEFT_OUT)),
        ("cancelled", 100, 9_000, (LEFT_OUT, GOOD, BAD)),
        ("cancelled", None, 700, (LEFT_OUT, LEFT_OUT, LEFT_OUT)),
        ("cancelled", None, 9_999, (LEFT_OUT, BAD, BAD)),
        ("cancelled", None, 10_000, (BAD, BAD, BAD)),
        ("cancelled", 9_999, 30_000, (LEFT_OUT, BAD, BAD)),
        ("deadline_exceeded", None, 1, (LEFT_OUT, LEFT_OUT, LEFT_OUT)),
        ("deadline_exceeded", None, 999, (LEFT_OUT, BAD, LEFT_OUT)),
        ("deadline_exceeded", 100, 1_000, (BAD, BAD, LEFT_OUT)),
        ("deadline_exceeded", None, 5_000, (BAD, BAD, BAD)),
        ("busy", None, 60_000, (LEFT_OUT,) * 3),
    ],
)
def test_a_turn_by_its_times(outcome: str, ttft_ms: float | None, total_ms: float, marks: tuple[str, ...]) -> None:
    assert classify(rules_of(OBJECTIVES), outcome, ttft_ms, total_ms).marks == marks


times = st.floats(0, 700_000, allow_nan=False)
bounds = st.one_of(st.none(), st.tuples(st.booleans(), st.integers(1, 600_000)))
some_rules = st.lists(bounds, min_size=1, max_size=8).map(
    lambda found: Rules(tuple(f"o{number}" for number in range(len(found))), tuple(found))
)
turns = st.tuples(st.sampled_from([*FATES, "made_up"]), st.one_of(st.none(), times), times, st.booleans())


@given(some_rules, turns)
def test_each_turn_has_one_mark_of_each_objective_and_a_reason_where_one_leaves_it_out(
    rules: Rules, turn: tuple[str, float | None, float, bool]
) -> None:
    outcome, ttft_ms, total_ms, asked = turn
    found = classify(rules, outcome, ttft_ms, total_ms, asked=asked)
    assert len(found.marks) == len(rules.names)
    assert set(found.marks) <= {GOOD, BAD, LEFT_OUT}
    assert (LEFT_OUT in found.marks) == bool(found.why)
    assert found.why in ("", CANCELLED, INVALID, LIMITED, UNASKED)
    assert (found.why == UNASKED) == (not asked)


@given(some_rules, st.lists(turns, max_size=30))
def test_the_counts_of_an_objective_and_what_is_left_out_make_up_all_turns(
    rules: Rules, all_turns: list[tuple[str, float | None, float, bool]]
) -> None:
    found = [classify(rules, outcome, ttft, total, asked=asked) for outcome, ttft, total, asked in all_turns]
    excluded = sum(bool(one.why) for one in found)
    for place in range(len(rules.names)):
        counted = Counter(one.marks[place] for one in found)
        assert counted[GOOD] + counted[BAD] + counted[LEFT_OUT] == len(all_turns)
        assert counted[LEFT_OUT] <= excluded


@given(some_rules, st.sampled_from([*FATES, "made_up"]), times, times, times)
def test_who_is_slower_is_never_better(rules: Rules, outcome: str, first: float, total: float, more: float) -> None:
    """Only where both were counted: who leaves sooner is left out."""
    before = classify(rules, outcome, first, total).marks
    after = classify(rules, outcome, first + more, total + more).marks
    assert (BAD, GOOD) not in zip(before, after, strict=True)


def test_a_refused_turn_takes_no_place_in_its_session_and_a_cancelled_one_does() -> None:
    assert [Classified((LEFT_OUT,), why).was_one for why in ("", CANCELLED, LIMITED, INVALID, UNASKED)] == [
        True,
        True,
        False,
        False,
        False,
    ]
