"""Records survive the way to Redis and back, and say so when they did not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import ResponseDone, StateDelta, Usage
from rolehost_runtime.core import record
from rolehost_runtime.core.record import CorruptRecord, TurnRecord

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


def stored(item: TurnRecord) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in record.encode(item).items()}


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_record_comes_back_as_it_went(said: str, reply: str) -> None:
    item = msgspec.structs.replace(RECORD, input=said, reply=reply)
    assert record.decode(stored(item)) == item


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
        record.decode(stored(RECORD) | {b"v": b"2"})


def test_rendering_is_gapless_and_ends_in_done() -> None:
    state, done = record.render(RECORD, "abc", replay=True)
    assert isinstance(state, StateDelta)
    assert isinstance(done, ResponseDone)
    assert (state.seq, done.seq) == (5, 6)
    assert (done.message, done.client_msg_id, done.replay) == ("从前", "c-7", True)
    assert done.degraded is not None
    assert record.event_count(RECORD.patch) == RECORD.seq_count
