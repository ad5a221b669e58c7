"""No model, no server, no clock: `pytest examples/tutor`."""

LESSON = "how do tides work?"


async def test_a_lesson_from_hello_to_goodbye(role_session):
    tutor = role_session("role.yaml", user="u-17")
    (await tutor.say("hi")).expect.node("Greet").no_transition()
    first = await tutor.say(LESSON)
    first.expect.transition("Greet", "Explain").no_event("error")
    assert "Explain one thing" in first.prompts[0]
    for right in (1, 2, 3):
        (await tutor.say("quiz me")).expect.transition("Explain", "Quiz").state(asked=right)
        (await tutor.say("because of the moon")).expect.transition("Quiz", "Praise").state(right=right)
        told = await tutor.say("go on")
        told.expect.transition("Praise", "Explain" if right < 3 else "Rest")


async def test_a_wrong_answer_is_explained_again(role_session):
    tutor = role_session("role.yaml")
    for said in (LESSON, "quiz me"):
        await tutor.say(said)
    (await tutor.say("the wind?")).expect.transition("Quiz", "Explain").state(asked=1, right=0)


async def test_a_quiz_comes_up_by_itself_now_and_then(role_session):
    quizzes = 0
    for seed in range(40):
        tutor = role_session("role.yaml", seed=seed)
        await tutor.say(LESSON)
        quizzes += (await tutor.say("go on")).nodes["main"] == "Quiz"
    assert 2 < quizzes < 20, "one time in four"
