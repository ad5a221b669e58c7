"""Several sessions on one socket, whatever happens to it: each word ends once, in its own session, and nowhere else."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.support.switch_world import Socket, perform, settle


@given(st.integers(0, 2**32).map(Random))
def test_every_word_is_answered_once_in_the_session_that_it_was_said_in(dice: Random) -> None:
    socket = Socket()
    perform(socket, dice)
    settle(socket)
    for role, room in socket.rooms.items():
        mine = [message for message in room.done if not message.startswith(f"{role}-x")]
        assert mine == [f"{role}-{number}" for number in range(socket.said[role])]
        assert room.ends == {message: ["response.done"] for message in room.done}
        assert room.done == [event["client_msg_id"] for event in room.log if event["type"] == "response.done"]
        assert room.core.last == len(room.log)
