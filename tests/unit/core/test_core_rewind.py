"""What an owner does about a store that forgot: nothing acknowledged goes missing without a word."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.rewind import (
    MAX_BYTES,
    MAX_RECORDS,
    Again,
    Fence,
    Fine,
    Lost,
    Standing,
    Tail,
    after_rewind,
    forgot,
)


def record(turn: int, events: int = 1, before: int = 0, text: str = "", log_id: str = "l") -> TurnRecord:
    return TurnRecord(
        log_id=log_id,
        epoch=1,
        turn=turn,
        seq_first=before + 1,
        seq_count=events,
        version=0,
        now_ms=turn,
        at_ms=turn,
        revision="cat-1",
        response_id=f"r{turn}",
        input=text,
        reply=text,
    )


def log(events: list[int]) -> list[TurnRecord]:
    made: list[TurnRecord] = []
    for turn, count in enumerate(events, 1):
        made.append(record(turn, count, sum(events[: turn - 1])))
    return made


def standing(records: list[TurnRecord], log_id: str = "l") -> Standing:
    return Standing(log_id, len(records), sum(one.seq_count for one in records))


histories = st.lists(st.integers(1, 2), max_size=3 * MAX_RECORDS).map(log)


@given(histories, st.data())
def test_what_a_store_forgot_is_written_again_whole_or_said_to_be_lost(
    records: list[TurnRecord], data: st.DataObject
) -> None:
    """The law: log kept + what is written again = log acknowledged, or Lost."""
    kept = data.draw(st.integers(0, len(records)))
    known = data.draw(st.integers(0, len(records)))
    tail = Tail(Standing("l", 0, 0))
    for one in records:
        tail.acknowledged(one)
    held = tail.records[known:] if data.draw(st.booleans()) else tail.records
    log_id = "l" if kept or data.draw(st.booleans()) else "new"
    match after_rewind(standing(records[:kept], log_id), tail.standing, held):
        case Fine():
            assert kept == len(records) or not records
        case Again(missing):
            assert records[:kept] + list(missing) == records
            assert kept < len(records)
        case Lost():
            assert kept < len(records)
            assert not held or held[0].turn > kept + 1


@given(st.lists(st.integers(0, MAX_BYTES // 2), max_size=20))
def test_what_is_held_is_bounded_and_the_newest(sizes: list[int]) -> None:
    tail = Tail()
    records = [record(turn, before=turn - 1, text="x" * size) for turn, size in enumerate(sizes, 1)]
    for one in records:
        tail.acknowledged(one)
    assert len(tail.records) <= MAX_RECORDS
    assert sum(len(one.input) + len(one.reply) for one in tail.records) <= MAX_BYTES
    assert tail.records == records[len(records) - len(tail.records) :]
    assert tail.weight <= 512 * MAX_RECORDS
    tail.let_go()
    assert (tail.records, tail.weight, tail.standing and tail.standing.turn) == ([], 0, len(records) or None)


def test_another_owners_turns_are_never_written_over() -> None:
    mine = standing(log([1, 1, 1]))
    assert after_rewind(Standing("l", 5, 5), mine, log([1, 1, 1])) == Fine()
    assert after_rewind(Standing("other", 1, 1), mine, log([1, 1, 1])) == Lost()
    tail = Tail()
    for one in log([1, 1]):
        tail.acknowledged(one)
    went_on = [*log([1]), replace(record(2, before=1), response_id="theirs"), record(3, before=2)]
    assert after_rewind(Standing("l", 3, 3), tail.standing, tail.records, went_on) == Lost()
    assert after_rewind(Standing("l", 3, 3), tail.standing, tail.records, log([1, 1, 1])) == Fine()


@given(st.integers(1, 5), st.booleans(), st.integers(0, 5))
def test_a_refusal_is_a_rewind_only_where_nobody_took_over(epoch: int, ours: bool, turn: int) -> None:
    mine = Fence("l", 3, True, 3)
    taken_over = epoch > 3 or (epoch == 3 and not ours)
    if taken_over:
        assert not forgot(Fence("l", epoch, ours, turn), mine)
    else:
        assert forgot(Fence("l", epoch, ours, turn), mine) is (epoch < 3 or turn < 3)
