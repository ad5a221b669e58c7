"""Our frames beside those of `websockets`: what one takes the other takes, however it comes in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.edge import frame
from websockets.frames import Frame as Theirs
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from rolehost_runtime.gateway.edge.frames import BINARY, CLOSE, CONT, PING, TEXT, Frames, closing, framed, unmasked
from rolehost_runtime.gateway.edge.handshake import answer

MAX = 1_000
SIZES = st.sampled_from([0, 1, 125, 126, 127, 400, MAX, MAX + 1]) | st.integers(0, 600)
GOODBYES = st.builds(
    lambda code, why: code.to_bytes(2, "big") + why,
    st.sampled_from([1000, 1004, 1005, 1013, 1015, 3000, 4999, 5000]) | st.integers(0, 5000),
    st.binary(max_size=6),
)
HONEST = st.builds(
    lambda opcode, size, fin: frame(opcode, bytes(size), fin=fin),
    st.sampled_from([CONT, TEXT, BINARY]), SIZES, st.booleans(),
)  # fmt: skip
WIRE = st.one_of(
    HONEST,
    HONEST,
    st.binary(max_size=125).map(lambda data: frame(PING, data)),
    st.builds(lambda opcode, size: frame(opcode, bytes(size)), st.integers(0, 15), st.integers(0, 130)),
    GOODBYES.map(lambda data: frame(CLOSE, data)),
    st.binary(max_size=20),
)


def theirs(pieces: list[bytes]) -> tuple[list[tuple[int, bytes, bool]], int]:
    """The frames that the library takes, and the close code that it answers by itself."""
    talk = ServerProtocol(state=OPEN, max_size=MAX)
    for piece in pieces:
        if not talk.eof_sent:
            talk.receive_data(piece)
    events = [(int(one.opcode), bytes(one.data), one.fin) for one in talk.events_received() if isinstance(one, Theirs)]
    return events, talk.close_sent.code if talk.parser_exc is not None and talk.close_sent is not None else 0


def ours(pieces: list[bytes]) -> tuple[list[tuple[int, bytes, bool]], int]:
    frames = Frames(MAX)
    found = [tuple(one) for piece in pieces for one in frames.feed(piece)]
    return found, frames.wrong  # type: ignore[return-value]


@given(st.lists(WIRE, min_size=1, max_size=6).map(b"".join), st.lists(st.integers(1, 300), max_size=8))
def test_the_library_takes_the_same(sent: bytes, cuts: list[int]) -> None:
    pieces = []
    for cut in cuts:
        pieces.append(sent[:cut])
        sent = sent[cut:]
    pieces = [piece for piece in (*pieces, sent) if piece]
    (mine, wrong), (found, said) = ours(pieces), theirs(pieces)
    if wrong != said:  # ours says by a frame's head what theirs says once its bytes are there, or by another rule
        assert wrong in (1002, 1009)
        assert said in (0, 1002, 1009)
    assert mine == found


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_a_mask_taken_off_twice_is_the_same(data: bytes, mask: bytes) -> None:
    masked = unmasked(data, mask)
    assert [*masked[:9]] == [byte ^ mask[at % 4] for at, byte in enumerate(data[:9])]
    assert unmasked(masked, mask) == data


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_what_a_server_sends_is_as_the_library_sends_it(size: int) -> None:
    assert framed(TEXT, b"x" * size) == Theirs(Opcode.TEXT, b"x" * size).serialize(mask=False)
    assert closing(4404, "gone") == Theirs(Opcode.CLOSE, (4404).to_bytes(2, "big") + b"gone").serialize(mask=False)


def test_a_frame_that_is_too_large_is_refused_by_its_head() -> None:
    frames = Frames(MAX)
    assert frames.feed(b"\x81\xff" + (1 << 62).to_bytes(8, "big")) == []
    assert (frames.wrong, frames._rest) == (1009, b"")


def test_a_message_in_pieces_is_as_large_as_one_in_a_frame() -> None:
    frames = Frames(MAX)
    assert len(frames.feed(frame(TEXT, bytes(600), fin=False) + frame(CONT, bytes(400), fin=False))) == 2
    assert (frames.feed(frame(PING, b"?"))[0].data, frames.wrong) == (b"?", 0)
    assert (frames.feed(frame(CONT, b"1")), frames.wrong) == ([], 1009)


ASKED = [
    ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("POST", []),
        ("GET", [("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")]),
        ("GET", [("sec-websocket-version", "8")]),
        ("GET", [("origin", "https://a"), ("origin", "https://b")]),
        ("GET", [("upgrade", "h2c")]),
        ("GET", [("sec-websocket-protocol", "role.v1;")]),
        ("GET", [("sec-websocket-protocol", "role.v1 bearer.x")]),
    ],
)
def test_what_is_no_handshake_is_refused(method: str, changed: list[tuple[str, str]]) -> None:
    taken, said = answer(method, [*ASKED, *changed])
    assert (taken, said[:12]) == (False, b"HTTP/1.1 400")


@pytest.mark.parametrize("offered", [["role.v1, bearer.k"], ["bearer.k", "role.v1"], ["other"], []])
def test_of_the_words_that_are_offered_ours_alone_is_taken(offered: list[str]) -> None:
    taken, said = answer("GET", [*ASKED, *(("sec-websocket-protocol", words) for words in offered)])
    assert (taken, b"bearer" in said) == (True, False)
    assert (b"\r\nSec-WebSocket-Protocol: role.v1\r\n" in said) == any("role.v1" in words for words in offered)
