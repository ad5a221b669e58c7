"""A session is what its log says: folded anew it equals the one that lived through its turns."""

import sys
from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_api.errors import NotFound
from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.patch import InvalidPatch
from rolehost_runtime.core.record import Amend, CorruptRecord, Record, TurnRecord, decode, encode
from rolehost_runtime.core.session import (
    ENTRY_BYTES,
    MAX_PAST_CHARS,
    MAX_SEEN,
    MOVES,
    TEXT_BYTES,
    Move,
    Outcome,
    Phase,
    SessionFold,
    state_weight,
)

Step = tuple[str, str, tuple[PatchOp, ...]]


def lived(steps: list[Step], *, clock: int = 1000) -> tuple[SessionFold, list[TurnRecord]]:
    """A session through some turns, and the records that it left."""
    fold, records = SessionFold("log", 3), []
    for number, (message, reply, patch) in enumerate(steps):
        opened = fold.begin(
            message,
            revision="cat-1",
            response_id=f"r{number}",
            rng_seed=number,
            now_ms=clock,
            client_msg_id=f"c{number}",
        )
        records.append(fold.propose(opened, Outcome(reply, patch), now_ms=clock + 5 * number, max_bytes=65_536))
        fold.committed()
    return fold, records


PATCHES = st.lists(
    st.builds(PatchOp, st.just("add"), st.sampled_from(["/a", "/b"]), st.integers(0, 9)), max_size=2
).map(tuple)
STEPS = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5), PATCHES), max_size=6)


@given(STEPS)
def test_folding_the_log_gives_the_session_that_wrote_it(steps: list[Step]) -> None:
    fold, records = lived(steps)
    kept = [decode({name.encode(): value for name, value in encode(record).items()}) for record in records]
    again = SessionFold.of("log", 3, kept)
    for name in ("turn", "seq", "version", "last_at_ms", "revision", "state", "past"):
        assert getattr(again, name) == getattr(fold, name)
    assert [again.turn_of(f"c{number}") for number in range(len(steps))] == list(range(1, len(steps) + 1))


@given(STEPS)
def test_numbers_of_events_have_no_gap_and_time_never_stands_still(steps: list[Step]) -> None:
    _, records = lived(steps)
    expected = 1
    for record in records:
        assert record.seq_first == expected
        expected += record.seq_count
    times = [record.at_ms for record in records]
    assert times == sorted(set(times))
    assert all(record.now_ms <= record.at_ms for record in records)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda records: records[1:], id="the-first-is-missing"),
        pytest.param(lambda records: [records[0], records[2]], id="one-is-missing"),
        pytest.param(lambda records: [records[0], records[0]], id="one-is-there-twice"),
        pytest.param(lambda records: [replace(records[0], log_id="other")], id="of-another-log"),
        pytest.param(lambda records: [replace(records[0], seq_first=5)], id="its-numbers-jump"),
        pytest.param(
            lambda records: [replace(records[0], patch=(PatchOp("remove", "/x"),))], id="its-patch-does-not-fit"
        ),
    ],
)
def test_a_log_that_does_not_fit_is_said_to_be_corrupt(broken: object) -> None:
    _, records = lived([("a", "b", (PatchOp("add", "/a", 1),))] * 3)
    with pytest.raises(CorruptRecord):
        SessionFold.of("log", 1, broken(records))  # type: ignore[operator]


def test_a_turn_that_was_given_up_never_was() -> None:
    fold, _ = lived([("a", "b", (PatchOp("add", "/a", 1),))])
    before = (fold.turn, fold.seq, fold.version, dict(fold.state), list(fold.past))
    fold.begin("x", revision="cat-1", response_id="r", rng_seed=1, now_ms=5000, client_msg_id="c9")
    fold.give_up()
    assert (fold.turn, fold.seq, fold.version, fold.state, list(fold.past)) == before
    assert fold.turn_of("c9") is None


def test_a_bad_patch_leaves_the_turn_open_to_be_given_up() -> None:
    fold, _ = lived([])
    opened = fold.begin("x", revision="cat-1", response_id="r", rng_seed=1, now_ms=1)
    with pytest.raises(InvalidPatch):
        fold.propose(opened, Outcome("y", (PatchOp("remove", "/nothing"),)), now_ms=0, max_bytes=1024)
    fold.give_up()
    fold.begin("x", revision="cat-1", response_id="r", rng_seed=1, now_ms=1)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("move", Move)
