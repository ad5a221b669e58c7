"""Whatever order frames, losses and replays come in: what is shown is a prefix of the truth, and every word ends once."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.client_world import SESSION, World

from rolehost.client.core import Core, Phase

HONEST = {
    "deliver": 30, "grow": 20, "commit": 4, "fail": 2, "die": 2, "cut": 3, "moved": 2, "say": 6, "other": 2, "soon": 14,
    "late": 1,
}  # fmt: skip
"""What a network and servers do, and how often."""
WILD = {**HONEST, "again": 6, "drop": 1, "swap": 6, "noise": 2}
"""What none should do as well: frames that come twice, never, or in another order."""
STEPS = 200
NOISE: tuple[dict[str, Any], ...] = (
    {"type": "response.output_text.delta", "response_id": "r1", "offset": 1, "delta": ""},
    {"type": "response.done", "seq": 99, "status": "completed"},
    {"type": "response.created", "response_id": 7},
    {"type": "session.resumed"},
    {"type": "error", "error": {"code": "busy", "retryable": True}},
    {"type": "session.migrate", "reconnect_after_ms": 100},
    {"type": "channel.urgent", "is_urgent": True},
)


def world(dice: Random) -> World:
    made = World(Core(SESSION, dice.random, after_seq=0))
    made.core.start(0)
    made.act()
    return made


def perform(world: World, dice: Random, often: dict[str, int]) -> int:
    """Two hundred things happen. How many messages were said."""
    said = 0
    for kind in dice.choices(list(often), list(often.values()), k=STEPS):
        match kind:
            case "deliver":
                world.deliver()
                world.deliver()
            case "grow":
                world.grow(dice.randint(1, 6))
            case "commit" | "fail" | "die" | "cut" | "other":
                getattr(world, kind)()
            case "moved":
                world.cut(1012)
            case "soon":
                world.pass_time(dice.randint(1, 400))
            case "late":
                world.pass_time(dice.randint(1, 40_000))
            case "say":
                world.core.say(world.now, "hi", f"m{said}", patience_ms=10_000_000)
                world.act()
                said += 1
            case "again":
                world.deliver(dice.randint(0, 3), keep=True)
            case "drop" if world.line:
                world.line.popleft()
            case "swap":
                world.deliver(dice.randint(0, 3))
            case "noise":
                world.tell(dice.choice(NOISE))
    return said


def settle(world: World, said: int) -> None:
    """From now on everything works: long enough for every word to end."""
    for _ in range(400):
        while world.line and world.up:
            world.deliver()
        if all(f"m{number}" in world.ends for number in range(said)) and world.core.phase is Phase.READY:
            break
        world.grow(1)
        world.commit()
        world.pass_time(1_000)
    for _ in range(3):
        while world.line and world.up:
            world.deliver()
        world.pass_time(2_000)


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
