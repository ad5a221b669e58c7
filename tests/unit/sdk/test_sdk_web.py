"""`t.http`, as tests of role logic see it: a web of stubs, and nothing behind it."""

from collections.abc import Callable

import pytest

from rolehost import HttpFailed
from rolehost.testing import Requested, RoleSession, Stub

pytestmark = pytest.mark.unit
Opened = Callable[..., RoleSession]
LOGIC = "web_for_tests.py"
WEATHER = "https://api.weather.org/v1"


def test_a_stub_answers_and_the_request_is_known(role_session: Opened) -> None:
    session = role_session(LOGIC, web={WEATHER: {"sky": "grey"}})
    reply = session.say("weather São Paulo")
    reply.expect.text("grey").state(asked=1).no_event("error")
    assert [(one.method, one.url) for one in reply.requests] == [("GET", f"{WEATHER}?city=S%C3%A3o+Paulo")]


@pytest.mark.parametrize(("stub", "said"), [(503, "they say 503"), (HttpFailed("slow", code="http_timeout"), "failed: http_timeout"),
                                            ("no json", "failed: http_not_json")])  # fmt: skip
def test_statuses_failures_and_garbage_are_the_logics_to_handle(role_session: Opened, stub: object, said: str) -> None:
    role_session(LOGIC, web={WEATHER: stub}).say("weather Oslo").expect.text(said)


def test_a_stub_may_be_a_function_and_of_one_method(role_session: Opened) -> None:
    def book(asked: Requested) -> Stub:
        return Stub(201, json={"id": 7}, headers={"Location": f"/rooms/{asked.json()['room']}"})

    session = role_session(LOGIC, web={"POST https://api.acme.com/rooms": book})
    reply = session.say("book blue")
    reply.expect.text("201 /rooms/blue").requested("POST", "https://api.acme.com/rooms", json={"room": "blue"})
    assert reply.requests[0].headers == {"X-Key": "k", "Content-Type": "application/json"}


def test_what_is_not_stubbed_fails_the_test_and_says_what_is_there(role_session: Opened) -> None:
    session = role_session(LOGIC, web={WEATHER: "x"})
    with pytest.raises(pytest.fail.Exception, match=r"asked for POST https://api.acme.com/rooms, but web= holds https"):
        session.say("book blue")


def test_a_request_that_was_never_awaited_is_told(role_session: Opened) -> None:
    role_session(LOGIC).say("forget").expect.degraded(code="not_awaited")


def test_hosts_that_the_permissions_do_not_name_are_refused_here_too(role_session: Opened) -> None:
    session = role_session(LOGIC, permissions=("http:api.weather.org",), web={WEATHER: {"sky": "blue"}})
    session.say("weather Oslo").expect.text("blue")
    assert session.say("book blue").requests == []
    session.say("book blue").expect.text("failed: http_not_granted")
    session.say("get http://api.weather.org/v1").expect.text("failed: http_not_granted")
    session.say("get https://api.weather.org@evil.org/").expect.text("failed: http_invalid_url")
