"""Two channels of one session over real sockets: what the one hears when the other fares badly, and slow readers in number."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.edge import read_frames, upgrade
from tests.support.rooms import ACME, FakePod
from tests.support.rpc import client
from tests.support.talking import KEYS, Talkers
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rolehost_api import wire
from rolehost_api.link.messages import Commit, PatchOp, Say, StartTurn
from rolehost_runtime.core import channels

SLOW = 200
HISTORY = 192 * 1024
"""Characters of each answer: a client that reads nothing is past every bound after a few."""


async def answers(pod: FakePod, channel: int, start: StartTurn) -> None:
    text = "x" * HISTORY if start.message == "long" else "yes"
    for at in range(0, len(text), 8192):
        pod.send(channel, Say(index=at // 8192, text=text[at : at + 8192]))
    pod.send(channel, Commit(patch=(PatchOp("add", "/turns", start.turn),), urgent="fire" in start.message))


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers(grpc=True) as running:
        running.turns_are(answers)
        yield running


def talking(house: Talkers) -> Any:
    return connect(
        f"{house.ws}/role/cat?session_id=s",
        additional_headers={"Authorization": f"Bearer {KEYS[ACME]}"},
        subprotocols=[Subprotocol("role.v1")],
        proxy=None,
    )


async def until(ws: ClientConnection, kind: str, **like: Any) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            event: dict[str, Any] = json.loads(await ws.recv())
            if event["type"] == kind and like.items() <= event.items():
                return event


async def asked(house: Talkers, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS[ACME]}\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


async def test_a_lost_watcher_degrades_the_socket_which_polls_by_version_until_it_is_back(
    house: Talkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "PATIENCE_MS", 100)
    monkeypatch.setattr(channels, "STEADY_MS", 200)
    async with talking(house) as ws:
        await ws.send('{"message": "hello"}')
        await until(ws, "response.done")
        async with client(house.grpc.port, KEYS[ACME]) as one:
            watch = one.watch("s")
            assert (await watch.read()).version == 1
            watch.cancel()
            urgent = await until(ws, "channel.urgent")
            assert (urgent["reason"], urgent["heartbeat_ms"], urgent["version"]) == ("grpc_lost", 500, 1)
            degraded = await until(ws, "channel.degraded")
            assert (degraded["mode"], degraded["last_version"]) == ("ws+poll", 1)
            assert await asked(house, degraded["poll"]) == (204, b"")
            await ws.send('{"message": "fire"}')
            await until(ws, "response.done")
            status, body = await asked(house, degraded["poll"])
            state = json.loads(body)
            assert (status, state["version"], state["is_urgent"], state["state"]) == (200, 2, True, {"turns": 2})
            again = one.watch("s", after_version=1)
            told = await again.read()
            assert (told.version, told.is_urgent) == (2, True)
            assert (await until(ws, "channel.degraded"))["mode"] == "normal"
            again.cancel()
    assert house.metrics.watchers.labels("lost")._value.get() >= 1


async def large(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Say(index=0, text="yes"))
    patch = (PatchOp("add", "/blob", f"{start.turn}" + "x" * 60_000),)
    pod.send(channel, Commit(patch=patch, urgent=True))


async def test_a_watcher_that_takes_nothing_stalls_and_gets_the_whole_state_once_it_reads(
    house: Talkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an urgent time after a second and a half; past the bound what waits for it is dropped."""
    monkeypatch.setattr(channels, "STEADY_MS", 200)
    house.turns_are(large)
    await house.say("s", "one")
    small = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
    async with client(house.grpc.port, KEYS[ACME], small) as one:
        watch = one.watch("s", after_version=1)
        _, ear = await house.at("s")
        for turn in range(2, 26):
            await house.say("s", f"turn {turn}")
        async with asyncio.timeout(10):
            while not ear.of(wire.ChannelDegraded):
                await asyncio.sleep(0.02)
        assert house.metrics.watchers.labels("stalled")._value.get() == 1
        told: list[Any] = []
        while not told or told[-1].version < 25:
            told.append(await watch.read())
        versions = [update.version for update in told]
        assert versions == sorted(set(versions))
        assert len(versions) < 24, "not all of them one by one"
        whole = json.loads(told[-1].patch)
        assert whole[0]["op"] == "replace" or told[-1].version == told[-2].version + 1
        async with asyncio.timeout(10):
            while ear.of(wire.ChannelDegraded)[-1].mode != "normal":
                await asyncio.sleep(0.02)
        watch.cancel()


