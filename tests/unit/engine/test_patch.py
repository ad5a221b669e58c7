"""State patches: what diff finds, apply carries out; and nothing hostile gets through apply."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.patch import MAX_VALUES, InvalidPatch, StateTooLarge, apply, diff, encoded_size

ints = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | ints | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
keys = st.text(alphabet="ab~/0-é", max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)
states = st.dictionaries(keys, values, max_size=5)


def exact(value: Any) -> str:
    return repr(sorted_deep(value))


def sorted_deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    return [sorted_deep(item) for item in value] if isinstance(value, list) else value


@given(states, states)
def test_what_diff_finds_apply_carries_out(before: dict[str, Any], after: dict[str, Any]) -> None:
    kept = msgspec.msgpack.encode(before)
    assert exact(apply(before, diff(before, before, after))) == exact(after)
    assert msgspec.msgpack.encode(before) == kept


@given(states, states, states)
def test_fields_of_newer_code_survive_older_code(
    newer: dict[str, Any], before: dict[str, Any], after: dict[str, Any]
) -> None:
    raw = {**before, "newer": newer}
    assert exact(apply(raw, diff(raw, before, after))) == exact({**after, "newer": newer})


def test_unknown_fields_survive_inside_objects_and_lists() -> None:
    raw = {"hero": {"hp": 9, "aura": "gold"}, "pets": [{"name": "a", "age": 3}]}
    before = {"hero": {"hp": 9}, "pets": [{"name": "a"}]}
    after = {"hero": {"hp": 7}, "pets": [{"name": "b"}]}
    assert apply(raw, diff(raw, before, after)) == {
        "hero": {"hp": 7, "aura": "gold"},
        "pets": [{"name": "b", "age": 3}],
    }


def test_a_default_is_written_only_once_it_changed() -> None:
    assert diff({}, {"lives": 9, "seen": 0}, {"lives": 9, "seen": 0}) == ()
    assert apply({}, diff({}, {"lives": 9, "seen": 0}, {"lives": 8, "seen": 0})) == {"lives": 8}


def test_more_changes_than_a_patch_holds_are_written_coarsely() -> None:
    before = {"map": {str(n): 0 for n in range(3000)}}
    after = {"map": {str(n): 1 for n in range(3000)}}
    patch = diff(before, before, after)
    assert [op.path for op in patch] == ["/map"]
    assert apply(before, patch) == after


def test_true_is_not_one() -> None:
    assert apply({"a": 1}, diff({"a": 1}, {"a": 1}, {"a": True}))["a"] is True


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(PatchOp("replace", "", {}), id="the-root"),
        pytest.param(PatchOp("replace", "a", 1), id="no-slash"),
        pytest.param(PatchOp("replace", "/none", 1), id="replace-of-nothing"),
        pytest.param(PatchOp("remove", "/none"), id="remove-of-nothing"),
        pytest.param(PatchOp("add", "/none/x", 1), id="through-nothing"),
        pytest.param(PatchOp("add", "/n/x", 1), id="through-a-number"),
        pytest.param(PatchOp("add", "/l/01", 1), id="index-with-a-leading-zero"),
        pytest.param(PatchOp("add", "/l/²", 1), id="index-in-superscript"),
        pytest.param(PatchOp("add", "/l/3", 1), id="index-past-the-end"),
        pytest.param(PatchOp("replace", "/l/-", 1), id="replace-past-the-end"),
        pytest.param(PatchOp("add", "/l/99999999999999999999999", 1), id="index-of-many-digits"),
        pytest.param(PatchOp("incr", "/s", 1), id="incr-of-text"),
        pytest.param(PatchOp("incr", "/n", "1"), id="incr-by-text"),
        pytest.param(PatchOp("incr", "/n", True), id="incr-by-true"),
        pytest.param(PatchOp("incr", "/n", 2**63 - 1), id="incr-over-64-bits"),
        pytest.param(PatchOp("incr", "/n", float("inf")), id="incr-to-infinity"),
        pytest.param(PatchOp("add", "/x", float("nan")), id="not-a-number"),
        pytest.param(PatchOp("add", "/x", 2**64), id="wide-number"),
        pytest.param(PatchOp("add", "/x", b"raw"), id="bytes"),
        pytest.param(PatchOp("add", "/x", {1: 2}), id="key-that-is-no-text"),
        pytest.param(PatchOp("add", "/x", "\ud800"), id="half-a-surrogate"),
        pytest.param(PatchOp("add", "/x", nested(40)), id="deep-value"),
        pytest.param(PatchOp("add", "/x", msgspec.msgpack.Ext(4, b"")), id="extension"),
        pytest.param(PatchOp("add", "/" + "/".join("a" * 40), 1), id="deep-path"),
        pytest.param(PatchOp("add", "/" + "a" * 2000, 1), id="long-path"),
        pytest.param(PatchOp("add", "/x", "x" * 5000), id="over-the-size"),
    ],
)
def test_hostile_operations_change_nothing(operation: PatchOp) -> None:
    state: dict[str, Any] = {"n": 1, "s": "", "l": [1, 2]}
    with pytest.raises(InvalidPatch):
        apply(state, [operation], max_bytes=4096)
    assert state == {"n": 1, "s": "", "l": [1, 2]}


paths = st.text(alphabet="/abnl01-~", max_size=12)
hostile = st.builds(PatchOp, st.sampled_from(["add", "remove", "replace", "incr"]), paths, values)


@given(st.lists(hostile, max_size=20))
def test_any_patch_either_fits_or_is_refused(patch: list[PatchOp]) -> None:
    try:
        after = apply({"n": 1, "a": {}, "l": [1]}, patch, max_bytes=300)
    except InvalidPatch:
        return
    assert encoded_size(after) <= 300


def test_a_patch_is_the_same_after_it_was_applied() -> None:
    """It goes into the record as it is: applied once more, on replay, it must do the same."""
    patch = [PatchOp("add", "/names", ["Smaug"]), PatchOp("add", "/names/-", "Fafnir"), PatchOp("add", "/a", {"b": {}})]
    patch += [PatchOp("add", "/a/b/c", 1)]
    first = apply({}, patch)
    assert patch[0].value == ["Smaug"]
    assert apply({}, patch) == first == {"names": ["Smaug", "Fafnir"], "a": {"b": {"c": 1}}}


def test_a_state_cannot_swell_and_shrink_within_one_patch() -> None:
    with pytest.raises(StateTooLarge):
        apply({}, [PatchOp("add", "/a", "x" * 2000), PatchOp("remove", "/a")], max_bytes=1000)


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(InvalidPatch):
        apply({}, [PatchOp("incr", "/a", 1)] * 1001)
    assert apply({}, [PatchOp("incr", "/a", 1)] * 1000) == {"a": 1000}


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param([PatchOp("add", "/a", [{} for _ in range(MAX_VALUES)])], id="in-one-value"),
        pytest.param(
            [PatchOp("add", f"/{number}", [[] for _ in range(MAX_VALUES // 100)]) for number in range(101)],
            id="in-all-together",
        ),
    ],
)
def test_values_that_cost_little_room_and_much_time_are_counted(patch: list[PatchOp]) -> None:
    with pytest.raises(InvalidPatch, match="values"):
        apply({}, patch)


def test_as_many_values_as_there_is_room_for_fit() -> None:
    assert len(apply({}, [PatchOp("add", "/a", [0] * (MAX_VALUES - 1))])["a"]) == MAX_VALUES - 1
