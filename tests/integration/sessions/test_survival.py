"""A gateway is killed in the middle of an answer: a client that only listens gets it all the same, whole and once."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.gateway_process import CLIENT_KEY, quote
from tests.support.killing import Platform, platform
from tests.support.redis import RedisServer, running
from tests.support.rooms import ACME
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from rolehost_api import identity
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

pytestmark = pytest.mark.timeout(180)

LONG = "a story of a dragon " * 100
"""Its answer streams for a second."""
KEY = identity.session_key(ACME.uid, "cat", identity.service_principal(ACME.uid), "abc")
Frame = dict[str, Any]


@pytest.fixture
async def on(tmp_path: Path) -> AsyncIterator[tuple[Platform, RedisSessionStore]]:
    with running() as redis:
        async with platform(redis, tmp_path) as built:
            store = RedisSessionStore.connect(redis.url)
            await warm(built)
            yield built, store
            await store.close()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Platform, RedisSessionStore]]:
    """Two gateways that know each other; `a` is the one that is killed."""
    with running() as redis:
        async with platform(redis, tmp_path, ("a", "b")) as built:
            store = RedisSessionStore.connect(redis.url)
            await warm(built)
            yield built, store
            await store.close()


async def warm(platform: Platform) -> None:
    """Every gateway has answered somebody: the pods are up."""
    for name, port in platform.ports.items():
        socket = await opened(port, session_id=f"warm-{name}")
        await hear(socket, "session.resumed")
        await answered(socket, "are you there?")
        await socket.close()


async def opened(port: int, after: int = 0, bare: bool = False, session_id: str = "abc") -> ClientConnection:
    """A socket in the session; the gateway may still be on its way up."""
    query = f"session_id={session_id}" if bare else f"session_id={session_id}&after_seq={after}"
    async with asyncio.timeout(20):
        while True:
            try:
                return await connect(
                    f"ws://127.0.0.1:{port}/role/cat?{query}",
                    additional_headers={"Authorization": f"Bearer {CLIENT_KEY}"},
                    subprotocols=None if bare else [Subprotocol("role.v1")],
                    compression=None,
                    ping_interval=None,
                )
            except (OSError, WebSocketException):
                await asyncio.sleep(0.05)


async def hear(socket: ClientConnection, *types: str) -> list[Frame]:
    """Frames up to the first of one of these types."""
    frames: list[Frame] = []
    async with asyncio.timeout(20):
        while not frames or frames[-1]["type"] not in types:
            frames.append(json.loads(await socket.recv()))
    return frames


async def hear_text(socket: ClientConnection, chars: int) -> None:
    """Until so much of an answer was told: nobody has heard more than was sent."""
    told = 0
    while told < chars:
        delta = (await hear(socket, "response.output_text.delta"))[-1]
        told = int(delta["offset"]) + len(delta["delta"])


async def answered(socket: ClientConnection, message: str) -> None:
    """Say something until it is answered."""
    message_id, done = secrets.token_hex(8), Frame()
    while done.get("client_msg_id") != message_id or done.get("status") != "completed":
        if done.get("client_msg_id") in (None, message_id):  # else it was another's, told again
            await socket.send(json.dumps({"message": message, "client_msg_id": message_id}))
        done = (await hear(socket, "response.done"))[-1]


async def in_mid_answer(port: int, **said: Any) -> Frame:
    """Say something and hear the first words of the answer; returns its `response.created`."""
    socket = await opened(port)
    await hear(socket, "session.resumed")
    await socket.send(json.dumps({"message": LONG, **said}))
    frames = await hear(socket, "response.output_text.delta")
    await asyncio.sleep(0.1)
    return next(frame for frame in frames if frame["type"] == "response.created")


async def records(store: RedisSessionStore) -> list[TurnRecord]:
    return [record for record in await store.read(KEY) if isinstance(record, TurnRecord)]


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


async def owner_of(redis: RedisServer) -> bytes:
    """Name of the gateway that answers the session."""
    asking = await asyncio.create_subprocess_exec(
        *("redis-cli", "-s", str(redis.socket), "HGET", f"rh:{{{KEY}}}:{KEY}:head", "owner"),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asking.communicate()
    return said


async def relayed(on: Platform) -> tuple[ClientConnection, ClientConnection]:
    """A socket at `a`, which answers the session, and one at `b`, which relays its client there.

    On a machine with much else to do two gateways may lose sight of each other: until they see each other again.
    """
    async with asyncio.timeout(60):
        while True:
            sockets = []
            for name in ("a", "b"):
                sockets.append(await opened(on.ports[name]))
                await hear(sockets[-1], "session.resumed")
                await answered(sockets[-1], f"hello from {name}")
            if (await owner_of(on.redis)).startswith(b"a/"):
                return sockets[0], sockets[1]
            for socket in sockets:
                await socket.close()
            await asyncio.sleep(0.5)


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