async def test_an_urgent_change_makes_both_ends_beat_fast_until_it_is_quiet(
    house: Talkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "QUIET_MS", 1_200)
    reader, writer = await asyncio.open_connection("127.0.0.1", house.server.port)
    writer.write(
        upgrade("/role/cat?session_id=s", Authorization=f"Bearer {KEYS[ACME]}", Sec_WebSocket_Protocol="role.v1")
    )
    await house.say("s", "fire")
    frames = asyncio.create_task(asyncio.wait_for(read_frames(reader), 30))
    await asyncio.sleep(2)
    writer.write_eof()
    seen = await frames
    pings = [at for at, (opcode, _) in enumerate(seen) if opcode == 9]
    told = [json.loads(body) for opcode, body in seen if opcode == 1]
    urgents = [event["is_urgent"] for event in told if event["type"] == "channel.urgent"]
    assert urgents == [True, False]
    assert len(pings) >= 2, "one each half second; a socket that is not urgent is asked after five"
    writer.close()


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def slow_reader(port: int, session: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    writer.write(
        upgrade(
            f"/role/cat?session_id={session}", Authorization=f"Bearer {KEYS[ACME]}", Sec_WebSocket_Protocol="role.v1"
        )
    )
    await writer.drain()
    return reader, writer


async def test_memory_is_bounded_under_two_hundred_clients_that_do_not_read(house: Talkers) -> None:
    """Each may make a MiB wait and one event more; what they are not sent is dropped, and nobody else waits for them."""
    slow = [await slow_reader(house.server.port, "crowd") for _ in range(SLOW)]
    async with asyncio.timeout(20):
        while house.hub.sockets < SLOW:
            await asyncio.sleep(0.01)
    for _ in range(6):
        await house.say("crowd", "long")
    full = resident()
    for _ in range(8):
        await house.say("crowd", "long")
    grown = resident() - full
    assert house.metrics.slow_clients._value.get() >= SLOW, "all of them fell behind"
    assert grown < SLOW * 128 * 1024, f"grew by {grown >> 20} MiB while {SLOW} clients read nothing"
    async with talking(house) as ws:
        await ws.send('{"message": "still there?"}')
        assert (await until(ws, "response.done"))["message"] == "yes"
    for _, writer in slow:
        writer.transport.abort()


async def test_a_slow_reader_that_reads_at_last_hears_one_snapshot_and_goes_on_live(house: Talkers) -> None:
    reader, writer = await slow_reader(house.server.port, "late")
    async with asyncio.timeout(20):
        while not house.hub.sockets:
            await asyncio.sleep(0.01)
    for _ in range(30):
        await house.say("late", "long")
        if house.metrics.slow_clients._value.get():
            break
    assert house.metrics.slow_clients._value.get() == 1
    frames = asyncio.create_task(asyncio.wait_for(read_frames(reader), 60))
    await asyncio.sleep(3)
    await house.say("late", "short")
    writer.write_eof()
    told = [json.loads(body) for opcode, body in await frames if opcode == 1]
    (at,) = [number for number, event in enumerate(told) if event["type"] == "session.snapshot"]
    after = [event["seq"] for event in told[at:] if event["seq"] is not None]
    assert after == [told[at]["at_seq"] + 1, told[at]["at_seq"] + 2]
    writer.close()
