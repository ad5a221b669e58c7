"""No model, no server, no clock: `pytest examples/lighthouse`."""


async def test_what_is_spoken_of_is_known(role_session):
    tom = role_session("role.yaml")
    first = await tom.say("Good evening")
    first.expect.lore().no_event("error")
    assert first.prompts[0].startswith("system: Gull Point is a day's walk")  # told always, before who Tom is
    cat = await tom.say("Is that your cat?")
    cat.expect.lore("cat")
    assert "The cat is called Bosun." in cat.prompts[0]


async def test_a_storm_is_told_right_before_the_message_and_stays_a_turn(role_session):
    tom = role_session("role.yaml")
    (await tom.say("How is the light?")).expect.lore("lamp", "marguerite")  # the lamp is called her sister
    tom = role_session("role.yaml")
    storm = await tom.say("What a storm!")
    storm.expect.lore("marguerite")
    assert storm.prompts[0].endswith("comes back to look at it.)\nuser: What a storm!")
    (await tom.say("And now?")).expect.lore("marguerite")
