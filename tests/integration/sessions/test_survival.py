"""A gateway is killed in the middle of an answer: a client that only listens gets it all the same, whole and once."""

import asyncio
import json
from random import Random

import pytest
from tests.support.gateway_process import quote
from tests.support.killing import Platform
from tests.support.surviving import LONG, hear, hear_text, in_mid_answer, opened, records, relayed

from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

pytestmark = pytest.mark.timeout(180)


async def test_who_only_listens_gets_its_answer(on: tuple[Platform, RedisSessionStore]) -> None:
    killing, store = on
    created = await in_mid_answer(killing.port)
    assert await killing.kill("gateway", Random(1))
    socket = await opened(killing.port)
    frames = await hear(socket, "response.done")
    kinds = [frame["type"] for frame in frames]
    assert kinds.index("response.reset") < kinds.index("response.created") < kinds.index("response.output_text.delta")
    done = frames[-1]
    assert (done["status"], done["message"]) == ("completed", quote("", LONG) + " #1")
    answers = [frame for frame in frames if frame.get("response_id")]
    assert {frame["response_id"] for frame in answers} == {created["response_id"]}
    assert "".join(frame["delta"] for frame in answers if "delta" in frame) == done["message"]
    assert [record.reply for record in await records(store)] == [done["message"]]
    await socket.close()


async def test_a_bare_client_that_listens_gets_the_whole_text(on: tuple[Platform, RedisSessionStore]) -> None:
    killing, _ = on
    await in_mid_answer(killing.port)
    await killing.kill("gateway", Random(1))
    socket = await opened(killing.port, bare=True)
    frames = await hear(socket, "response.done")
    assert frames[-1]["message"] == quote("", LONG) + " #1"
    assert {frame["type"] for frame in frames} == {"session.created", "response.output_text.delta", "response.done"}
    await socket.close()


async def test_who_sends_it_again_gets_that_same_turn(on: tuple[Platform, RedisSessionStore]) -> None:
    killing, store = on
    created = await in_mid_answer(killing.port, client_msg_id="c1")
    await killing.kill("gateway", Random(1))
    socket = await opened(killing.port)
    await socket.send(json.dumps({"message": LONG, "client_msg_id": "c1"}))
    done = (await hear(socket, "response.done"))[-1]
    assert (done["status"], done["response_id"], done["client_msg_id"]) == ("completed", created["response_id"], "c1")
    assert len(await records(store)) == 1
    await socket.close()


async def test_after_a_second_death_it_is_given_up_and_that_is_said(on: tuple[Platform, RedisSessionStore]) -> None:
    killing, store = on
    await in_mid_answer(killing.port)
    await killing.kill("gateway", Random(1))
    again = await opened(killing.port)
    await hear(again, "response.output_text.delta")
    await killing.kill("gateway", Random(1))
    socket = await opened(killing.port)
    done = (await hear(socket, "response.done"))[-1]
    assert (done["status"], done["error"]["code"], done["seq"]) == ("failed", "turn_given_up", None)
    await socket.send(json.dumps({"message": "hello"}))
    assert (await hear(socket, "response.done"))[-1]["status"] == "completed"
    assert [record.input for record in await records(store)] == ["hello"]
    await socket.close()


async def test_a_cancel_over_the_socket_in_mid_stream_and_after_it(on: tuple[Platform, RedisSessionStore]) -> None:
    killing, store = on
    socket = await opened(killing.port)
    await hear(socket, "session.resumed")
    await socket.send(json.dumps({"message": LONG}))
    created = (await hear(socket, "response.created"))[-1]
    await hear_text(socket, 3)
    cancel = {"type": "response.cancel", "response_id": created["response_id"], "heard": {"chars": 3, "audio_ms": 90}}
    await socket.send(json.dumps(cancel))
    done = (await hear(socket, "response.done"))[-1]
    assert (done["status"], done["message"]) == ("cancelled", "Aft")
    assert done["truncated_at"] == {"chars": 3, "audio_ms": 90}
    await socket.send(json.dumps({"message": "hello"}))
    done = (await hear(socket, "response.done"))[-1]
    assert done["message"] == quote(LONG.strip(), "hello").replace(LONG.strip(), LONG) + " #2"
    cancel = {"type": "response.cancel", "response_id": done["response_id"], "heard": {"chars": 5}}
    for _ in range(2):
        await socket.send(json.dumps(cancel))
    await socket.send(json.dumps({"type": "response.cancel", "response_id": created["response_id"]}))
    frames = await hear(socket, "error")
    assert [frame["type"] for frame in frames] == ["response.amended", "error"]
    assert (frames[0]["message"], frames[1]["error"]["code"]) == ("After", "response_not_found")
    assert [record.status for record in await records(store)] == ["cancelled", "completed"]
    await socket.close()


async def test_a_relayed_client_keeps_its_socket_and_gets_its_answer(two: tuple[Platform, RedisSessionStore]) -> None:
    """It says nothing again: its own gateway takes the session over from the one that died."""
    killing, store = two
    _, client = await relayed(killing)
    before = len(await records(store))
    await client.send(json.dumps({"message": LONG}))
    created = (await hear(client, "response.created"))[-1]
    await hear(client, "response.output_text.delta")
    await asyncio.sleep(0.1)
    killing.gateways["a"].kill()
    frames = await hear(client, "response.done")
    kinds = [frame["type"] for frame in frames]
    again = kinds.index("response.reset")
    assert "error" not in kinds
    done = frames[-1]
    assert (done["status"], done["response_id"]) == ("completed", created["response_id"])
    assert "".join(frame["delta"] for frame in frames[again:] if "delta" in frame) == done["message"]
    numbers = [frame["seq"] for frame in frames if frame["seq"] is not None]
    assert numbers == list(range(numbers[0], done["seq"] + 1))
    assert [record.input for record in (await records(store))[before:]] == [LONG]
    await client.close()


async def test_a_relayed_client_cancels_and_interrupts(two: tuple[Platform, RedisSessionStore]) -> None:
    killing, store = two
    owner, client = await relayed(killing)
    before = len(await records(store))
    await client.send(json.dumps({"message": LONG}))
    created = (await hear(client, "response.created"))[-1]
    await hear_text(client, 5)
    cancel = {"type": "response.cancel", "response_id": created["response_id"], "heard": {"chars": 5}}
    await client.send(json.dumps(cancel))
    done = (await hear(client, "response.done"))[-1]
    assert (done["status"], done["message"]) == ("cancelled", "After")
    await client.send(json.dumps({"message": LONG}))
    await hear_text(client, 7)
    await client.send(json.dumps({"message": "wait", "busy_policy": "interrupt", "heard": {"chars": 7}}))
    done = (await hear(client, "response.done"))[-1]
    assert (done["status"], done["message"]) == ("cancelled", "After <")
    assert (await hear(client, "response.done"))[-1]["status"] == "completed"
    assert [record.status for record in (await records(store))[before:]] == ["cancelled", "cancelled", "completed"]
    for socket in (owner, client):
        await socket.close()
