"""No model, no server, no clock: `pytest examples/storyteller`."""

import pytest

DRAGON = "讲一个关于龙的短故事"


async def test_a_dragon_is_counted_in_any_language(role_session):
    session = role_session("story.py", user="u-17")
    first = await session.say(DRAGON)
    first.expect.transition("Idle", "Explore").state(stories=1, dragons=1).no_event("error")
    second = await session.say("another DRAGON, please")
    second.expect.state(stories=2, dragons=2).text(contains="dragon 2")


@pytest.mark.parametrize("said", ["讲一个关于猫的故事", "a story about a cat"])
async def test_other_stories_have_no_dragons(role_session, said):
    told = await role_session("story.py", user="u-17").say(said)
    told.expect.state(stories=1, dragons=0).node("Idle")


async def test_who_set_out_for_dragons_comes_home(role_session):
    session = role_session("story.py")
    assert "begin with the road" in (await session.say(DRAGON)).prompts[0]
    (await session.say("a cat, then")).expect.transition("Explore", "Idle").state(stories=2, dragons=1)


async def test_the_models_words_are_the_reply(role_session):
    told = await role_session("story.py", model=["从前，有一条龙。"]).say(DRAGON)
    told.expect.text(contains="从前")