def test_our_own_wrong_moves_are_key_errors(phase: Phase, move: Move) -> None:
    fold = SessionFold("log", 1)
    fold.phase = phase
    if move in MOVES[phase]:
        fold._move(move)
        assert fold.phase is MOVES[phase][move]
    else:
        with pytest.raises(KeyError):
            fold._move(move)


def test_a_lost_session_stays_lost() -> None:
    fold, _ = lived([("a", "b", ())])
    fold.lose()
    fold.lose()
    with pytest.raises(KeyError):
        fold.begin("x", revision="cat-1", response_id="r", rng_seed=1, now_ms=1)


def test_only_the_newest_ids_and_words_are_held() -> None:
    turns = MAX_SEEN + 10
    fold, _ = lived([("x" * 100, "y" * 100, ())] * turns)
    assert (fold.turn_of("c9"), fold.turn_of("c10")) == (None, 11)
    assert sum(len(exchange.input) + len(exchange.reply) for exchange in fold.past) <= MAX_PAST_CHARS


def kept(record: Record) -> Record:
    return decode({name.encode(): value for name, value in encode(record).items()})


HEARD = st.none() | st.builds(HeardPart, chars=st.integers(0, 6), audio_ms=st.none() | st.integers(0, 9000))


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans(), HEARD, st.lists(HEARD, max_size=3)), max_size=6))
def test_the_log_knows_of_each_reply_what_was_heard_of_it(
    turns: list[tuple[str, bool, HeardPart | None, list[HeardPart | None]]],
) -> None:
    fold, log, heard_of = SessionFold("log", 3), list[Record](), list[str]()
    for number, (reply, cancelled, heard, later) in enumerate(turns):
        opened = fold.begin("hi", revision="cat-1", response_id=f"r{number}", rng_seed=1, now_ms=1000)
        outcome = Outcome(reply, status="cancelled" if cancelled else "completed", heard=heard)
        log.append(fold.propose(opened, outcome, now_ms=1000, max_bytes=1024))
        fold.committed()
        left = reply if heard is None or not cancelled else reply[: heard.chars]
        for more in later:
            amend = fold.amend(f"r{number}", more, now_ms=0)
            assert (amend is None) == (more is None or more.chars >= len(left))
            if amend is not None:
                assert more is not None
                log.append(amend)
                fold.amended()
                left = left[: more.chars]
        heard_of.append(left)
    again = SessionFold.of("log", 3, map(kept, log))
    for one in (fold, again):
        assert [exchange.reply for exchange in one.past] == heard_of
    for name in ("turn", "seq", "amends", "last_at_ms", "response_id", "past"):
        assert getattr(again, name) == getattr(fold, name)
    assert again.weight() == fold.weight()
    assert [number for record in log for number in range(record.seq_first, record.seq_first + record.seq_count)] == [
        *range(1, fold.seq + 1)
    ]
    times = [record.at_ms for record in log]
    assert times == sorted(set(times))
    assert [record.position for record in log] == sorted({record.position for record in log})


def test_a_cancelled_turn_is_cut_where_it_was_heard_and_never_past_what_was_sent() -> None:
    fold, _ = lived([("a", "b", (PatchOp("add", "/a", 1),))])
    for heard, reply, at in [
        (HeardPart(chars=3, audio_ms=640), "从前，", HeardPart(chars=3, audio_ms=640)),
        (HeardPart(chars=99), "从前，有", HeardPart(chars=4)),
        (None, "从前，有", HeardPart(chars=4)),
    ]:
        opened = fold.begin("x", revision="cat-1", response_id="r", rng_seed=1, now_ms=5000)
        outcome = Outcome("从前，有", (PatchOp("incr", "/a", 1),), status="cancelled", heard=heard)
        record = fold.propose(opened, outcome, now_ms=0, max_bytes=1024)
        fold.committed()
        assert (record.status, record.reply, record.heard) == ("cancelled", reply, at)
    assert fold.state == {"a": 4}


