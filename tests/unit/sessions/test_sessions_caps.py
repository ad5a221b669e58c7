"""What one session, and what all of a tenant's, may come to: at the bound it is said, and nothing is cut off."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.house import House
from tests.support.rooms import ACME, Ear, world

from rolehost_api.errors import Conflict
from rolehost_api.wire import HeardPart, ResponseCreated, Said
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.sessions.limits import Limits

OWN = Whose(ACME.uid, "cat")
MakeHouse = Callable[..., Any]


@pytest.fixture
async def open_house() -> AsyncIterator[MakeHouse]:
    houses: list[House] = []

    async def opened(**more: Any) -> House:
        house = House(world(ACME), **more)
        houses.append(house)
        house.pod(f"p{len(houses)}")
        await house.pool.start()
        return house

    yield opened
    for house in houses:
        await house.die()


def reply_of(ear: Ear) -> str:
    return str(ear.of(ResponseCreated)[-1].response_id)


async def test_a_session_has_so_many_turns_and_says_so(open_house: MakeHouse) -> None:
    house = await open_house(limits=Limits(turns=2))
    handle, ear = await house.attach()
    for number in (1, 2):
        await handle.say(Said(message="on", client_msg_id=f"c-{number}"))
    begun = len(ear.of(ResponseCreated))
    with pytest.raises(Conflict) as raised:
        await handle.say(Said(message="one more", client_msg_id="c-3"))
    assert (raised.value.code, raised.value.retryable, "fork" in raised.value.hint) == ("session_full", False, True)
    assert len(ear.of(ResponseCreated)) == begun, "nobody was told of an answer, and no model was asked"
    # all else goes on: what was said before is said again, what was heard is kept, it is read, forked and left
    await handle.say(Said(message="on", client_msg_id="c-2"))
    await handle.cancel(reply_of(ear), HeardPart(chars=1))
    await handle.resume(0)
    assert (await house.service.kept.details(OWN, "abc")).turns == 2
    fresh = await house.service.kept.fork(OWN, "abc", 2)
    other, _ = await house.attach(fresh)
    await other.say(Said(message="from before it was full"))
    with pytest.raises(Conflict):
        await other.say(Said(message="and full again"))
    again, _ = await house.attach("abc")
    with pytest.raises(Conflict):
        await again.say(Said(message="one more"))


async def test_bytes_count_that_are_in_the_log_and_not_in_the_archive(
    open_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await open_house(limits=Limits(log_bytes=6_000))
    handle, _ = await house.attach()
    said = 0
    while (head := await house.store.head(OWN.key("abc"))) is None or head.log_bytes < 6_000:
        await handle.say(Said(message="x" * 400))
        said += 1
    with pytest.raises(Conflict) as raised:
        await handle.say(Said(message="x" * 400))
    assert raised.value.code == "session_full"
    head = await house.store.head(OWN.key("abc"))
    log = [len(fields[b"body"]) for fields in house.store.shelf.logs[OWN.key("abc")]]
    assert head is not None
    assert head.log_bytes == sum(log) >= 6_000 > sum(log[:-1])
    assert len(log) == said > 3
    shortened = MemoryShortenedLog(house.store.shelf, house.store._owner)
    name = f"u-1/k/k/l1/1-1.0-2.0-{32 * 'a'}"
    assert await shortened.shorten(OWN.key("abc"), head.log_id, head.epoch, (1, 0), (2, 0), name)
    await handle.say(Said(message="there is room again"))
    asked: list[str] = []
    real = house.store.head

    async def counted(key: str) -> Any:
        asked.append(key)
        return await real(key)

    monkeypatch.setattr(house.store, "head", counted)
    other, _ = await house.attach("another")
    await other.say(Said(message="on"))
    assert asked == [], "below the bound nobody is asked"
