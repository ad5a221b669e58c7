"""What a herd's clients understand of what they are told."""

from tests.bench.heard import Heard
from tests.bench.lean import head, take, text


def test_events_in_order_make_it_whole() -> None:
    heard = Heard(after_seq=4)
    assert not heard.whole  # nobody said yet where the log stands
    heard.promised(6)
    heard.event(5)
    assert not heard.whole
    heard.event(6)
    assert heard.whole
    assert (heard.doubled, heard.skipped) == (0, 0)


def test_who_missed_nothing_is_whole_once_that_is_said() -> None:
    heard = Heard(after_seq=4)
    heard.promised(4)
    assert heard.whole


def test_an_event_told_twice_and_one_left_out_are_counted() -> None:
    heard = Heard(after_seq=0)
    heard.promised(4)
    for seq in (1, 1, 4):
        heard.event(seq)
    assert (heard.whole, heard.doubled, heard.skipped) == (True, 1, 2)


def test_frames_come_out_whole_however_they_were_cut() -> None:
    bodies = [b"", b"x" * 125, b"y" * 126, b"z" * 70_000]
    wire = b"".join(served(body) for body in bodies)
    for size in (1, 7, 1000):
        data, found = bytearray(), []
        for start in range(0, len(wire), size):
            data += wire[start : start + size]
            while (frame := take(data)) is not None:
                found.append(frame)
        assert found == [(1, body) for body in bodies]
        assert not data


def test_what_a_client_says_is_masked_with_nothing() -> None:
    assert text(b"hi") == bytes((0x81, 0x82, 0, 0, 0, 0)) + b"hi"
    assert text(b"x" * 300)[:4] == bytes((0x81, 0xFE, 1, 44))
    assert head("/role/cat", "A: b").startswith(b"GET /role/cat HTTP/1.1\r\nHost: ")
    assert head("/role/cat", "A: b").endswith(b"\r\nA: b\r\n\r\n")


def served(body: bytes) -> bytes:
    """A frame of text as a server sends it."""
    if len(body) < 126:
        return bytes((0x81, len(body))) + body
    if len(body) < 1 << 16:
        return bytes((0x81, 126)) + len(body).to_bytes(2, "big") + body
    return bytes((0x81, 127)) + len(body).to_bytes(8, "big") + body
