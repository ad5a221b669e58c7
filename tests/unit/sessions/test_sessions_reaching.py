"""Requests of turns to servers outside, on gateways that live and die: granted, counted, known again by their key."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import ACME, Ear, revision_entry, serve, world

from rolehost import LogicError, Role, Turn
from rolehost_api.crd.role import Persona, RoleTemplate
from rolehost_api.link.messages import Fetch, Fetched
from rolehost_api.wire import ResponseCreated, ResponseDone, Said
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.rerun import unknown
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.sessions.reaching import MAX_FETCHES
from rolehost_runtime.gateway.tables import RoleEntry

pytestmark = pytest.mark.unit
GRANT = "http:api.acme.com"
booker: Role[Any] = Role("booker")


@booker.on_message(required=True)
async def book(t: Turn[Any]) -> None:
    """`book x` posts it; `fail x` does, and fails then; `look x` asks; `again` asks until it may not."""
    verb, _, what = t.message.partition(" ")
    try:
        match verb:
            case "look":
                t.say((await t.http.get(f"https://api.acme.com/{what}?secret=1")).text)
            case "speak":
                await t.reply(t.ask())
                await t.http.post("https://api.acme.com/rooms", json=what)
            case "again":
                for _ in range(MAX_FETCHES + 4):
                    await t.http.get("https://api.acme.com/")
            case _:
                t.say((await t.http.post("https://api.acme.com/rooms", json=what)).text)
    except LogicError as failed:
        t.say(failed.code)
    if verb == "fail":
        raise ValueError


class Web:
    """A server that does each key once. Implements ports.Web."""

    def __init__(self) -> None:
        self.asked: list[tuple[Fetch, str]] = []
        self.done: dict[str, str] = {}
        self.hold: asyncio.Event | None = None

    async def fetch(self, role: RoleEntry, permissions: Sequence[str], asked: Fetch, key: str = "") -> Fetched:
        assert GRANT in permissions
        self.asked.append((asked, key))
        said = self.done.setdefault(key or str(len(self.asked)), f"done {len(self.asked)}")
        if self.hold is not None:
            await self.hold.wait()
        return Fetched(index=asked.index, status=200, body=said.encode())


class Town:
    """Gateways that follow one another on one shelf, with one server outside."""

    def __init__(self) -> None:
        self.shelf, self.web, self.houses = Shelf(), Web(), list[House]()

    async def gateway(self, **more: Any) -> House:
        house = House(world(ACME), self.shelf, **{"web": self.web, **more})
        template = RoleTemplate(persona=Persona(system="You book."), permissions=(GRANT, "model.call"))
        serve(house.tables, revision_entry(template=template))
        house.pod("p1", turn=playing(booker))
        await house.pool.start()
        self.houses.append(house)
        return house

    async def stop(self) -> None:
        for house in self.houses:
            await house.service.stop(0)
            await house.pool.stop()

    async def records(self) -> list[TurnRecord]:
        return [record for record in await self.houses[-1].log() if isinstance(record, TurnRecord)]


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    built = Town()
    yield built
    await built.stop()


async def say(handle: Any, ear: Ear, message: str, **more: Any) -> str:
    await handle.say(Said(message=message, **more))
    return str(ear.of(ResponseDone)[-1].message)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_turn_asks_and_its_record_names_host_and_status_and_no_more(town: Town) -> None:
    house = await town.gateway()
    handle, ear = await house.attach()
    assert await say(handle, ear, "look rooms") == "done 1"
    assert await say(handle, ear, "book blue") == "done 2"
    (asked, no_key), (posted, key) = town.web.asked
    assert (asked.url, no_key) == ("https://api.acme.com/rooms?secret=1", "")
    assert (posted.method, posted.body, key[:3]) == ("POST", b'"blue"', "rh-")
    one, two = await town.records()
    assert [(entry.kind, entry.outcome) for entry in (*one.journal, *two.journal)] == [
        ("fetch", "GET api.acme.com 200"), ("say", ""), ("fetch", "POST api.acme.com 200"), ("say", ""),
    ]  # fmt: skip
    assert "secret" not in repr(one.journal)
    assert unknown(one) == "what a server answered as effect 0 is kept by host and status only"


async def test_a_gateway_that_dies_between_the_request_and_its_answer_books_once(town: Town) -> None:
    first = await town.gateway()
    handle, _ = await first.attach()
    town.web.hold = asyncio.Event()
    lost = asyncio.create_task(handle.say(Said(message="book blue", client_msg_id="c1")))
    await until(lambda: town.web.asked)
    await first.die()
    await asyncio.gather(lost, return_exceptions=True)
    town.web.hold = None
    second = await town.gateway()
    again, ear = await second.attach()
    assert await say(again, ear, "book blue", client_msg_id="c1") == "done 1"
    (_, key), (_, same) = town.web.asked
    assert key == same != ""
    assert len(await town.records()) == 1
    assert await say(again, ear, "book blue") == "done 3"  # said again, it is meant again


async def test_a_pod_that_is_lost_does_not_ask_again(town: Town) -> None:
    house = await town.gateway()
    handle, ear = await house.attach()
    pod = house.dialer.pods["p1"]
    lost = False

    async def turn(*arguments: Any) -> None:
        nonlocal lost

        async def die() -> None:
            nonlocal lost
            if not lost:
                lost = True
                pod.lose()
                await asyncio.sleep(60)

        await playing(booker, die)(*arguments)

    pod.turn = turn
    assert await say(handle, ear, "book blue") == "done 1"
    assert lost
    assert len(town.web.asked) == 1


async def test_nothing_is_changed_outside_that_the_store_does_not_know_of(town: Town) -> None:
    house = await town.gateway()
    handle, ear = await house.attach()
    house.store.silent = True
    assert await say(handle, ear, "book blue") == "state_unavailable"
    assert town.web.asked == []
    assert await say(handle, ear, "look rooms") == "done 1"


async def test_the_message_after_a_turn_that_failed_is_another_request_and_the_same_one_is_not(town: Town) -> None:
    house = await town.gateway()
    handle, _ = await house.attach()
    for message, name in (("fail blue", "c1"), ("fail blue", "c1"), ("book red", "c2")):
        await asyncio.gather(handle.say(Said(message=message, client_msg_id=name)), return_exceptions=True)
    keys = [key for _, key in town.web.asked]
    assert keys[0] == keys[1] != keys[2]
    (record,) = await town.records()
    assert record.turn == 1


async def test_a_turn_has_a_bounded_number_of_requests(town: Town) -> None:
    house = await town.gateway()
    handle, ear = await house.attach()
    assert await say(handle, ear, "again") == "too_many_effects"
    assert len(town.web.asked) == MAX_FETCHES


async def test_a_turn_that_is_cut_short_behind_its_answer_does_not_wait_for_a_server(town: Town) -> None:
    house = await town.gateway()
    handle, ear = await house.attach()
    town.web.hold = asyncio.Event()
    turn = asyncio.create_task(handle.say(Said(message="speak blue")))
    await until(lambda: town.web.asked)
    (begun,) = ear.of(ResponseCreated)
    async with asyncio.timeout(5):
        await handle.cancel(begun.response_id, None)
        await turn
    (end,) = ear.of(ResponseDone)
    assert end.status == "cancelled"
    (record,) = await town.records()
    assert [entry.kind for entry in record.journal] == ["call_model"]
    town.web.hold = None
    assert await say(handle, ear, "book red") == "done 2"
    assert len({key for _, key in town.web.asked}) == 2


async def test_where_it_is_switched_off_logic_is_told_so(town: Town) -> None:
    house = await town.gateway(web=None)
    handle, ear = await house.attach()
    assert await say(handle, ear, "look rooms") == "http_off"
    assert ear.of(ResponseDone)[-1].status == "completed"
