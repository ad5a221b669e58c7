"""What an owner does about a store that forgot: nothing acknowledged goes missing without a word."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_api.wire import HeardPart
from rolehost_runtime.core.record import Amend, Record, TurnRecord, last_seq
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
    mark,
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


def amend(of: TurnRecord, number: int, before: int) -> Amend:
    """The number-th of its log; each cuts deeper."""
    heard = HeardPart(chars=100 - number)
    return Amend(
        log_id=of.log_id, epoch=1, turn=of.turn, number=number, seq_first=before + 1, at_ms=of.turn,
        response_id=of.response_id, reply="x" * (100 - number), heard=heard,
    )  # fmt: skip


def log(events: list[int]) -> list[Record]:
    """A turn with so many events for each; 0 is an amend of the turn before, where there is one."""
    made: list[Record] = []
    turn: TurnRecord | None = None
    amends = 0
    for count in events:
        before = last_seq(made[-1]) if made else 0
        if count:
            turn = record((turn.turn if turn else 0) + 1, count, before)
            made.append(turn)
        elif turn is not None:
            amends += 1
            made.append(amend(turn, amends, before))
    return made


def standing(records: list[Record], log_id: str = "l") -> Standing:
    return Standing(log_id, sum(one.seq_count for one in records))


def knowing(records: list[Record]) -> Tail:
    tail = Tail(Standing("l", 0))
    for one in records:
        tail.acknowledged(one)
    return tail


histories = st.lists(st.integers(0, 2), max_size=3 * MAX_RECORDS).map(log)


@given(histories, st.data())
def test_what_a_store_forgot_is_written_again_whole_or_said_to_be_lost(
    records: list[Record], data: st.DataObject
) -> None:
    """The law: what the log kept and what is written again are what was acknowledged, or it is said to be lost."""
    tail = knowing(records)
    kept = data.draw(st.integers(0, len(records)))
    theirs = data.draw(st.lists(st.integers(1, 2), max_size=3)) if data.draw(st.booleans()) else []
    if asleep := data.draw(st.booleans()):
        tail.let_go()
    made_anew = kept == 0 and data.draw(st.booleans())
    there = records[:kept]
    for count in theirs:
        before = sum(one.seq_count for one in there)
        there = [*there, replace(record(len(there) + 1, count, before), response_id=f"theirs{len(there)}")]
    head = standing(there, "new" if made_anew else "l")
    match after_rewind(head, tail, [mark(one) for one in there]):
        case Fine():
            assert kept == len(records)
        case Again(missing):
            assert [*there, *missing] == records
        case Lost():
            assert kept < len(records)
            assert theirs or asleep or tail.records[0] not in records[: kept + 1]


@given(st.lists(st.integers(0, MAX_BYTES // 2), max_size=20))
def test_what_is_held_is_bounded_and_the_newest(sizes: list[int]) -> None:
    tail = Tail()
    records = [record(turn, before=turn - 1, text="x" * size) for turn, size in enumerate(sizes, 1)]
    for one in records:
        tail.acknowledged(one)
    assert len(tail.records) <= MAX_RECORDS
    assert sum(2 * len(one.reply) for one in tail.records) <= MAX_BYTES
    assert tail.records == records[len(records) - len(tail.records) :]
    assert tail.weight <= 512 * MAX_RECORDS
    tail.let_go()
    assert (tail.records, tail.weight, tail.standing and tail.standing.seq) == ([], 0, len(records) or None)


def test_an_attempt_to_mend_that_did_not_end_is_ended_by_the_next() -> None:
    """The head had vanished, so the log has a new id; some of our turns are in it already."""
    records = log([1, 2, 0, 1])
    for done in range(5):
        head = standing(records[:done], "new")
        found = after_rewind(head, knowing(records), [mark(one) for one in records[:done]])
        assert found == (Again(records[done:]) if done < 4 else Fine())


@given(st.integers(1, 5), st.booleans(), st.integers(0, 5))
def test_a_refusal_is_a_rewind_only_where_nobody_took_over(epoch: int, ours: bool, turn: int) -> None:
    mine = Fence("l", 3, True, 3)
    taken_over = epoch > 3 or (epoch == 3 and not ours)
    if taken_over:
        assert not forgot(Fence("l", epoch, ours, turn), mine)
    else:
        assert forgot(Fence("l", epoch, ours, turn), mine) is (epoch < 3 or turn < 3)
