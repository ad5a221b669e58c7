"""A history of megabytes over a real socket, out of a real Redis: whoever reads gets all of it, who does not is let go."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET

import pytest
from tests.support.edge import ACME, ACME_KEY, tables_with_storyteller
from tests.support.redis import RedisServer, running
from tests.support.rooms import PodDialer, Shelves
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from rolehost_api import identity
from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.wire import ServerFrame
from rolehost_runtime.core.record import Position, Record, TurnRecord
from rolehost_runtime.gateway.app import Adapters, Gateway, Options
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth
from rolehost_runtime.gateway.edge.websocket import PAUSE_BYTES, WebSocket

SESSION = "long"
KEY = identity.session_key(ACME.uid, "storyteller", identity.service_principal(ACME.uid), SESSION)
REPLY = "龙" * 4096
TURNS = 440
"""Of 12 KiB each: 5 MiB in all."""
LARGEST = "\x00" * 262_144
"""A reply of the most characters, each of which takes six bytes on the wire."""


class Counted(RedisSessionStore):
    """Counts what is read by pages."""

    records = 0

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        found = await super().page(key, start, count)
        self.records += len(found)
        return found


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[Counted]:
    store = Counted.connect(redis.url)
    assert isinstance(store, Counted)
    yield store
    await store._redis.everywhere("FLUSHALL")
    await store.close()


async def fill(store: RedisSessionStore, *replies: str) -> None:
    """The session's log, a turn for each reply."""
    head, _ = await store.open(KEY)
    for turn, reply in enumerate(replies, 1):
        record = TurnRecord(
            log_id=head.log_id, epoch=head.epoch, turn=turn, seq_first=turn, seq_count=1, version=0,
            now_ms=turn, at_ms=turn, revision="storyteller-1", response_id=f"r{turn}", input="go on", reply=reply,
        )  # fmt: skip
        await store.commit(KEY, record)


@pytest.fixture
async def gateway(store: Counted) -> AsyncIterator[Gateway]:
    tables, dialer = tables_with_storyteller(), PodDialer()
    adapters = Adapters(
        tables=tables,
        dialer=dialer,
        bundles=Shelves(),
        store=store,
        models=Models({BackendType.SCRIPTED: ScriptedProvider()}),
        auth=KeyAuth(tables.keys),
        signing_key=dialer.key,
        store_answers=store.answers,
    )
    gateway = Gateway(Options(port=0, drain_seconds=0), adapters)
    await gateway.start()
    yield gateway
    await gateway.stop()


def talk(gateway: Gateway, query: str = "", **more: object) -> connect:
    return connect(
        f"ws://127.0.0.1:{gateway.port}/role/storyteller{query}",
        additional_headers={"Authorization": f"Bearer {ACME_KEY}"},
        subprotocols=[Subprotocol("role.v1")],
        compression=None,
        max_size=None,
        **more,  # type: ignore[arg-type]
    )


async def told(socket: ClientConnection, last: int) -> list[int]:
    """The numbers of what is replayed, until that one."""
    heard: list[int] = []
    while not heard or heard[-1] != last:
        event = json.loads(await asyncio.wait_for(socket.recv(), 20))
        if event["type"] == "response.done":
            assert event["replay"]
            heard.append(event["seq"])
    return heard


def server_of(gateway: Gateway) -> WebSocket:
    """Our end of the only socket."""
    (server,) = next(iter(gateway._hub._by_key.values()))
    assert isinstance(server, WebSocket)
    return server


def narrow(transport: asyncio.BaseTransport) -> None:
    """The kernel takes no megabytes, as on a long line it would not."""
    sock = transport.get_extra_info("socket")
    for option in (SO_SNDBUF, SO_RCVBUF):
        sock.setsockopt(SOL_SOCKET, option, 16_384)


async def test_a_client_that_reads_gets_five_megabytes_of_history(
    store: Counted, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, *[REPLY] * TURNS)
    waiting: list[int] = []
    send = WebSocket.send

    def noted(socket: WebSocket, event: ServerFrame) -> None:
        send(socket, event)
        waiting.append(socket._transport.get_write_buffer_size())

    monkeypatch.setattr(WebSocket, "send", noted)
    async with talk(gateway, f"?session_id={SESSION}&after_seq=0") as socket:
        assert await told(socket, TURNS) == list(range(1, TURNS + 1))
        await socket.send(json.dumps({"type": "session.resume", "session_id": SESSION, "after_seq": TURNS - 20}))
        assert await told(socket, TURNS) == list(range(TURNS - 19, TURNS + 1))
        await socket.send('{"type": "ping", "t": 1}')
        assert json.loads(await socket.recv())["type"] == "pong"
    assert max(waiting) < PAUSE_BYTES + 4 * len(REPLY)


async def test_the_largest_replies_there_can_be_are_replayed_too(store: Counted, gateway: Gateway) -> None:
    await fill(store, LARGEST, LARGEST, "short")
    async with talk(gateway) as client:
        narrow(server_of(gateway)._transport)
        narrow(client.transport)
        await client.send(json.dumps({"type": "session.resume", "session_id": SESSION, "after_seq": 0}))
        assert await told(client, 3) == [1, 2, 3]


async def test_who_asks_for_a_history_and_reads_none_of_it_is_let_go_and_costs_little(
    store: Counted, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.edge.outbox.ROOM_SECONDS", 0.5)
    await fill(store, *[REPLY] * TURNS)
    async with talk(gateway, f"?session_id={SESSION}", max_queue=1) as socket:
        await asyncio.wait_for(socket.recv(), 20)
        socket.transport.pause_reading()
        store.records = 0
        server = server_of(gateway)
        for _ in range(8):  # the kernel's own buffers take megabytes
            await socket.send(json.dumps({"type": "session.resume", "session_id": SESSION, "after_seq": 0}))
        async with asyncio.timeout(20):
            while not server.goodbye:
                assert server._transport.get_write_buffer_size() < PAUSE_BYTES + 4 * len(REPLY)
                await asyncio.sleep(0.05)
        assert server.goodbye == 1013
        assert store.records < 8 * TURNS
        socket.transport.abort()
    async with asyncio.timeout(20):
        while gateway._hub.connections:
            await asyncio.sleep(0.05)
