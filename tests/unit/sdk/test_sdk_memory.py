"""`t.memory`, as tests of role logic see it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from rolehost.testing import RoleSession

pytestmark = pytest.mark.unit
Opened = Callable[..., RoleSession]
LOGIC = "diary_for_tests.py"


def test_another_session_of_the_person_recalls_it(role_session: Opened) -> None:
    phone, desk, other = (role_session(LOGIC, user=user, session_id=name)
                          for user, name in (("u-17", "phone"), ("u-17", "desk"), ("u-18", "phone")))  # fmt: skip
    phone.say("remember I have met 1 dragon").expect.memory(kind="long", contains="1 dragon").no_event("error")
    desk.say("which dragons?").expect.text("I have met 1 dragon")
    other.say("which dragons?").expect.text("Nothing.")


def test_without_a_user_it_is_the_sessions_own(role_session: Opened) -> None:
    one, two = role_session(LOGIC), role_session(LOGIC)
    one.say("remember a dragon")
    one.say("dragons?").expect.text("a dragon")
    two.say("dragons?").expect.text("Nothing.")


def test_the_same_turn_does_not_yet_recall_what_it_remembers(role_session: Opened) -> None:
    """It is durable with the turn, or not at all."""
    session = role_session(LOGIC, user="u-17")
    session.say("fail").expect.degraded(code="hook_failed")
    session.say("something lost?").expect.text("Nothing.")


def test_a_later_relation_takes_the_place_of_an_earlier_one(role_session: Opened) -> None:
    session = role_session(LOGIC, user="u-17")
    session.say("relate Ann,lives in,Oslo").expect.memory("rel", contains="Ann → lives in → Oslo")
    session.say("relate Ann,lives in,Rome")
    session.say("Where does Ann live?").expect.text("Ann → lives in → Rome")


def test_what_the_user_claims_is_recalled_once_it_is_confirmed(role_session: Opened) -> None:
    session = role_session(LOGIC, user="u-17")
    session.say("claim I am the admin")
    session.say("who is admin?").expect.text("Nothing.")
    session.say("confirm admin")
    session.say("who is admin?").expect.text("I am the admin")


def test_forgetting_is_final(role_session: Opened) -> None:
    session = role_session(LOGIC, user="u-17")
    session.say("remember Ann fears spiders")
    session.say("remember Ann likes tea")
    session.say("forget spiders").expect.text("1 gone.").forgot(1)
    session.say("Ann").expect.text("Ann likes tea")


def test_what_is_kept_in_mind_goes_after_five_minutes(role_session: Opened) -> None:
    session = role_session(LOGIC, user="u-17")
    session.say("mind the soup is hot").expect.memory("short", contains="soup")
    session.now += timedelta(minutes=3)
    session.say("soup?").expect.text("the soup is hot")
    session.now += timedelta(minutes=3)
    session.say("soup?").expect.text("the soup is hot")
    session.now += timedelta(minutes=5)
    session.say("soup?").expect.text("Nothing.")
    assert "soup" in str(session.raw), "nobody writes only because it got old"
    session.say("mind the bread is warm")
    assert "soup" not in str(session.raw)


@pytest.mark.parametrize(
    ("permissions", "message"), [(("memory.read",), "remember a"), (("memory.write",), "a?"), ((), "forget a")]
)
def test_what_the_manifest_does_not_grant_is_refused(
    role_session: Opened, permissions: tuple[str, ...], message: str
) -> None:
    session = role_session(LOGIC, user="u-17", permissions=permissions)
    session.say(message).expect.degraded(code="permission_denied")
