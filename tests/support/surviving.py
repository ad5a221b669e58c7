"""A session of several clients at gateways that die, sleep or end: what they say and hear, and what is kept of it."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families
from tests.support.gateway_process import CLIENT_KEY
from tests.support.killing import Platform
from tests.support.redis import RedisServer
from tests.support.rooms import ACME
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from rolehost_api import identity
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore

LONG = "a story of a dragon " * 100
"""Its answer streams for a second."""
KEY = identity.session_key(ACME.uid, "cat", identity.service_principal(ACME.uid), "abc")
Frame = dict[str, Any]


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


async def heard_until(socket: ClientConnection, last: Callable[[Frame], bool]) -> list[Frame]:
    """Frames up to the one meant."""
    frames: list[Frame] = []
    async with asyncio.timeout(30):
        while not frames or not last(frames[-1]):
            frames.append(json.loads(await socket.recv()))
    return frames


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


async def given_up(on: Platform, name: str) -> Counter[str]:
    """How often this gateway gave the other one up, by why."""
    async with ClientSession() as http, http.get(f"http://127.0.0.1:{on.meters[name]}/metrics") as answer:
        text = await answer.text()
    (family,) = (one for one in text_string_to_metric_families(text) if one.name == "rolehost_gateway_peers_given_up")
    return Counter({one.labels["why"]: int(one.value) for one in family.samples if one.name.endswith("_total")})
