"""When a client is asked for a sign of life, and when it is given up."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.core.heartbeat import MEASURE_MS, Beat, Heartbeat


def test_silence_from_before_an_urgent_time_is_no_miss_in_it() -> None:
    pulse = Heartbeat(0, 5_000)
    pulse.urgent(4_900, True)
    assert pulse.every_ms == 500
    assert [pulse.beat(4_900 + 500 * number) for number in (1, 2, 3)] == [Beat.ASK, Beat.ASK, Beat.DEAD]


def test_a_client_that_talks_is_not_asked_but_for_the_round_trip() -> None:
    pulse, asked = Heartbeat(0, 5_000), []
    for now in range(5_000, 65_000, 5_000):
        pulse.heard(now - 100)
        if pulse.beat(now) is Beat.ASK:
            asked.append(now)
    assert asked == [MEASURE_MS, 2 * MEASURE_MS]


def test_the_round_trip_is_a_running_mean_and_nonsense_is_not_in_it() -> None:
    pulse = Heartbeat(0, 5_000)
    assert (pulse.answered(180, 100), pulse.rtt_ms) == (80, 80)
    assert (pulse.answered(100, 180), pulse.rtt_ms) == (None, 80)
    assert (pulse.answered(360, 200), pulse.rtt_ms) == (160, 90)


@given(st.lists(st.integers(1, 20_000), max_size=20), st.booleans(), st.integers(0, 10**6))
def test_a_client_that_fell_silent_is_dead_within_forty_seconds_whatever_it_wished(
    wishes: list[int], urgent: bool, silent_from: int
) -> None:
    pulse, now = Heartbeat(0, 5_000), float(silent_from)
    pulse.heard(now)
    pulse.urgent(now, urgent)
    for wish in wishes:
        pulse.choose(now, wish)
    while pulse.beat(now := now + pulse.every_ms) is not Beat.DEAD:
        assert now < silent_from + 40_000
    assert now <= silent_from + 40_000
