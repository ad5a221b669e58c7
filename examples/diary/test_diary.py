"""No model, no server, no clock: `pytest examples/diary`."""


async def test_another_session_of_the_same_person_recalls_it(role_session):
    phone, desk = (role_session("diary.py", user="u-17", session_id=name) for name in ("phone", "desk"))
    told = await phone.say("Please remember that I met 1 dragon.")
    told.expect.memory(kind="long", contains="1 dragon").no_event("error")
    (await desk.say("What do you remember about dragons?")).expect.text(contains="I met 1 dragon")


async def test_somebody_else_hears_nothing_of_it(role_session):
    role_session("diary.py", user="u-17").say("Remember my password is swordfish")
    other = await role_session("diary.py", user="u-18").say("What do you remember?")
    other.expect.text("Nothing.")


async def test_who_moves_lives_elsewhere(role_session):
    session = role_session("diary.py", user="u-17")
    session.say("I live in Oslo").expect.memory("rel", contains="u-17 → lives in → Oslo")
    session.say("I now live in Rome.")
    session.say("What do you remember?").expect.text("- u-17 → lives in → Rome")


async def test_what_is_forgotten_is_gone(role_session):
    session = role_session("diary.py", user="u-17")
    session.say("Remember I fear spiders")
    session.say("Forget about spiders").expect.text("Gone: 1.")
    session.say("What do you remember?").expect.text("Nothing.")