def test_only_the_newest_response_is_amended() -> None:
    fold, _ = lived([("a", "bcd", ()), ("e", "fgh", ())])
    for response_id in ("r0", "r9", ""):
        with pytest.raises(NotFound) as raised:
            fold.amend(response_id, HeardPart(chars=1), now_ms=0)
        assert raised.value.code == "response_not_found"
    with pytest.raises(NotFound):
        SessionFold("log", 1).amend("", None, now_ms=0)


def test_an_amend_while_the_next_turn_runs_goes_before_it() -> None:
    fold, log = lived([("a", "bcd", ())])
    opened = fold.begin("x", revision="cat-1", response_id="r9", rng_seed=1, now_ms=1000)
    amend = fold.amend("r0", HeardPart(chars=1), now_ms=5000)
    assert amend is not None
    with pytest.raises(KeyError):
        fold.propose(opened, Outcome("y"), now_ms=1000, max_bytes=1024)
    fold.amended()
    record = fold.propose(opened, Outcome("y"), now_ms=1000, max_bytes=1024)
    with pytest.raises(KeyError):
        fold.amend("r0", HeardPart(chars=0), now_ms=5000)
    fold.committed()
    again = SessionFold.of("log", 3, [*log, amend, record])
    assert [exchange.reply for exchange in again.past] == ["b", "y"]
    assert (again.seq, amend.seq_first, record.seq_first, record.at_ms) == (3, 2, 3, 5001)


@pytest.mark.parametrize(
    "wrong",
    [{"turn": 1}, {"number": 2}, {"seq_first": 4}, {"response_id": "r7"}, {"log_id": "other"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_an_amend_that_amends_nothing_is_said_to_be_corrupt(wrong: dict[str, object]) -> None:
    fold, log = lived([("a", "b", ()), ("c", "def", ())])
    amend = fold.amend("r1", HeardPart(chars=1), now_ms=0)
    assert isinstance(amend, Amend)
    SessionFold.of("log", 1, [*log, amend])
    with pytest.raises(CorruptRecord):
        SessionFold.of("log", 1, [*log, replace(amend, **wrong)])


def test_a_turn_that_was_left_open_begins_again_as_it_was() -> None:
    fold, log = lived([("a", "b", ())])
    opened = fold.begin("x", revision="cat-1", response_id="r", rng_seed=7, now_ms=5000, deadline_at_ms=9000)
    again = SessionFold.of("log", 4, log)
    assert again.begin_again(opened) == opened
    again.propose(opened, Outcome("y"), now_ms=0, max_bytes=1024)
    again.committed()
    with pytest.raises(KeyError):
        again.begin_again(opened)


def taken(value: object) -> int:
    """What Python says that this takes, everything in it included."""
    within: list[object] = []
    if isinstance(value, dict):
        within = [*value, *value.values()]
    elif isinstance(value, list | tuple | deque):
        within = list(value)
    return sys.getsizeof(value) + sum(taken(one) for one in within)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_a_state_never_takes_more_than_it_weighs(state: dict[str, object]) -> None:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    assert taken(state) <= state_weight(state)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([{} for _ in range(200_000)], id="empty-maps"),
        pytest.param([[] for _ in range(200_000)], id="empty-lists"),
        pytest.param(list(range(1000, 60_000)), id="numbers"),
        pytest.param(["x" * 60_000 + "🐉"] * 4, id="long-text"),
    ],
)
def test_a_large_state_is_weighed_without_a_look_at_all_of_it(values: list[object]) -> None:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode({"values": values}))
    assert taken(state) <= state_weight(state) <= 64 << 20


@given(STEPS)
def test_a_sessions_weight_is_that_of_its_log_and_covers_what_it_holds(steps: list[Step]) -> None:
    fold, records = lived(steps)
    assert SessionFold.of("log", 3, records).weight() == fold.weight()
    assert taken(fold.past) + taken(dict(fold._seen)) + taken(fold.state) <= fold.weight()


def test_words_and_ids_that_are_no_longer_held_weigh_nothing() -> None:
    few, _ = lived([("龙" * 1000, "x" * 1000, ())] * 500)
    many, _ = lived([("龙" * 1000, "x" * 1000, ())] * (MAX_SEEN + 500))
    held = len(many._seen) - len(few._seen)
    assert (len(few.past), len(many.past)) == (262, 262)
    assert many.weight() - few.weight() == held * (ENTRY_BYTES + TEXT_BYTES)
