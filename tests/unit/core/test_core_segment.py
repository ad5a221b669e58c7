"""A segment is what was written, whole, or it is corrupt; its name says which."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rolehost_api.wire import HeardPart
from rolehost_runtime.core import segment
from rolehost_runtime.core.record import Amend, CorruptRecord, Record, TurnRecord, encode
from rolehost_runtime.core.segment import Entry, Segment, Shelved, entry, pack, readable, unpack


def turn(number: int, reply: str = "从前", seq: int | None = None) -> TurnRecord:
    return TurnRecord(
        log_id="l1", epoch=3, turn=number, seq_first=seq or number, seq_count=1, version=0, now_ms=1, at_ms=1,
        revision="cat-1", response_id=f"r{number}", input="hi", reply=reply,
    )  # fmt: skip


def amend(of: int, number: int, seq: int) -> Amend:
    return Amend(
        log_id="l1", epoch=3, turn=of, number=number, seq_first=seq, at_ms=2, response_id=f"r{of}", reply="从",
        heard=HeardPart(chars=1),
    )  # fmt: skip


def kept(record: Record) -> Entry:
    return entry(record.position, {name.encode(): value for name, value in encode(record).items()})


def packed(*records: Record) -> tuple[str, bytes]:
    return pack("u-1", "k1", Segment(log_id="l1", epoch=3, entries=tuple(map(kept, records))))


@given(st.lists(st.text(max_size=200), min_size=1, max_size=20))
def test_what_was_packed_is_unpacked_byte_for_byte(replies: list[str]) -> None:
    entries = tuple(kept(turn(number, reply)) for number, reply in enumerate(replies, 1))
    whole = Segment(log_id="l1", epoch=3, entries=entries)
    name, data = pack("u-1", "k1", whole)
    assert unpack(name, data) == whole
    assert [one.record().reply for one in unpack(name, data).entries] == replies
    assert Shelved.of(name).last == (len(replies), 0)


@given(st.data())
def test_a_segment_that_was_touched_is_corrupt(data: st.DataObject) -> None:
    name, whole = packed(turn(1), turn(2), amend(2, 1, 3))
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for wrong in (flipped, whole[:at], whole + b"\x00"):
        with pytest.raises(CorruptRecord, match="checksum"):
            unpack(name, wrong)


def named(data: bytes, places: str = "1.0-1.0") -> str:
    return f"u-1/k1/k1/l1/3-{places}-{segment._digest(data)}"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"rolehost-segment-9 " + zlib.compress(b""), "schema version", id="of-a-later-version"),
        pytest.param(segment.MAGIC + b"no zlib", "cannot be read", id="not-compressed"),
        pytest.param(segment.MAGIC + zlib.compress(b"\xc1"), "cannot be read", id="no-msgpack"),
        pytest.param(segment.MAGIC + zlib.compress(bytes(segment.MAX_BYTES + 1)), "larger", id="a-bomb"),
        pytest.param(packed(turn(2))[1], "what its name says", id="of-other-records"),
        pytest.param(packed(turn(1), turn(1))[1], "what its name says", id="one-record-twice"),
    ],
)
def test_what_fits_its_checksum_and_is_no_segment_is_said(data: bytes, why: str) -> None:
    with pytest.raises(CorruptRecord, match=why):
        unpack(named(data), data)


def test_two_contents_of_one_place_have_two_names() -> None:
    assert packed(turn(1, "a"))[0] != packed(turn(1, "b"))[0]
    assert packed(turn(1, "a"))[0] == packed(turn(1, "a"))[0]


@pytest.mark.parametrize(
    "name", ["", "u/t/k/l/3-1.0-2.0", "u/t/k/../l/3-1.0-2.0-" + 32 * "a", "a b/t/k/l/1-1.0-1.0-" + 32 * "a"]
)
def test_other_names_are_none_of_a_segment(name: str) -> None:
    with pytest.raises(CorruptRecord):
        Shelved.of(name)


@pytest.mark.parametrize("words", [("../x", "k"), ("u", "k/../.."), ("", "k"), ("u", "k ")])
def test_no_word_of_a_client_gets_into_a_name(words: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="folder"):
        segment.folder(*words)


def test_a_log_with_a_hole_or_a_bad_record_is_not_readable() -> None:
    good = [kept(turn(1)), kept(turn(2)), kept(amend(2, 1, 3))]
    assert readable(good, None) == readable(good, 0) == 3
    with pytest.raises(CorruptRecord, match="gap"):
        readable([good[0], good[2]], None)
    with pytest.raises(CorruptRecord, match="gap"):
        readable(good, 1)
    with pytest.raises(CorruptRecord, match="checksum"):
        readable([good[0], replace(good[1], body=b"?")], None)
    with pytest.raises(CorruptRecord, match="where its number says"):
        readable([replace(good[0], turn=7)], None)
