"""A session that nobody keeps: its past is what its client tells, and nothing of it is left when it is over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, Ear, principal
from tests.support.talking import Talkers

from rolehost_api.errors import Overloaded
from rolehost_api.link.messages import CallModel, Say, TurnFailed
from rolehost_api.wire import HeardPart, ResponseCreated, ResponseDone, Said, SessionCreated
from rolehost_runtime.core.prompt import Exchange, Told

TOLD = Told(("Be kind.",), (Exchange("one", "told"),))


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        yield running


async def attach(house: Talkers, told: Told = TOLD) -> tuple[Any, Ear]:
    ear, role = Ear(), house.tables.roles.get("acme", "cat")
    assert role is not None
    return await house.service.attach(principal(ACME), role, None, ear, told=told), ear


def left(house: Talkers) -> dict[str, object]:
    """What is held of sessions, and by whom."""
    room = house.service._world.room
    return {
        "live": dict(house.service._live),
        "logs": {**house.store.shelf.logs, **house.store.shelf.heads},
        "attached": room._attached,
        "folds": room._folds,
        "bytes": room._total,
        "pins": house.pool._pins._of,
    }


NOTHING = {"live": {}, "logs": {}, "attached": {}, "folds": {}, "bytes": 0, "pins": {}}


async def test_its_past_is_what_the_client_tells_and_nothing_is_left(house: Talkers) -> None:
    handle, ear = await attach(house)
    assert ear.of(SessionCreated)[0].durability == "none"
    await handle.say(Said(message="say it again"))
    handle.detach()
    assert [done.message for done in ear.of(ResponseDone)] == ["Before: one"]
    assert left(house) == NOTHING


async def test_nothing_is_left_of_one_whose_client_goes_in_the_middle(house: Talkers) -> None:
    release = asyncio.Event()
    turn = house.pods[ACME].turn

    async def wait(*arguments: Any) -> None:
        await release.wait()
        await turn(*arguments)

    house.turns_are(wait)
    handle, ear = await attach(house)
    saying = asyncio.create_task(handle.say(Said(message="two")))
    async with asyncio.timeout(5):
        while not house.pods[ACME].starts():
            await asyncio.sleep(0)
    saying.cancel()
    handle.detach()
    await asyncio.gather(saying, return_exceptions=True)
    assert left(house) != NOTHING
    release.set()
    async with asyncio.timeout(5):
        while house.service._turns:
            await asyncio.sleep(0)
    assert left(house) == NOTHING
    assert ear.of(ResponseDone) == []


async def test_its_answer_may_be_cut_short_and_nothing_is_left(house: Talkers) -> None:
    async def hang(pod: Any, channel: int, start: Any) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        pod.send(channel, TurnFailed(code=result.error) if result.error else Say(index=1, text="never"))

    house.turns_are(hang)
    handle, ear = await attach(house)
    saying = asyncio.create_task(handle.say(Said(message="two")))
    async with asyncio.timeout(5):
        while ear.text() != "You said two.":
            await asyncio.sleep(0)
    await handle.cancel(ear.of(ResponseCreated)[0].response_id, HeardPart(chars=3))
    await saying
    handle.detach()
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "You")]
    async with asyncio.timeout(5):
        while left(house) != NOTHING:
            await asyncio.sleep(0)


async def test_two_at_once_know_nothing_of_each_other(house: Talkers) -> None:
    one, hears_one = await attach(house)
    other, hears_other = await attach(house, Told((), (Exchange("other", "x"),)))
    await asyncio.gather(one.say(Said(message="again")), other.say(Said(message="again")))
    assert [ear.of(ResponseDone)[0].message for ear in (hears_one, hears_other)] == ["Before: one", "Before: other"]


async def test_it_takes_its_tenants_room_while_it_lasts(house: Talkers) -> None:
    house.service._world.room._max_attached = 1
    handle, _ = await attach(house)
    with pytest.raises(Overloaded):
        await attach(house)
    handle.detach()
    await attach(house)
