"""Which sessions run apart: bounded, forgiving, and only where workers were lost."""

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.sandbox.quarantine import FORGET_SECONDS, GOOD_TURNS, LOSSES, Quarantine

sessions = st.sampled_from("abcdefgh")
events = st.lists(st.tuples(sessions, st.booleans(), st.floats(0, 300)), max_size=80)


@given(events)
def test_it_holds_who_lost_enough_and_has_not_made_up_for_it(happened: list[tuple[str, bool, float]]) -> None:
    """Against a model that remembers everything: losses since a session was last forgiven, by turns or by time."""
    quarantine, now = Quarantine(), 0.0
    told: dict[str, list[tuple[float, bool]]] = {}
    for session, lost, passed in happened:
        now += passed
        history = told.setdefault(session, [])
        last_loss = max((at for at, was_loss in history if was_loss), default=None)
        if last_loss is not None and now - last_loss >= FORGET_SECONDS:
            history.clear()
        if lost:
            quarantine.lost(session, now)
            history.append((now, True))
        else:
            quarantine.holds(session, now)  # as before every turn
            quarantine.ended_well(session)
            history.append((now, False))
            if [was_loss for _, was_loss in history[-GOOD_TURNS:]] == [False] * GOOD_TURNS:
                history.clear()
        losses = sum(was_loss for _, was_loss in history)
        assert quarantine.holds(session, now) is (losses >= LOSSES)


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(1, 8))
def test_what_it_remembers_is_bounded_and_the_newest_are_kept(lost: list[str], most: int) -> None:
    quarantine = Quarantine(max_sessions=most)
    for now, session in enumerate(lost):
        quarantine.lost(session, float(now))
        quarantine.lost(session, float(now))
        assert len(quarantine) <= most
        assert quarantine.holds(session, float(now))


def test_a_session_that_never_cost_a_worker_is_never_held() -> None:
    quarantine = Quarantine()
    for _ in range(10):
        quarantine.ended_well("a")
    assert not quarantine.holds("a", 0.0)
    assert len(quarantine) == 0
