"""A session is spoken in at one gateway and heard at another, over ways that keep no socket; gateways go meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.support.gateways import Fleet
from tests.support.rooms import ACME
from tests.support.sse import listening
from tests.support.talking import KEYS, edge_on

from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.server import EdgeServer
from rolehost_runtime.gateway.metrics import Metrics

KEY = KEYS[ACME]
BEARER = {"Authorization": f"Bearer {KEY}"}


class Pair:
    """Two gateways, a and b, each with a port of its own."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.edges: dict[str, EdgeServer] = {}
        self.hubs: dict[str, Hub] = {}

    async def start(self) -> None:
        await self.fleet.start("a", "b")
        for name, house in self.fleet.houses.items():
            hub = self.hubs[name] = Hub(house.tables.keys)
            self.edges[name] = edge_on(house.tables, house.service, house.pool, house.clock, hub, Metrics())
            await self.edges[name].start()

    async def stop(self) -> None:
        for name, edge in self.edges.items():
            await self.hubs[name].drain(0, 1)
            await edge.stop()
        await self.fleet.stop()

    def url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.edges[name].port}{path}"

    def role(self, name: str, session: bool = False) -> str:
        return self.url(name, "/role/cat" + ("?session_id=abc" if session else ""))

    async def ask(self, name: str, path: str, body: Any = None) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        url = self.url(name, path)
        async with aiohttp.ClientSession() as http, http.request(method, url, headers=BEARER, json=body) as got:
            return got.status, await got.json()

    async def say(self, name: str, message: str, **more: Any) -> tuple[int, Any]:
        return await self.ask(name, "/role/cat", {"message": message, "session_id": "abc", **more})


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    built = Pair()
    await built.start()
    yield built
    await built.stop()


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_stream_at_one_gateway_tells_of_turns_at_the_other(pair: Pair) -> None:
    await pair.say("a", "one")
    async with (
        listening(pair.role("a", session=True), KEY) as at_a,
        listening(pair.role("b", session=True), KEY) as at_b,
    ):
        await at_a.until("session.created")
        await at_b.until("session.created")
        await pair.say("a", "two")
        await pair.say("b", "three")
        for heard in (at_a, at_b):
            await heard.until("response.done")
            await heard.until("response.done")
    assert at_a.seqs() == at_b.seqs() == [3, 4, 5, 6]
    assert at_a.text() == at_b.text() == "You said two.You said three."
    assert pair.fleet["b"].pods_asked == 0


async def test_a_question_that_waits_at_one_gateway_is_answered_by_a_turn_at_the_other(pair: Pair) -> None:
    await pair.say("a", "one")
    async with listening(pair.role("a", session=True), KEY) as at_a:
        await at_a.until("session.created")
        asked = asyncio.create_task(pair.ask("b", "/v1/roles/cat/sessions/abc/events?after_seq=2&wait=30"))
        state = asyncio.create_task(pair.ask("b", "/v1/roles/cat/sessions/abc/state?after_version=1&wait=30"))
        await until(lambda: pair.hubs["b"].sockets == 2)
        await pair.say("a", "two")
        assert [event["seq"] for event in (await asked)[1]["events"]] == [3, 4]
        assert ((await state)[1]["version"], (await state)[1]["state"]) == (2, {"turns": 2})


async def test_a_chat_goes_on_at_the_other_gateway(pair: Pair) -> None:
    asked = {"model": "cat", "session_id": "abc", "messages": [{"role": "user", "content": "say it again"}]}
    await pair.say("a", "one")
    _, answer = await pair.ask("b", "/v1/chat/completions", asked)
    assert answer["choices"][0]["message"]["content"] == "Before: one"


async def test_when_a_gateway_dies_its_listeners_elsewhere_hear_the_end_and_all_that_comes(pair: Pair) -> None:
    house = pair.fleet["a"]
    async with listening(pair.role("a"), KEY, said={"message": "one", "session_id": "abc"}) as first:
        await first.rest()
    async with listening(pair.role("a", session=True), KEY) as at_a:
        await at_a.until("session.created")
        async with listening(pair.role("b", session=True), KEY) as at_b:
            await at_b.until("session.created")
            house.turns_hang()
            lost = asyncio.create_task(pair.say("b", "two", client_msg_id="c2"))
            await at_b.until("response.created")
            await pair.fleet.kill("a")
            assert (await lost)[1]["error"]["code"] == "owner_lost"
            failed = await at_b.until("response.done")
            assert (failed["status"], failed["seq"]) == ("failed", None)
            status, done = await pair.say("b", "two", client_msg_id="c2")
            assert (status, done["message"]) == (200, "You said two.")
            await at_b.until("response.done")
    assert at_b.seqs() == [3, 4]


async def test_who_was_cut_off_in_the_middle_of_an_answer_comes_back_at_the_other_gateway(pair: Pair) -> None:
    """The turn died with its gateway: what was heard of it is said to be lost, and the message may be said again."""
    said = {"message": "one", "session_id": "abc", "client_msg_id": "c1"}
    pair.fleet["a"].turns_hang()
    async with listening(pair.role("a"), KEY, said=said) as heard:
        response = (await heard.until("response.created"))["response_id"]
    await pair.fleet.kill("a")
    async with listening(pair.role("b"), KEY, said=said, last_id=f"0.{response}.4") as again:
        await again.rest()
    ends = [event for event in again.events if event["type"] == "response.done"]
    assert [(end["status"], end.get("error", {}) and end["error"]["code"]) for end in ends] == [
        ("failed", "response_lost"), ("completed", None),
    ]  # fmt: skip
    assert (again.text(), again.seqs()) == ("You said one.", [1, 2])
