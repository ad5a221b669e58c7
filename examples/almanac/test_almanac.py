"""No model, no server, no clock: `pytest examples/almanac`. The fixture's day is 2030-01-01."""

import pytest

from rolehost.testing import Call


async def test_the_moon_is_looked_up(role_session):
    session = role_session("role.yaml", model=[Call("moon", day="2030-01-04"), "It is new."])
    told = await session.say("What does the moon do on Friday?")
    told.expect.tool("moon", day="2030-01-04", result="new moon, 0 % lit").text("It is new.").no_event("error")


async def test_today_is_the_turns_own_day(role_session):
    told = await role_session("role.yaml", model=[Call("moon"), "…"]).say("And tonight?")
    told.expect.tool("moon", result="2030-01-01: waning crescent")


async def test_what_is_jotted_down_is_found_again(role_session):
    session = role_session(
        "role.yaml",
        model=[
            Call("jot", day="2030-02-03", what="plant garlic"),
            "Kept.",
            Call("days_until", day="2030-02-03"),
            "33 days.",
        ],
    )
    (await session.say("Keep for 3 February: plant garlic")).expect.state(jotted={"2030-02-03": ["plant garlic"]})
    told = await session.say("How long until then?")
    told.expect.tool("days_until", result='{"days":33,"weekday":"Sunday","jotted":"plant garlic"}')


@pytest.mark.parametrize("day", ["the third", "2030-02-31", None])
async def test_a_day_that_is_none_is_told_to_the_model(role_session, day):
    told = await role_session("role.yaml", model=[Call("jot", day=day, what="x"), "Which day?"]).say("Keep x")
    told.expect.tool("jot", error="invalid_arguments").state(jotted={}).text("Which day?")


async def test_nothing_else_may_be_called(role_session):
    told = await role_session("role.yaml", model=[Call("weather"), "I only know the days."]).say("Rain?")
    told.expect.tool("weather", error="unknown_tool").no_event("error")
