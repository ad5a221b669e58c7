"""A gateway that stops: its clients move one after the other, and nobody hears an error for it."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from tests.support import edge as support
from tests.support.edge import ACME_KEY, Edge
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from rolehost_api.wire import SUBPROTOCOL
from rolehost_runtime.gateway.edge.policy import Policy

BEARER = {"Authorization": f"Bearer {ACME_KEY}"}


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    running = await support.start_edge(policy=Policy())
    yield running
    await running.hub.drain(0, 0)
    await running.server.stop()


async def test_a_client_of_the_full_dialect_is_told_to_come_again_and_then_closed(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
        await socket.send(json.dumps({"message": "hi", "session_id": "s"}))
        while json.loads(await socket.recv())["type"] != "response.done":
            pass
        await edge.hub.drain(0, 1)
        last = json.loads(await socket.recv())
        assert (last["type"], last["session_id"], last["reason"]) == ("session.migrate", "s", "drain")
        await socket.wait_closed()
        assert socket.close_code == 1012


async def test_until_it_is_asked_to_move_a_client_is_answered(edge: Edge) -> None:
    """Of many sockets the last ones wait for their turn, and talk meanwhile."""
    async with asyncio.TaskGroup() as group:
        sockets = [await connect(edge.ws(), additional_headers=BEARER) for _ in range(20)]
        draining = group.create_task(edge.hub.drain(10, 5))
        await asyncio.sleep(0)

        async def talk(number: int) -> int:
            """Answers until the close; an error would be a failed turn."""
            answered = 0
            socket = sockets[number]
            try:
                while True:
                    await socket.send(json.dumps({"message": "hi", "session_id": f"s{number}"}))
                    while (frame := json.loads(await socket.recv()))["type"] != "response.done":
                        assert frame["type"] != "error" or frame["error"]["code"] == "draining", frame
                    answered += 1
            except Exception:
                await socket.wait_closed()
                assert socket.close_code == 1012
            return answered

        answers = [group.create_task(talk(number)) for number in range(20)]
        await draining
    assert sum(task.result() for task in answers) > 0


async def test_a_request_on_a_kept_connection_is_answered_and_ends_it(edge: Edge) -> None:
    reader, writer = await edge.raw()
    ask = f"GET /v1/roles HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ACME_KEY}\r\n\r\n".encode()
    writer.write(ask)
    first = await reader.readuntil(b"\r\n\r\n")
    assert b"connection: close" not in first.lower()
    length = int(first.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    edge.hub.draining = True
    writer.write(ask)
    rest = await reader.read()
    assert rest.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in rest.lower()
    writer.close()
