"""Records survive the way to Redis and back, and say so when they did not."""

import base64
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.link.messages import Degraded, PatchOp, Transition
from rolehost_api.wire import BehaviorTransition, HeardPart, ResponseAmended, ResponseDone, StateDelta, Usage
from rolehost_runtime.core import record
from rolehost_runtime.core.record import Amend, CorruptRecord, JournalEntry, Record, TurnRecord

RECORD = TurnRecord(
    log_id="l1",
    epoch=3,
    turn=2,
    seq_first=5,
    seq_count=2,
    version=2,
    now_ms=1_700_000_000_000,
    at_ms=1_700_000_000_500,
    revision="cat-9c1f9c1f9c",
    response_id="r2",
    input="龙",
    reply="从前",
    client_msg_id="c-7",
    patch=(PatchOp("replace", "/dragons", 1),),
    degraded=(Degraded("on_reply", "hook_deadline"),),
    usage=Usage(input_tokens=10, output_tokens=2),
)


AMEND = Amend(
    log_id="l1",
    epoch=3,
    turn=2,
    number=1,
    seq_first=7,
    at_ms=1_700_000_000_900,
    response_id="r2",
    reply="从",
    heard=HeardPart(chars=1, audio_ms=640),
)
RECORDED = json.loads(Path(__file__).with_name("recorded").joinpath("records-v1.json").read_text())
"""As an encoder that knew only version 1 wrote them."""


def stored(item: Record) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in record.encode(item).items()}


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_record_comes_back_as_it_went(said: str, reply: str) -> None:
    item = msgspec.structs.replace(RECORD, input=said, reply=reply)
    assert record.decode(stored(item)) == item


def test_an_amend_comes_back_as_it_went() -> None:
    assert record.decode(stored(AMEND)) == AMEND
    assert (AMEND.position, record.following(AMEND), record.last_seq(AMEND)) == ((2, 1), (2, 2), 7)


def test_records_of_version_1_are_still_read_and_turns_still_written_so() -> None:
    fields = [{name.encode(): base64.b64decode(value) for name, value in one.items()} for one in RECORDED]
    assert [record.decode(one) for one in fields] == [
        RECORD,
        msgspec.structs.replace(
            RECORD, turn=3, seq_first=7, seq_count=1, patch=(), degraded=(), status="cancelled", client_msg_id=None,
            journal=(JournalEntry(index=0, kind="call_model", outcome="x"),), rng_seed=9, user="u-17",
        ),
    ]  # fmt: skip
    assert [stored(record.decode(one)) for one in fields] == fields


SHARED = msgspec.structs.replace(
    RECORD,
    seq_count=3,
    user="u-17",
    user_base=4,
    user_patch=(PatchOp("incr", "/dragons", 2), PatchOp("add", "/met/Ann", True)),
    user_version=7,
)


def test_a_recorded_change_of_user_scope_state_is_still_read() -> None:
    found = json.loads(Path(__file__).with_name("recorded").joinpath("records-v1-user.json").read_text())
    fields = {name.encode(): base64.b64decode(value) for name, value in found[0].items()}
    assert record.decode(fields) == SHARED
    assert stored(SHARED) == {name: value for name, value in fields.items() if name != b"uv"}, "the store adds it"


def test_a_change_of_user_scope_state_is_told_with_its_scope_before_the_end() -> None:
    state, shared, done = record.render(SHARED, "abc")
    assert isinstance(state, StateDelta)
    assert isinstance(shared, StateDelta)
    assert isinstance(done, ResponseDone)
    assert [event.seq for event in (state, shared, done)] == [5, 6, 7]
    assert [(one.scope, one.version) for one in (state, shared)] == [("session", 2), ("user", 7)]
    assert (done.user_state, record.last_seq(SHARED)) == ("user", 7)
    assert record.event_count(SHARED.patch, SHARED.user_patch) == 3
    alone = msgspec.structs.replace(RECORD, patch=(PatchOp("incr", "/@user/dragons", 1),))
    ends = [one for one in record.render(alone, "abc") if isinstance(one, ResponseDone)]
    assert [one.user_state for one in ends] == ["session"]


MOVED = msgspec.structs.replace(
    RECORD,
    seq_count=4,
    patch=(PatchOp("incr", "/dragons", 1), PatchOp("replace", "/@behavior/main/node", "Explore")),
    rng_seed=7,
    transitions=(
        Transition(
            subgraph="main",
            source="Idle",
            target="Explore",
            weight=0.8,
            of=1.0,
            why="hears_dragon",
            place=1,
            draw=2**64 - 1,
        ),
        Transition(subgraph="mood", source="gone", target="calm", why="node_gone"),
    ),
)


