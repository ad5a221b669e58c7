"""Role logic on a generated stub, as a type checker reads it with the other tests."""

from typing import assert_type

from tests.unit.dsl.generated.stubs.tutor_behavior import Turn, TutorState, TutorUserState

from rolehost import Role

tutor = Role("tutor", state=TutorState, user_state=TutorUserState)


@tutor.on_message
async def answer(t: Turn) -> None:
    assert_type(t.state.score, int)
    assert_type(t.user_state.mood, str)
    t.state.score += 1
    t.state.skore = 1  # type: ignore[attr-defined]
    await t.reply(t.ask())
