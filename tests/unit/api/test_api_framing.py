"""The link's framing: whatever the pieces, the same messages; whatever the bytes, a clear end."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link import framing
from rolehost_api.link.messages import Commit, Credit, Hello, PatchOp, Probe, Say, StartTurn, ToGateway, ToPod

HELLO = Hello(protocols=(1,), nonce=b"n" * 32, probe=Probe(gvisor=True, token=False))
messages = st.one_of(
    st.builds(Say, index=st.integers(0, 1024), text=st.text(max_size=200)),
    st.builds(Credit, bytes=st.integers(1, 1000)),
    st.builds(Say, index=st.just(0), text=st.integers(21_000, 65_536).map(lambda n: "龙" * n)),
    st.builds(
        Commit,
        patch=st.lists(
            st.builds(PatchOp, op=st.just("replace"), path=st.just("/a"), value=st.integers(-(2**63), 2**64 - 1))
        ).map(tuple),
    ),
)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), messages), max_size=6), st.data())
def test_any_cut_gives_the_same_messages(sent: list[tuple[int, ToGateway]], data: st.DataObject) -> None:
    stream = b"".join(framing.encode(channel, message) for channel, message in sent)
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    heard = []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += [(channel, message) for channel, message, _ in decoder.feed(stream[start:end])]
    assert heard == sent


def test_interleaved_channels_are_assembled_apart() -> None:
    def frames(channel: int, text: str) -> list[bytes]:
        whole = framing.encode(channel, Say(index=0, text=text))
        size = framing.HEADER.size + framing.MAX_PAYLOAD
        return [whole[start : start + size] for start in range(0, len(whole), size)]

    first, second = frames(1, "a" * 65_536), frames(2, "b" * 65_536)
    assert len(first) == len(second) == 2
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    heard = decoder.feed(first[0] + second[0] + second[1] + first[1])
    assert [(channel, message.text[0]) for channel, message, _ in heard] == [(2, "b"), (1, "a")]  # type: ignore[union-attr]


@given(st.binary(max_size=4096))
def test_garbage_never_raises_anything_else(garbage: bytes) -> None:
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    with contextlib.suppress(ProtocolViolation):
        decoder.feed(garbage)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(framing.HEADER.pack(65_537, 0, 0), id="frame-over-64-KiB"),
        pytest.param(framing.HEADER.pack(1, 2, 0) + b"x", id="unknown-flags"),
        pytest.param(framing.HEADER.pack(1, 0, 0) + b"\xc1", id="no-msgpack"),
        pytest.param(framing.encode(0, StartTurn(session="s", session_id="i", turn=1, version=0, message="m", now_ms=0, rng_seed=0, deadline_ms=1)), id="the-other-end's-message"),
    ],
)  # fmt: skip
def test_what_breaks_a_bound_ends_the_link(frame: bytes) -> None:
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    with pytest.raises(ProtocolViolation):
        decoder.feed(frame)


def test_a_message_over_1_mib_ends_the_link() -> None:
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    part = framing.HEADER.pack(framing.MAX_PAYLOAD, framing.MORE, 7) + bytes(framing.MAX_PAYLOAD)
    for _ in range(framing.MAX_MESSAGE // framing.MAX_PAYLOAD):
        decoder.feed(part)
    with pytest.raises(ProtocolViolation):
        decoder.feed(part)


def test_a_commit_that_no_state_needs_is_refused_before_it_is_decoded() -> None:
    """A MiB of empty maps is 75 MiB and some 100 ms on everybody's event loop."""
    count = framing.MAX_MESSAGE - 100
    values = b"\xdd" + count.to_bytes(4, "big") + b"\x80" * count
    operation = b"\x83\xa2op\xa3add\xa4path\xa2/x\xa5value" + values
    for payload in (
        b"\x82\xa1t\xa6commit\xa5patch\x91" + operation,
        b"\x82\xa5patch\x91" + operation + b"\xa1t\xa6commit",
    ):
        parts = [payload[start : start + framing.MAX_PAYLOAD] for start in range(0, len(payload), framing.MAX_PAYLOAD)]
        frames = [
            framing.HEADER.pack(len(part), framing.MORE if part is not parts[-1] else 0, 1) + part for part in parts
        ]
        decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
        decoder._decode = pytest.fail  # type: ignore[assignment]
        with pytest.raises(ProtocolViolation, match="Commit"):
            decoder.feed(b"".join(frames))


def test_the_largest_commit_travels_and_a_larger_one_is_not_sent() -> None:
    def commit(size: int) -> Commit:
        return Commit(patch=(PatchOp("add", "/a", "a" * size),))

    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    largest = commit(framing.MAX_COMMIT - 64)
    assert [message for _, message, _ in decoder.feed(framing.encode(1, largest))] == [largest]
    with pytest.raises(ProtocolViolation):
        framing.encode(1, commit(framing.MAX_COMMIT))


def test_unfinished_messages_are_bounded_together() -> None:
    decoder: framing.Decoder[ToGateway] = framing.Decoder(ToGateway)
    many = b"".join(framing.HEADER.pack(1, framing.MORE, channel) + b"x" for channel in range(2000))
    with pytest.raises(ProtocolViolation):
        decoder.feed(many)


def test_an_oversized_message_is_not_sent() -> None:
    with pytest.raises(ProtocolViolation):
        framing.encode(1, StartTurn(session="s", session_id="i", turn=1, version=0, message="m" * (1 << 20), now_ms=0, rng_seed=0, deadline_ms=1))  # fmt: skip


def test_what_msgpack_cannot_carry_is_not_sent() -> None:
    with pytest.raises(ProtocolViolation):
        framing.encode(1, Commit(patch=(PatchOp("replace", "/a", 2**64),)))


def test_the_two_directions_are_closed_sets() -> None:
    decoder: framing.Decoder[ToPod] = framing.Decoder(ToPod)
    with pytest.raises(ProtocolViolation):
        decoder.feed(framing.encode(0, HELLO))