def test_a_recorded_step_of_the_behavior_graph_is_still_read() -> None:
    found = json.loads(Path(__file__).with_name("recorded").joinpath("records-v1-behavior.json").read_text())
    fields = {name.encode(): base64.b64decode(value) for name, value in found[0].items()}
    assert record.decode(fields) == MOVED
    assert stored(MOVED) == fields


def test_steps_are_told_before_what_they_changed_and_where_they_lead_is_kept_to_ourselves() -> None:
    one, other, state, done = record.render(MOVED, "abc", replay=True)
    assert isinstance(one, BehaviorTransition)
    assert isinstance(other, BehaviorTransition)
    assert isinstance(state, StateDelta)
    assert [event.seq for event in (one, other, state, done)] == [5, 6, 7, 8]
    assert (one.from_, one.to, one.edge.why, one.subgraph, one.replay) == (
        "Idle",
        "Explore",
        "hears_dragon",
        "main",
        True,
    )
    assert (other.edge.weight, other.edge.why) == (0.0, "node_gone")
    assert state.patch == (PatchOp("incr", "/dragons", 1),)
    assert record.event_count(MOVED.patch, (), 2) == MOVED.seq_count
    alone = msgspec.structs.replace(MOVED, patch=MOVED.patch[1:])
    empty = [one for one in record.render(alone, "abc") if isinstance(one, StateDelta)]
    assert [(one.version, one.patch) for one in empty] == [(2, ())]


@given(st.integers(0), st.integers(1, 255))
def test_a_flipped_bit_is_said(place: int, flip: int) -> None:
    fields = stored(RECORD)
    body = bytearray(fields[b"body"])
    body[place % len(body)] ^= flip
    with pytest.raises(CorruptRecord):
        record.decode(fields | {b"body": bytes(body)})


@pytest.mark.parametrize("lost", [b"v", b"crc32", b"body"])
def test_a_lost_field_is_said(lost: bytes) -> None:
    fields = stored(RECORD)
    del fields[lost]
    with pytest.raises(CorruptRecord):
        record.decode(fields)


def test_a_newer_record_is_refused_and_not_misread() -> None:
    with pytest.raises(CorruptRecord, match="schema version"):
        record.decode(stored(RECORD) | {b"v": b"3"})


def test_a_turn_is_not_read_as_an_amend() -> None:
    with pytest.raises(CorruptRecord):
        record.decode(stored(RECORD) | {b"v": b"2"})
    with pytest.raises(CorruptRecord):
        record.decode(stored(AMEND) | {b"v": b"1"})


def test_what_was_heard_is_rendered_with_a_cancelled_turn_and_with_an_amend() -> None:
    heard = HeardPart(chars=1, audio_ms=640)
    cancelled = msgspec.structs.replace(RECORD, status="cancelled", reply="从", heard=heard)
    done = record.render(record.decode(stored(cancelled)), "abc")[-1]
    assert isinstance(done, ResponseDone)
    assert (done.status, done.message, done.truncated_at) == ("cancelled", "从", heard)
    (amended,) = record.render(AMEND, "abc", replay=True)
    assert isinstance(amended, ResponseAmended)
    assert (amended.seq, amended.response_id, amended.message) == (7, "r2", "从")
    assert (amended.truncated_at, amended.replay) == (heard, True)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=12), st.integers(0, 60))
def test_who_reads_on_from_a_place_misses_nothing(turns: list[tuple[int, int]], heard: int) -> None:
    """`turns`: how many events each has, and how many amends come after it."""
    seq, number, places = 0, 0, []
    for turn, (events, amends) in enumerate(turns, 1):
        seq += events
        places.append(((turn, 0), seq))
        for _ in range(amends):
            seq, number = seq + 1, number + 1
            places.append(((turn, number), seq))
    heard = min(heard, seq)
    start = record.place_after(heard, len(turns), seq, number)
    assert all(last <= heard for place, last in places if place < start)
    to_come = ((len(turns), number + 1), (len(turns) + 1, 0))
    assert all(start <= place for place in to_come), "what is written from now on comes after it"


def test_rendering_is_gapless_and_ends_in_done() -> None:
    state, done = record.render(RECORD, "abc", replay=True)
    assert isinstance(state, StateDelta)
    assert isinstance(done, ResponseDone)
    assert (state.seq, done.seq) == (5, 6)
    assert (done.message, done.client_msg_id, done.replay) == ("从前", "c-7", True)
    assert done.degraded is not None
    assert record.event_count(RECORD.patch) == RECORD.seq_count
