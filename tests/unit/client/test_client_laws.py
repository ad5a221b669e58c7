"""Whatever order frames, losses and replays come in: what is shown is a prefix of the truth, and every word ends once."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.client_world import HONEST, WILD, World, perform, settle, world

from rolehost.client.actions import Phase

DICE = st.integers(0, 2**32).map(Random)


@given(DICE)
def test_every_word_is_answered_once_and_in_order(dice: Random) -> None:
    here = world(dice)
    said = perform(here, dice, HONEST)
    settle(here, said)
    mine = [message for message in here.done if message.startswith("m")]
    assert mine == [f"m{number}" for number in range(said)]
    assert here.ends == {message: ["response.done"] for message in here.done}
    assert here.done == logged(here), "not everything in the log was told, once and in its order"


@given(DICE)
def test_nothing_is_doubled_or_lost_on_a_connection_that_breaks_every_rule(dice: Random) -> None:
    here = world(dice)
    said = perform(here, dice, WILD)
    here.cut()  # and with the next one all is well
    settle(here, said)
    assert [len(here.ends.get(f"m{number}", [])) for number in range(said)] == [1] * said
    assert here.done == logged(here)


def logged(world: World) -> list[str]:
    return [event["client_msg_id"] for event in world.log if event["type"] == "response.done"]


@given(DICE, st.lists(st.sampled_from([1006, 1011, 1012, 1013, 4409, 4429]), min_size=1, max_size=40))
def test_pauses_grow_and_stay_bounded(dice: Random, codes: list[int]) -> None:
    """A server that lets go of everybody at once is not hammered: never more than a few tries in a second."""
    here = world(dice)
    began = here.now
    for code in codes:
        here.cut(code)
        at = here.core.due()
        assert at is not None
        assert at - here.now <= 10_000
        here.pass_time(at - here.now)
    assert here.now - began >= 100 * (len(codes) - 1)


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.ENDED])
def test_a_closed_session_wants_nothing_more(phase: Phase) -> None:
    here = world(Random(1))
    if phase is Phase.WAITING:
        here.cut()
    here.core.close()
    here.act()
    assert here.core.due() is None
    assert not here.up
