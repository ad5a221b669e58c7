"""State that begins anew: by the patch of one turn, and the same however often and by whom it is read again."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.link.messages import MAX_PATCH_OPERATIONS, PatchOp
from rolehost_runtime.core.export import exported, recorded
from rolehost_runtime.core.patch import MAX_STATE_BYTES
from rolehost_runtime.core.record import TurnRecord, decode, encode, render
from rolehost_runtime.core.schema import anew, folded, left_of
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.core.snapshot import decode as decode_snapshot
from rolehost_runtime.core.snapshot import encode as encode_snapshot

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
states = st.dictionaries(names | st.sampled_from(["@behavior", "@short", "@user"]), values, max_size=8)


@given(states)
def test_what_is_left_is_what_removing_it_leaves(state: dict[str, Any]) -> None:
    assert folded(state, anew(state)) == left_of(state)
    assert set(left_of(state)) <= {"@behavior", "@short"}


def test_a_state_of_more_members_than_a_patch_has_operations_goes_too() -> None:
    wide = {f"n{number}": 0 for number in range(MAX_PATCH_OPERATIONS + 500)}
    assert folded(wide, (*anew(wide), PatchOp("add", "/one", 1))) == {"one": 1}


def turn(fold: SessionFold, patch: tuple[PatchOp, ...], *, schema: int, reset: bool = False) -> TurnRecord:
    revision = f"cat-{schema}"
    opened = fold.begin("hi", revision=revision, response_id=f"r{fold.turn}", rng_seed=1, now_ms=fold.turn + 1)
    outcome = Outcome("Yes.", patch=patch, schema=schema, reset=reset)
    record = fold.propose(opened, outcome, now_ms=fold.turn + 2, max_bytes=MAX_STATE_BYTES)
    fold.committed()
    return record


def again(record: TurnRecord) -> TurnRecord:
    read = decode({name.encode(): body for name, body in encode(record).items()})
    assert isinstance(read, TurnRecord)
    return read


@given(states, st.booleans())
def test_a_replay_and_a_restore_after_a_reset_give_the_same_state(state: dict[str, Any], says_more: bool) -> None:
    fold = SessionFold("log", 1)
    records = [
        turn(fold, tuple(PatchOp("add", f"/{_escaped(name)}", value) for name, value in state.items()), schema=2)
    ]
    records.append(turn(fold, (PatchOp("add", "/lives", 9),) if says_more else (), schema=1, reset=True))
    records.append(turn(fold, (PatchOp("add", "/naps", 1),), schema=1))
    assert fold.state == {**left_of(state), **({"lives": 9} if says_more else {}), "naps": 1}
    assert fold.schema == 1
    replayed = SessionFold.of("log", 1, [again(record) for record in records])
    assert (replayed.state, replayed.version, replayed.schema) == (fold.state, fold.version, 1)
    partly = SessionFold.of("log", 1, records[:2])
    data = encode_snapshot(partly.snapshot())
    restored = SessionFold.restored("log", 1, decode_snapshot(data), len(data))
    restored.replay(records[2])
    assert (restored.state, restored.schema) == (fold.state, 1)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def test_a_record_that_resets_tells_its_clients_what_went_in_the_one_delta_that_they_fold() -> None:
    fold = SessionFold("log", 1)
    turn(fold, (PatchOp("add", "/lives", 9), PatchOp("add", "/@short", ["x"])), schema=2)
    record = turn(fold, (PatchOp("add", "/turns", 1),), schema=1, reset=True)
    delta, _done = render(record, "s")
    assert [(one.op, one.path) for one in delta.patch] == [("remove", "/lives"), ("add", "/turns")]  # type: ignore[union-attr]
    assert (delta.version, record.reset, record.schema) == (2, True, 1)  # type: ignore[union-attr]
    assert recorded(exported(record, "s")).reset  # type: ignore[arg-type]


def test_a_turn_that_says_nothing_of_state_resets_it_all_the_same() -> None:
    """A message that a guard answered, say: its record is the first of the older revision."""
    fold = SessionFold("log", 1)
    turn(fold, (PatchOp("add", "/lives", 9),), schema=2)
    record = turn(fold, (), schema=1, reset=True)
    assert (fold.state, fold.version, record.reset) == ({}, 2, True)


def test_nothing_is_written_where_nothing_changed() -> None:
    """As a gateway of before would have written it."""
    fold = SessionFold("log", 1)
    first = turn(fold, (PatchOp("add", "/lives", 9),), schema=1)
    assert (first.schema, first.reset) == (0, False)
    empty = SessionFold("log", 1)
    assert not turn(empty, (), schema=1, reset=True).reset


@pytest.mark.parametrize(("schema", "kept"), [(2, 2), (3, 3)])
def test_who_wrote_the_state_last_is_known_from_the_log(schema: int, kept: int) -> None:
    fold = SessionFold("log", 1)
    turn(fold, (PatchOp("add", "/lives", 9),), schema=schema)
    turn(fold, (), schema=1)
    assert fold.schema == kept
