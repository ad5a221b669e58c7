"""A session is spoken in at one gateway and heard at another, over ways that keep no socket; gateways go meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.support.gateways import Fleet
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, ask_and_commit
from tests.support.sse import listening
from tests.support.talking import KEYS, edge_on

from rolehost_api.link.messages import CallModel
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


async def answer_and_hang(pod: Any, channel: int, start: Any) -> None:
    """The model's answer is told, and the turn never ends."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    await pod.answer(channel)
    await asyncio.Event().wait()


async def test_when_a_gateway_dies_its_listeners_elsewhere_hear_the_answer_anew_and_all_that_comes(pair: Pair) -> None:
    async with listening(pair.role("a"), KEY, said={"message": "one", "session_id": "abc"}) as first:
        await first.rest()
    async with listening(pair.role("a", session=True), KEY) as at_a:
        await at_a.until("session.created")
        async with listening(pair.role("b", session=True), KEY) as at_b:
            await at_b.until("session.created")
            pair.fleet["a"].turns_are(answer_and_hang)
            said = asyncio.create_task(pair.say("b", "two", client_msg_id="c2"))
            while at_b.text() != "You said two.":
                await at_b.until("response.output_text.delta")
            await pair.fleet.kill("a")
            assert (await at_b.until("response.done"))["given_anew"]
            assert "response.reset" in at_b.types()
            status, done = await said
            assert (status, done["status"], done["message"]) == (200, "completed", "You said two.")
    assert at_b.seqs() == [3, 4]


async def test_who_was_cut_off_in_the_middle_of_an_answer_comes_back_at_the_other_gateway(pair: Pair) -> None:
    """The gateway died in the turn: the other one gives the answer anew, and the client forgets what it has of it."""
    said = {"message": "one", "session_id": "abc", "client_msg_id": "c1"}
    pair.fleet["a"].turns_are(answer_and_hang)
    async with listening(pair.role("a"), KEY, said=said) as heard:
        await heard.until("response.output_text.delta")
        last_id = heard.last_id
    assert last_id.startswith("0.r")
    await pair.fleet.kill("a")
    async with listening(pair.role("b"), KEY, said=said, last_id=last_id) as again:
        await again.rest()
    assert again.types() == [
        "session.created", "response.reset", *["response.output_text.delta"] * 4, "role.state.delta", "response.done",
    ]  # fmt: skip
    assert (again.text(), again.seqs(), again.events[-1]["message"]) == ("You said one.", [1, 2], "You said one.")


async def test_a_chat_whose_gateway_dies_in_its_middle_ends_with_an_error_and_is_whole_when_it_is_asked_again(
    pair: Pair,
) -> None:
    asked = {"model": "cat", "session_id": "abc", "stream": True, "messages": [{"role": "user", "content": "one"}]}
    await pair.say("a", "zero")
    pair.fleet["a"].turns_are(answer_and_hang)
    headers = {**BEARER, "Idempotency-Key": "c1"}
    async with listening(pair.role("a", session=True), KEY) as at_a:
        await at_a.until("session.created")
        async with aiohttp.ClientSession() as http:
            url = pair.url("b", "/v1/chat/completions")
            async with http.post(url, json=asked, headers=headers) as got:
                await at_a.until("response.output_text.delta")
                assert b'"assistant"' in await got.content.readuntil(b"\n\n")
                assert b"You " in await got.content.readuntil(b"\n\n")
                await pair.fleet.kill("a")
                *_, last = [block for block in (await got.read()).split(b"\n\n") if block]
            error = json.loads(last.removeprefix(b"data: "))["error"]
            assert (error["code"], error["type"]) == ("response_reset", "server_error")
            async with http.post(url, json={**asked, "stream": False}, headers=headers) as got:
                answer = await got.json()
    assert answer["choices"][0]["message"]["content"] == "You said one."
    assert answer["role"]["seq"] == 4


async def test_an_answer_at_one_gateway_is_interrupted_by_a_message_that_is_posted_at_the_other(pair: Pair) -> None:
    pair.fleet["a"].turns_are(answer_and_hang)
    async with listening(pair.role("a"), KEY, said={"message": "one", "session_id": "abc"}) as first:
        while first.text() != "You said one.":
            await first.until("response.output_text.delta")
        pair.fleet["a"].turns_are(ask_and_commit)
        status, refused = await pair.say("b", "two", busy_policy="reject")
        assert (status, refused["error"]["code"]) == (429, "busy")
        status, done = await pair.say("b", "two", busy_policy="interrupt", heard={"chars": 3})
        assert (status, done["message"]) == (200, "You said two.")
        cut = await first.until("response.done")
    assert (cut["status"], cut["message"], cut["truncated_at"]) == ("cancelled", "You", {"chars": 3, "audio_ms": None})
