"""The fixture for tenants' tests: it plays what the platform would play, and its claims can fail."""

from collections.abc import Callable

import pytest

from rolehost import ModelFailed
from rolehost.testing import RoleSession

Sessions = Callable[..., RoleSession]
STORY = "story_for_tests.py"


async def test_it_may_be_awaited(role_session: Sessions) -> None:
    r = await role_session(STORY, user="u-17").say("讲一个关于龙的短故事")
    r.expect.state(dragons=1).text(contains="龙").asked(1).no_event("error")
    assert r.logs == ["a new session"]


def test_it_need_not_be_awaited_and_the_second_turn_remembers(role_session: Sessions) -> None:
    session = role_session(STORY, model=["Once upon a time.", lambda prompt: prompt], persona="You tell stories.")
    session.say("a dragon")
    r = session.say("another dragon")
    assert r.text.splitlines() == [
        "system: You tell stories.",
        "system: Dragons so far: 2.",
        "user: a dragon",
        "persona: Once upon a time.",
        "user: another dragon",
    ]
    r.expect.state(dragons=2, last=r.text)


def test_two_sessions_share_nothing(role_session: Sessions) -> None:
    role_session(STORY).say("dragon")
    role_session(STORY).say("dragon").expect.state(dragons=1)


def test_a_hook_that_fails_is_seen_with_its_place(role_session: Sessions) -> None:
    r = role_session(STORY).say("break")
    r.expect.degraded("count", "hook_failed").text(contains="break")
    assert r.degraded[0].where == "story_for_tests.py:25"
    with pytest.raises(AssertionError, match="went on without on_message:count"):
        r.expect.no_event("error")


def test_a_turn_without_a_model_fails_and_keeps_nothing(role_session: Sessions) -> None:
    session = role_session(STORY, model=[ModelFailed("away", code="model_timeout"), "fine"])
    session.say("dragon").expect.failed("model_timeout").state(dragons=0)
    session.say("dragon").expect.state(dragons=1).no_event("error")


def test_an_interrupted_turn_keeps_what_was_before_the_models_answer(role_session: Sessions) -> None:
    session = role_session(STORY, model=["Once upon a time.", lambda prompt: prompt])
    r = session.interrupt("a dragon", heard=4)
    r.expect.interrupted().text("Once").state(dragons=1, last="cut at Once").no_event("error")
    session.say("and?").expect.text(contains="persona: Once\n")


def test_a_reply_that_is_over_before_it_is_cut_fails_the_test(role_session: Sessions) -> None:
    with pytest.raises(pytest.fail.Exception, match="nothing to interrupt"):
        role_session(STORY, model="Once").interrupt("a dragon", heard=5)


@pytest.mark.parametrize(
    "claim",
    [
        lambda expect: expect.state(dragons=7),
        lambda expect: expect.text("else"),
        lambda expect: expect.text(contains="else"),
        lambda expect: expect.asked(3),
        lambda expect: expect.degraded(),
        lambda expect: expect.failed("x"),
        lambda expect: expect.interrupted(),
    ],
)
def test_every_claim_can_fail(role_session: Sessions, claim: Callable[..., object]) -> None:
    with pytest.raises(AssertionError):
        claim(role_session(STORY).say("hi").expect)


def test_a_model_asked_more_often_than_scripted_fails_the_test(role_session: Sessions) -> None:
    with pytest.raises(pytest.fail.Exception, match="asked 1 times"):
        role_session(STORY, model=[]).say("hi")


def test_a_file_that_is_not_there_is_named(role_session: Sessions) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        role_session("none.py")


def test_an_urgent_change_is_seen_and_one_that_is_none_is_not(role_session: Sessions) -> None:
    session = role_session(STORY)
    session.say("fire").expect.urgent()
    with pytest.raises(AssertionError, match="nothing urgent"):
        session.say("calm").expect.urgent()
