"""A session read over HTTP: by the page, by waiting, its state. A real port, real sessions, a log in memory."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.support.rooms import ACME, EVIL, FakePod, ask_and_commit
from tests.support.talking import KEYS, Talkers

from rolehost_api.link.messages import Commit, Say, StartTurn

EVENTS, STATE = "/v1/roles/cat/sessions/s/events", "/v1/roles/cat/sessions/s/state"


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers() as running:
        yield running


async def get(house: Talkers, path: str, key: str = KEYS[ACME]) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as http, http.get(house.url + path, headers=headers) as got:
        return got.status, await got.json() if got.content_type == "application/json" else await got.read()


async def waits(house: Talkers) -> None:
    async with asyncio.timeout(5):
        while not house.hub.sockets:
            await asyncio.sleep(0.001)


async def test_events_come_by_the_page(house: Talkers) -> None:
    async def long(pod: FakePod, channel: int, start: StartTurn) -> None:
        for index in range(4):
            pod.send(channel, Say(index=index, text="y" * 60_000))
        pod.send(channel, Commit())

    house.turns_are(long)
    await house.say("s", *map(str, range(6)))
    status, first = await get(house, EVENTS)
    assert (status, first["more"], first["last_seq"]) == (200, True, 4)
    _, rest = await get(house, f"{EVENTS}?after_seq={first['last_seq']}")
    assert ([event["seq"] for event in rest["events"]], rest["more"]) == ([5, 6], False)


@pytest.mark.parametrize("listening", [True, False], ids=["live", "nobody-listens"])
async def test_a_poll_is_answered_when_the_next_turn_is_committed(house: Talkers, listening: bool) -> None:
    await house.say("s", "one")
    if not listening:
        house.leave("s")
    asked = asyncio.create_task(get(house, f"{EVENTS}?after_seq=2&wait=30"))
    await waits(house)
    await house.say("s", "two")
    status, page = await asked
    assert (status, [event["seq"] for event in page["events"]], page["more"]) == (200, [3, 4], False)


async def test_a_poll_with_something_to_tell_does_not_wait(house: Talkers) -> None:
    await house.say("s", "one")
    _, page = await get(house, f"{EVENTS}?after_seq=1&wait=30")
    assert [event["seq"] for event in page["events"]] == [2]
    _, lost = await get(house, f"{EVENTS}?after_seq=9&wait=30")
    assert (lost["gap"], [event["seq"] for event in lost["events"]]) == (True, [1, 2])


async def test_a_poll_without_news_ends_empty(house: Talkers) -> None:
    await house.say("s", "one")
    assert (await get(house, f"{EVENTS}?after_seq=2&wait=0.01"))[1] == {
        "session_id": "s", "events": [], "last_seq": 2, "more": False, "gap": False,
    }  # fmt: skip


async def test_the_state_comes_where_it_is_another_version(house: Talkers) -> None:
    await house.say("s", "one")
    told = {"session_id": "s", "version": 1, "seq": 2, "state": {"turns": 1}, "is_urgent": False}
    told |= {"user_state": None, "user_version": None, "nodes": {}}
    assert await get(house, STATE) == (200, told)
    assert await get(house, f"{STATE}?after_version=0") == (200, told)
    assert await get(house, f"{STATE}?after_version=7") == (200, told), "what the client holds is lost"
    assert await get(house, f"{STATE}?after_version=1") == (204, b"")
    assert await get(house, f"{STATE}?after_version=1&wait=0.01") == (204, b"")


async def test_a_wait_for_the_state_is_not_ended_by_a_turn_that_left_it_alone(house: Talkers) -> None:
    async def idle(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="hm"))
        pod.send(channel, Commit())

    await house.say("s", "one")
    asked = asyncio.create_task(get(house, f"{STATE}?after_version=1&wait=30"))
    await waits(house)
    house.turns_are(idle)
    await house.say("s", "two")
    house.turns_are(ask_and_commit)
    await house.say("s", "three")
    status, told = await asked
    assert (status, told["version"], told["seq"]) == (200, 2, 5)


@pytest.mark.parametrize("path", [EVENTS, STATE, f"{EVENTS}?wait=30", f"{STATE}?after_version=0&wait=30"])
async def test_nothing_is_made_by_looking_and_another_tenants_is_not_there(house: Talkers, path: str) -> None:
    assert (await get(house, path))[1]["error"]["code"] == "session_not_found"
    assert house.store.shelf.heads == {}
    await house.say("s", "a secret")
    status, told = await get(house, path, KEYS[EVIL])
    assert (status, told["error"]["code"]) == (404, "session_not_found")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{EVENTS}?wait=51", "invalid_wait"),
        (f"{EVENTS}?wait=nan", "invalid_wait"),
        (f"{STATE}?wait=-1", "invalid_wait"),
        (f"{STATE}?after_version=-1", "invalid_after_version"),
        (f"{STATE}?after_version=x", "invalid_request"),
    ],
)
async def test_bad_questions_are_refused(house: Talkers, path: str, code: str) -> None:
    status, told = await get(house, path)
    assert (status, told["error"]["code"]) == (400, code)
