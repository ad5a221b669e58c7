"""What a session's channels are told of each other never contradicts itself, and does not flap."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.core.channels import (
    GIVE_UP_MS,
    PATIENCE_MS,
    QUIET_MS,
    STEADY_MS,
    Channels,
    Degradation,
    Tell,
    Urgency,
)

URGENT, QUIET = Urgency(0, True, 500, "state"), Urgency(0, False, 5_000, "quiet")


def test_an_urgent_change_hurries_everybody_until_it_was_quiet_for_ten_seconds() -> None:
    channels = Channels()
    assert channels.changed(0, 7, urgent=True) == [Urgency(7, True, 500, "state")]
    assert channels.changed(5_000, 8, urgent=True) == []
    assert channels.due() == 5_000 + QUIET_MS
    assert channels.tick(5_000 + QUIET_MS - 1) == []
    assert channels.tick(5_000 + QUIET_MS) == [Urgency(8, False, 5_000, "quiet")]
    assert channels.due() is None


def test_a_change_that_is_not_urgent_tells_nobody_anything() -> None:
    assert Channels().changed(0, 1, urgent=False) == []


def test_a_stalled_watcher_is_told_of_at_once_and_its_return_only_once_it_flows_for_a_while() -> None:
    channels = Channels()
    channels.at(3)
    channels.watcher(0, 1, "flows")
    assert channels.watcher(10, 1, "stalled") == [Urgency(3, True, 500, "grpc_stalled"), Degradation(3, "ws+poll")]
    assert channels.watcher(20, 1, "flows") == []
    assert channels.due() == 20 + STEADY_MS
    assert channels.tick(20 + STEADY_MS) == [Degradation(3, "normal")]


def test_a_watcher_that_comes_again_within_a_second_was_never_gone() -> None:
    channels = Channels()
    channels.watcher(0, 1, "flows")
    assert channels.watcher(100, 1, "lost") == []
    assert channels.watcher(100 + PATIENCE_MS - 1, 2, "flows") == []
    assert channels.tick(10_000) == []


def test_a_watcher_that_stays_away_is_told_of_and_after_five_minutes_not_waited_for_any_more() -> None:
    channels = Channels()
    channels.watcher(0, 1, "flows")
    channels.watcher(0, 1, "lost")
    assert channels.tick(PATIENCE_MS) == [Urgency(0, True, 500, "grpc_lost"), Degradation(0, "ws+poll")]
    assert channels.tick(PATIENCE_MS + QUIET_MS) == [QUIET]
    assert channels.due() == GIVE_UP_MS
    channels.tick(GIVE_UP_MS)
    assert channels.tick(GIVE_UP_MS + STEADY_MS) == [Degradation(0, "normal")]


def test_a_watcher_that_ends_as_it_should_is_not_missed() -> None:
    channels = Channels()
    channels.watcher(0, 1, "flows")
    assert channels.left(5, 1) == []
    assert channels.due() is None


def test_who_comes_in_is_told_what_is_not_as_usual() -> None:
    channels = Channels()
    assert channels.standing() == []
    channels.watcher(0, 1, "stalled")
    assert channels.standing() == [Urgency(0, True, 500, "grpc_stalled"), Degradation(0, "ws+poll")]


STEPS = st.lists(
    st.tuples(
        st.floats(0, 20_000),
        st.sampled_from(["change", "urgent", "flows", "stalled", "lost", "left", "time"]),
        st.integers(1, 3),
    ),
    max_size=60,
)


def played(steps: list[tuple[float, str, int]]) -> list[tuple[float, Tell]]:
    """What is told and when, by a shell that comes back when it is due."""
    channels, now, version, told = Channels(), 0.0, 0, []
    for wait, what, who in steps:
        then = now + wait
        while (due := channels.due()) is not None and due <= then:
            now = due
            told += [(now, tell) for tell in channels.tick(now)]
            assert (channels.due() or now + 1) > now, "it would spin"
        now = then
        version += what in ("change", "urgent")
        match what:
            case "change" | "urgent":
                tells = channels.changed(now, version, urgent=what == "urgent")
            case "flows" | "stalled" | "lost":
                tells = channels.watcher(now, who, what)
            case "left":
                tells = channels.left(now, who)
            case _:
                tells = channels.tick(now)
        told += [(now, tell) for tell in tells]
    return told


@given(STEPS)
def test_what_is_told_alternates_and_versions_never_go_back(steps: list[tuple[float, str, int]]) -> None:
    told = [tell for _, tell in played(steps)]
    urgencies = [tell.is_urgent for tell in told if isinstance(tell, Urgency)]
    modes = [tell.mode for tell in told if isinstance(tell, Degradation)]
    assert urgencies == [number % 2 == 0 for number in range(len(urgencies))]
    assert modes == [("ws+poll", "normal")[number % 2] for number in range(len(modes))]
    versions = [tell.version for tell in told]
    assert versions == sorted(versions)


@given(st.lists(st.tuples(st.floats(1, 20_000), st.sampled_from(["flows", "stalled"])), max_size=200))
def test_a_watcher_that_comes_and_goes_is_told_of_less_and_less(flaps: list[tuple[float, str]]) -> None:
    told = played([(wait, word, 1) for wait, word in flaps])
    back = [at for at, tell in told if isinstance(tell, Degradation) and tell.mode == "normal"]
    away = [at for at, tell in told if isinstance(tell, Degradation) and tell.mode == "ws+poll"]
    assert all(later - earlier >= STEADY_MS for earlier, later in zip(away, back, strict=False))
    relapses = list(zip(back, away[1:], back[1:], strict=False))
    steady = STEADY_MS
    for was_back, relapsed, back_again in relapses:
        steady = min(60_000, 2 * steady) if relapsed < was_back + 60_000 else STEADY_MS
        assert back_again - relapsed >= steady
