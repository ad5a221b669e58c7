"""Timers and the hooks around a conversation, as who writes a Role tries them."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rolehost import LogicError, Role, State, Turn
from rolehost.testing import RoleSession
from rolehost.timers import seconds_of

Session = Callable[..., RoleSession]


async def test_silence_is_noticed_once_until_the_next_message(role_session: Session) -> None:
    session = role_session("idle_for_tests.py", model="Hm?")
    await session.say("hello")
    (await session.later("5m")).expect.quiet()
    (await session.later("10m")).expect.fired("nudge").reply.state(nudges=1).text("Hm?").emitted(
        "custom.mood", nudges=1
    ).no_event("error")
    (await session.later("40m")).expect.fired("nudge", times=0)
    await session.say("here")
    (await session.later("10m")).expect.fired("on_idle:nudge")


async def test_a_beat_goes_on(role_session: Session) -> None:
    session = role_session("idle_for_tests.py")
    await session.say("hello")
    passed = await session.later("5h")
    passed.expect.fired("every:strike", times=5).fired("nudge")
    assert [hook for hook, _ in passed.fired][:2] == ["on_idle:nudge", "every:strike"]
    passed.expect.reply.state(hours=5).text("")


async def test_the_model_is_told_that_nobody_wrote(role_session: Session) -> None:
    session = role_session("idle_for_tests.py", model="Hm?")
    await session.say("hello")
    ((_, nudged),) = (await session.later("10m")).fired
    assert nudged.prompts[0].splitlines()[-1] == "user: (There is no message: the user has said nothing for 10m.)"
    after = await session.say("here")
    assert "user: (no message)\npersona: Hm?\nuser: here" in after.prompts[0]


async def test_who_comes_back_is_welcomed_with_the_first_message(role_session: Session) -> None:
    session = role_session("idle_for_tests.py")
    (await session.say("hello")).expect.state(came_back="")
    await session.later("1h")
    (await session.say("again")).expect.state(came_back="")
    await session.later("3h")
    (await session.say("and again")).expect.state(came_back="3:01:00")


async def test_an_end_is_a_turn_and_nothing_goes_off_after_it(role_session: Session) -> None:
    session = role_session("idle_for_tests.py")
    await session.say("hello")
    (await session.end()).expect.state(ended=True).text("Goodbye.")
    (await session.later("30d")).expect.quiet()


@pytest.mark.parametrize(
    "period",
    ["", "10", "10 m", "10M", "1m1h", "-5m", "1.5h", "0s", "31d", "1d1h1w", 10, None, timedelta(milliseconds=1)],
)
def test_what_is_no_duration_is_refused_where_it_is_written(period: object) -> None:
    with pytest.raises(LogicError) as refused:
        seconds_of(period)
    assert refused.value.code == "invalid_timer"
    assert "10m" in refused.value.hint or "timedelta" in refused.value.hint


def test_a_role_has_so_many_timers() -> None:
    cat = Role("cat")
    for _ in range(8):
        cat.every("1h")(lambda t: None)
    with pytest.raises(LogicError, match="at most 8 timers"):
        cat.on_idle("1h")(lambda t: None)


def test_a_timer_without_a_duration_says_what_it_takes() -> None:
    cat = Role("cat")

    def nudge(t: Turn[State]) -> None:
        """Nothing."""

    with pytest.raises(LogicError, match=r'@role.on_idle\("10m"\)'):
        cat.on_idle(nudge)  # type: ignore[arg-type]


def test_there_is_no_on_drain_and_it_says_why() -> None:
    with pytest.raises(LogicError, match="holds nothing of a session") as refused:
        Role("cat").on_drain(lambda t: None)
    assert refused.value.code == "no_such_hook"


async def test_an_answer_ends_where_on_delta_says_so(role_session: Session, tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text(
        """
from rolehost import Role, Turn

cat = Role("cat")

@cat.on_delta
def short(t: Turn) -> None:
    if t.delta.strip().endswith("."):
        t.stop()
"""
    )
    session = role_session(str(tmp_path / "short.py"), model="One sentence. Another one.")
    (await session.say("hi")).expect.text("One sentence. ").no_event("degraded")
