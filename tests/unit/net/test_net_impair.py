"""The link that loses packets does what it says, the same at every run."""

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.net.impair import MAX_QUEUED, Weather, Wire


def wire(**weather: float) -> Wire:
    made = Wire(random.Random(7))
    made.weather = Weather(**weather)  # type: ignore[arg-type]
    return made


@given(st.floats(0, 0.9), st.floats(0, 50), st.integers(0, 2**32))
def test_packets_are_lost_by_the_seed_and_never_overtake_each_other(loss: float, jitter: float, seed: int) -> None:
    def run() -> list[bytes]:
        made = Wire(random.Random(seed))
        made.weather = Weather(delay_ms=10, jitter_ms=jitter, loss=loss)
        for number in range(100):
            made.put(number / 1000, number.to_bytes(2, "big"))
        return made.take(10.0)

    assert run() == run() == sorted(run())


def test_a_packet_comes_after_its_delay_and_a_narrow_link_takes_its_time() -> None:
    slow = wire(delay_ms=40, bytes_per_second=1000)
    slow.put(0.0, b"x" * 100)
    slow.put(0.0, b"y" * 100)
    assert (slow.take(0.139), slow.take(0.141), slow.take(0.239)) == ([], [b"x" * 100], [])
    assert slow.take(0.241) == [b"y" * 100]


def test_a_hole_swallows_what_is_under_way_and_what_comes() -> None:
    made = wire(delay_ms=10)
    made.put(0.0, b"under way")
    made.weather = Weather(hole=True)
    made.put(0.0, b"late")
    assert (made.take(1.0), made.lost) == ([], 1)


def test_a_blocked_port_blocks_nothing_else() -> None:
    made = wire(block=8084)
    for port in (8084, 8080):
        made.put(0.0, bytes([0x45, *[0] * 8, 6, *[0] * 10]) + (40_000).to_bytes(2, "big") + port.to_bytes(2, "big"))
    assert len(made.take(1.0)) == 1


def test_a_full_queue_drops_the_newest() -> None:
    made = wire(delay_ms=10)
    for _ in range(MAX_QUEUED + 5):
        made.put(0.0, b"x")
    assert (made.lost, made.carried) == (5, MAX_QUEUED)
