"""Event streams over a real port, with real sessions behind: a turn, a session followed, coming back, being let go of."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from tests.support.pacing import STORY, WORDS, Paced
from tests.support.rooms import ACME, EVIL
from tests.support.sse import listening
from tests.support.talking import KEYS, Talkers

from rolehost_api.errors import Unavailable
from rolehost_api.identity import key_hash
from rolehost_api.wire import TextDelta
from rolehost_runtime.gateway.edge import stream

KEY = KEYS[ACME]


@pytest.fixture
async def model() -> Paced:
    return Paced()


@pytest.fixture
async def house(model: Paced) -> AsyncIterator[Talkers]:
    async with Talkers(model=model) as running:
        yield running


def role(house: Talkers, session_id: str = "") -> str:
    return f"{house.url}/role/cat" + (f"?session_id={session_id}" if session_id else "")


async def turn(house: Talkers, model: Paced, session_id: str = "s", **more: Any) -> None:
    model.allow()
    await house.say(session_id, "hi", **more)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


# ── a turn ──────────────────────────────────────────────────────────────────────────


async def test_a_turn_is_told_as_it_happens_and_then_the_stream_ends(house: Talkers, model: Paced) -> None:
    async with listening(role(house), KEY, said={"message": "hi", "session_id": "s", "client_msg_id": "c1"}) as heard:
        assert heard.answer.content_type == "text/event-stream"
        model.allow(1)
        assert (await heard.until("response.output_text.delta"))["delta"] == WORDS[0]
        model.allow()
        await heard.rest()
    assert heard.types() == [
        "session.created", "response.created", *["response.output_text.delta"] * len(WORDS), "role.state.delta",
        "response.done",
    ]  # fmt: skip
    assert (heard.text(), heard.seqs(), heard.events[-1]["message"]) == (STORY, [1, 2], STORY)
    response, ends = heard.events[-1]["response_id"], [sum(map(len, WORDS[: n + 1])) for n in range(len(WORDS))]
    assert heard.ids == ["0", "0", *(f"0.{response}.{end}" for end in ends), "1", "2"]


async def test_a_client_that_goes_does_not_cancel_its_turn(house: Talkers, model: Paced) -> None:
    async with listening(role(house), KEY, said={"message": "hi", "session_id": "s"}) as heard:
        model.allow(2)
        await heard.until("response.output_text.delta")
    await until(lambda: house.hub.sockets == 0)
    model.allow()
    await until(lambda: house.store.shelf.logs)
    async with listening(role(house, "s"), KEY, last_id="0") as again:
        assert (await again.until("response.done"))["message"] == STORY


async def test_the_same_message_again_with_its_last_id_hears_the_rest(house: Talkers, model: Paced) -> None:
    said = {"message": "hi", "session_id": "s", "client_msg_id": "c1"}
    async with listening(role(house), KEY, said=said) as first:
        model.allow(3)
        for _ in range(5):
            await first.next()
    async with listening(role(house), KEY, said=said, last_id=first.last_id) as second:
        model.allow()
        await second.rest()
    async with listening(role(house), KEY, said=said, last_id=first.last_id) as third:
        await third.rest()
    assert first.text() + second.text() == first.text() + third.text() == STORY
    assert len(house.store.shelf.logs) == 1
    assert all(len(log) == 1 for log in house.store.shelf.logs.values())


async def test_what_keeps_a_turn_from_beginning_is_a_status(house: Talkers) -> None:
    for said, key, status, code in (
        ({"message": "hi", "session_id": "a b"}, KEY, 400, "invalid_session_id"),
        ({"message": 7}, KEY, 400, "invalid_frame"),
        ({"message": "hi"}, "wrong", 401, "unauthorized"),
        ({"message": "hi", "user": "u"}, KEY, 403, "user_not_allowed"),
    ):
        async with listening(role(house), key, said=said) as heard:
            assert (heard.answer.status, (await heard.answer.json())["error"]["code"]) == (status, code)


async def test_what_fails_a_turn_is_told_once_and_ends_the_stream(house: Talkers, model: Paced) -> None:
    model.fails = True
    model.allow(1)
    async with listening(role(house), KEY, said={"message": "hi", "session_id": "s"}) as heard:
        await heard.rest()
    assert heard.types() == ["session.created", "response.created", "response.done"]
    assert (heard.events[-1]["status"], heard.events[-1]["error"]["code"]) == ("failed", "model_unavailable")


# ── following ───────────────────────────────────────────────────────────────────────


async def test_a_session_is_followed_over_its_turns(house: Talkers, model: Paced) -> None:
    await turn(house, model)
    async with listening(role(house, "s"), KEY) as heard:
        assert (await heard.until("session.created"))["head"] == 2
        await turn(house, model)
        await heard.until("response.done")
        await turn(house, model)
        await heard.until("response.done")
    assert (heard.seqs(), heard.text()) == ([3, 4, 5, 6], STORY * 2)
    assert "session.resumed" not in heard.types()


async def test_what_was_missed_is_told_and_then_what_happens(house: Talkers, model: Paced) -> None:
    await turn(house, model)
    await turn(house, model)
    for url, last_id in (
        (role(house, "s"), "1"),
        (role(house, "s") + "&last_event_id=1", ""),
        (role(house, "s") + "&after_seq=1", ""),
    ):
        async with listening(url, KEY, last_id=last_id) as heard:
            await heard.until("role.state.delta")
            await heard.until("response.done")
        assert heard.seqs() == [2, 3, 4]
    assert [event.get("replay") for event in heard.events if event["type"] == "response.done"] == [True, True]


@pytest.mark.parametrize("cuts", [[1], [3], [8], [1, 1, 1], [2, 4], [5, 1, 1], [1] * 8], ids=str)
async def test_a_listener_that_comes_and_goes_hears_every_word_once(
    house: Talkers, model: Paced, cuts: list[int]
) -> None:
    """After each cut it stays away for a word, and comes back with the last id that it had."""
    await house.say("s")  # somebody is there
    running = asyncio.create_task(house.say("s", "hi"))
    told, last_id = "", "0"
    seqs: list[int] = []
    left = len(WORDS)
    for cut in cuts:
        async with listening(role(house, "s"), KEY, last_id=last_id) as heard:
            await heard.until("session.resumed")
            for _ in range(min(cut, left)):
                model.allow(1)
                left -= 1
                await heard.until("response.output_text.delta")
            told, last_id, seqs = told + heard.text(), heard.last_id, seqs + heard.seqs()
        if left > 0:
            model.allow(1)
            left -= 1
            await asyncio.sleep(0)
    model.allow()
    if random.Random(str(cuts)).random() < 0.5:
        await running
    async with listening(role(house, "s"), KEY, last_id=last_id) as heard:
        await heard.until("response.done")
    await running
    assert (told + heard.text(), seqs + heard.seqs()) == (STORY, [1, 2])


async def test_an_answer_that_failed_meanwhile_is_said_to_be_lost(house: Talkers, model: Paced) -> None:
    await house.say("s")
    running = asyncio.create_task(house.say("s", "hi"))
    async with listening(role(house, "s"), KEY, last_id="0") as heard:
        model.allow(1)
        response = (await heard.until("response.output_text.delta"))["response_id"]
    model.fails = True
    model.allow(1)
    with pytest.raises(Unavailable):
        await running
    async with listening(role(house, "s"), KEY, last_id=heard.last_id) as again:
        lost = await again.until("response.done")
        assert (lost["response_id"], lost["error"]["code"]) == (response, "response_lost")
        assert lost["error"]["retryable"]
        model.fails = False
        await turn(house, model)
        await again.until("response.done")
    assert (again.text(), again.seqs(), again.last_id) == (STORY, [1, 2], "2")


async def test_listening_makes_no_session_and_tells_no_other_tenant(house: Talkers, model: Paced) -> None:
    async with listening(role(house, "s"), KEY) as heard:
        assert (heard.answer.status, (await heard.answer.json())["error"]["code"]) == (404, "session_not_found")
    assert house.store.shelf.heads == {}
    await turn(house, model)
    async with listening(role(house, "s"), KEYS[EVIL]) as heard:
        assert heard.answer.status == 404


@pytest.mark.parametrize(
    ("query", "accept", "last_id", "status", "code"),
    [
        ("", "text/event-stream", "", 400, "session_id_needed"),
        ("?session_id=s", "application/json", "", 406, "not_acceptable"),
        ("?session_id=a%20b", "text/event-stream", "", 400, "invalid_session_id"),
        ("?session_id=s", "text/event-stream", "x", 400, "invalid_last_event_id"),
        ("?session_id=s&after_seq=-1", "text/event-stream", "", 400, "invalid_after_seq"),
        ("?session_id=s&key=x", "text/event-stream", "", 400, "key_in_url"),
    ],
)
async def test_a_bad_question_is_refused(
    house: Talkers, query: str, accept: str, last_id: str, status: int, code: str
) -> None:
    async with listening(role(house) + query, KEY, last_id=last_id, headers={"Accept": accept}) as heard:
        assert (heard.answer.status, (await heard.answer.json())["error"]["code"]) == (status, code)


# ── its end ─────────────────────────────────────────────────────────────────────────


async def test_a_silent_stream_beats(house: Talkers, model: Paced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.01)
    await turn(house, model)
    async with listening(role(house, "s"), KEY) as heard:
        assert await heard.answer.content.readuntil(b": still here\n\n")


async def test_a_gateway_that_leaves_asks_its_listeners_to_come_again(house: Talkers, model: Paced) -> None:
    await turn(house, model)
    async with listening(role(house, "s"), KEY) as heard:
        await heard.until("session.created")
        await house.hub.drain(0, 1)
        await heard.rest()
    assert heard.types() == ["session.created", "session.migrate"]
    assert heard.retry is not None
    assert 200 <= heard.retry <= 2000
    async with listening(role(house, "s"), KEY, last_id=heard.last_id) as again:
        assert (again.answer.status, (await again.answer.json())["error"]["code"]) == (503, "draining")


async def test_a_turn_that_runs_is_told_to_its_end_while_the_gateway_leaves(house: Talkers, model: Paced) -> None:
    async with listening(role(house), KEY, said={"message": "hi", "session_id": "s"}) as heard:
        await heard.until("response.created")
        draining = asyncio.create_task(house.hub.drain(0, 10))
        await asyncio.sleep(0)
        model.allow()
        await heard.rest()
        await draining
    assert (heard.types()[-1], heard.text()) == ("response.done", STORY)


async def test_a_revoked_key_hears_why_and_nothing_more(house: Talkers, model: Paced) -> None:
    await turn(house, model)
    async with listening(role(house, "s"), KEY) as heard:
        await heard.until("session.created")
        house.tables.keys.drop((key_hash(KEY),))
        await heard.rest()
    assert (heard.types(), heard.events[-1]["error"]["code"]) == (["session.created", "error"], "key_revoked")


async def test_a_reader_that_does_not_read_is_let_go_of(house: Talkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is cut; the session and its other listeners go on."""
    monkeypatch.setattr("rolehost_runtime.gateway.edge.outbox.MAX_HELD_BYTES", 1 << 16)
    await house.say("s")
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port, limit=1 << 12)
    head = f"GET /role/cat?session_id=s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\naccept: text/event-stream\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"session.created")
    (live,) = [socket for sockets in house.hub._by_key.values() for socket in sockets]
    ear = next(iter(house.service._live.values())).audience
    async with asyncio.timeout(20):
        for number in range(100_000):
            if live not in {one for held in house.hub._by_key.values() for one in held}:
                break
            ear.broadcast(
                TextDelta(session_id="s", seq=None, ts=0, response_id=f"r{number}", offset=0, delta="x" * 8192)
            )
            await asyncio.sleep(0)
    assert house.hub.sockets == 0
    with suppress(ConnectionResetError):
        while await reader.read(1 << 16):
            pass
    writer.close()


async def test_a_reader_that_takes_nothing_in_time_is_cut_off(house: Talkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much may wait for it: here no bound but the time is ever reached."""
    monkeypatch.setattr(stream, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr("rolehost_runtime.gateway.edge.outbox.MAX_HELD_BYTES", 1 << 40)
    await house.say("s")
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port, limit=1 << 12)
    head = f"GET /role/cat?session_id=s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\naccept: text/event-stream\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"session.created")
    audience = next(iter(house.service._live.values())).audience
    for number in range(256):
        delta = "x" * (1 << 16)
        audience.broadcast(TextDelta(session_id="s", seq=None, ts=0, response_id=f"r{number}", offset=0, delta=delta))
    async with asyncio.timeout(20):
        while house.hub.sockets:
            await asyncio.sleep(0.01)
    writer.close()


async def test_json_is_answered_where_no_stream_is_asked_for(house: Talkers, model: Paced) -> None:
    model.allow()
    headers = {"Authorization": f"Bearer {KEY}", "Accept": "*/*"}
    async with aiohttp.ClientSession() as http, http.post(role(house), headers=headers, json={"message": "hi"}) as got:
        assert json.loads(await got.read())["message"] == STORY
