"""A session restored from a snapshot and what came after it is the one that its whole log makes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.record import CorruptRecord, TurnRecord
from rolehost_runtime.core.session import MAX_PAST_CHARS, MAX_SEEN, Outcome, SessionFold
from rolehost_runtime.core.snapshot import EVERY_TURNS, Snapshot, decode, encode

PATCHES = st.lists(
    st.builds(PatchOp, st.just("add"), st.sampled_from(["/a", "/b"]), st.integers(0, 9)), max_size=2
).map(tuple)
TURNS = st.lists(st.tuples(st.text(max_size=5), PATCHES), min_size=1, max_size=12)


def lived(turns: list[tuple[str, tuple[PatchOp, ...]]], *, reply: str = "yes") -> tuple[SessionFold, list[TurnRecord]]:
    fold, records = SessionFold("log", 3), []
    for number, (message, patch) in enumerate(turns, 1):
        opened = fold.begin(
            message, revision="cat-1", response_id=f"r{number}", rng_seed=number, now_ms=number, client_msg_id=f"c{number}"
        )  # fmt: skip
        records.append(fold.propose(opened, Outcome(reply, patch), now_ms=number, max_bytes=65_536))
        fold.committed()
    return fold, records


def restored(kept: bytes, records: list[TurnRecord]) -> SessionFold:
    """As it is read back: the snapshot, then the records from where its past begins."""
    snapshot = decode(kept)
    fold = SessionFold.restored("log", 4, snapshot, len(kept))
    for record in records:
        if snapshot.past_from <= record.turn <= snapshot.turn:
            fold.recall(record)
        elif record.turn > snapshot.turn:
            fold.replay(record)
    return fold


@given(TURNS, st.data())
def test_a_snapshot_and_the_tail_make_the_same_session(
    turns: list[tuple[str, tuple[PatchOp, ...]]], data: st.DataObject
) -> None:
    whole, records = lived(turns)
    at = data.draw(st.integers(1, len(turns)))
    kept = encode(SessionFold.of("log", 3, records[:at]).snapshot())
    again = restored(kept, records)
    for name in ("turn", "seq", "version", "last_at_ms", "revision", "state", "past"):
        assert getattr(again, name) == getattr(whole, name)
    assert [again.turn_of(f"c{number}") for number in range(1, len(turns) + 1)] == list(range(1, len(turns) + 1))
    assert again.weight() == whole.weight()
    assert again.snapshot() == replace(whole.snapshot(), epoch=4)


def test_a_snapshot_holds_no_word_of_the_conversation_and_does_not_grow_with_it() -> None:
    few, _ = lived([("secret-word", ())] * 4, reply="another-secret")
    many, _ = lived([("secret-word", ())] * 400, reply="another-secret")
    for fold in (few, many):
        assert b"secret" not in encode(fold.snapshot())
    assert len(encode(many.snapshot())) - len(encode(few.snapshot())) < 400 * 16


def test_its_past_begins_where_prompts_still_reach() -> None:
    fold, records = lived([("x" * 1000, ())] * 600)
    snapshot = fold.snapshot()
    assert snapshot.past_from == 600 - len(fold.past) + 1 > 1
    assert len(fold.past) * 1003 <= MAX_PAST_CHARS
    assert restored(encode(snapshot), records).past == fold.past


def test_ids_that_are_forgotten_are_not_in_it() -> None:
    fold, records = lived([("", ())] * (MAX_SEEN + 10))
    again = restored(encode(fold.snapshot()), records)
    assert again.turn_of("c10") is None
    assert again.turn_of("c11") == 11


def test_it_is_due_after_so_many_turns_and_then_after_as_many_again() -> None:
    fold, _ = lived([("hi", ())] * (EVERY_TURNS - 1))
    assert not fold.needs_snapshot()
    fold, records = lived([("hi", ())] * EVERY_TURNS)
    assert fold.needs_snapshot()
    kept = encode(fold.snapshot())
    fold.snapshotted(fold.turn, len(kept))
    assert not fold.needs_snapshot()
    assert not restored(kept, records).needs_snapshot()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda kept: kept[:-1], id="cut"),
        pytest.param(lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]), id="a-bit-flipped"),
        pytest.param(lambda kept: b"9" + kept[1:], id="of-a-version-to-come"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"1 00000000 ", id="no-body"),
    ],
)
def test_a_broken_snapshot_is_said_to_be_corrupt(broken: object) -> None:
    kept = encode(lived([("hi", ())])[0].snapshot())
    with pytest.raises(CorruptRecord):
        decode(broken(kept))  # type: ignore[operator]


@given(st.binary(max_size=80))
def test_whatever_lies_there_is_a_snapshot_or_corrupt(data: bytes) -> None:
    with suppress(CorruptRecord):
        assert isinstance(decode(data), Snapshot)


def test_a_snapshot_of_another_log_is_refused() -> None:
    snapshot = lived([("hi", ())])[0].snapshot()
    with pytest.raises(CorruptRecord):
        SessionFold.restored("another", 1, snapshot, 1)
    with pytest.raises(CorruptRecord):
        SessionFold.restored("log", 1, replace(snapshot, seen=b"odd"), 1)


def test_one_written_by_the_first_version_is_read() -> None:
    """These bytes are what version 1 wrote: they are read for ever."""
    written = (
        b"1 1a41f9c2 \x8a\xa6log_id\xa3log\xa5epoch\x03\xa4turn\x02\xa3seq\x03\xa7version\x01\xa5at_ms\x07"
        b"\xa8revision\xa5cat-1\xa5state\x81\xa1a\x01\xa9past_from\x01\xa4seen\xc4\x0c01234567\x00\x00\x00\x02"
    )
    assert decode(written) == Snapshot(
        log_id="log", epoch=3, turn=2, seq=3, version=1, at_ms=7, revision="cat-1", state={"a": 1}, past_from=1,
        seen=b"01234567\x00\x00\x00\x02",
    )  # fmt: skip
