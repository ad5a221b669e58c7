"""Clients that mean harm, over every way in: told in our words or let go of, at once, and at no cost (F44 to F47, F49)."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import msgspec
import pytest
from tests.support import edge as support
from tests.support.edge import ACME_KEY, Edge, frame, read_frames, told, upgrade
from tests.support.proof import SOAK
from tests.support.rooms import ACME
from tests.support.rpc import client as rpc_client
from tests.support.rpc import opened
from tests.support.rpc_process import Served, served
from tests.support.talking import KEYS, Talkers
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from rolehost_runtime.gateway.edge import bounds, guarded
from rolehost_runtime.gateway.edge.policy import Policy

pytestmark = pytest.mark.timeout(120)
KEY = KEYS[ACME]
BEARER = {"Authorization": f"Bearer {KEY}"}
TEXT, PING, PONG = 1, 9, 10
ROOM_KIB = 32 * 1024
"""By which a process may have grown afterwards: allocators keep what they had."""


ROOM = 300
"""Connections that the edge takes; a tenth of them is kept for those that come back at once."""


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    running = await support.start_edge(policy=Policy(), max_connections=ROOM)
    yield running
    await running.hub.drain(0, 0)
    await running.server.stop()


# ── F44: too large, too many ────────────────────────────────────────────────────────

FLOODS = {
    "a-frame-of-a-gibibyte": (b"\x81\xff" + (1 << 30).to_bytes(8, "big") + bytes(4), ["frame_too_large"], 1009),
    "a-frame-of-2-to-the-63": (b"\x81\xff" + (1 << 63).to_bytes(8, "big") + bytes(4), ["frame_too_large"], 1009),
    "a-million-empty-pieces": (
        frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 1_000_000,
        ["frame_flood"],
        1008,
    ),
    "ten-thousand-pings": (frame(PING, b"") * 10_000, ["frame_flood"], 1008),
    "ten-thousand-pongs-that-nobody-asked-for": (frame(PONG, b"") * 10_000, ["frame_flood"], 1008),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_ends_its_socket_and_is_counted(edge: Edge, flood: str) -> None:
    sent, codes, close = FLOODS[flood]
    reader, writer = await edge.raw()
    writer.write(upgrade() + sent)
    assert told(await asyncio.wait_for(read_frames(reader), 30)) == (codes, close)
    assert edge.metrics.errors.labels(codes[0])._value.get() == 1
    writer.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        running.go()
        yield running
    assert running.log() == ""


async def answered(process: Served) -> None:
    async with connect(f"ws://127.0.0.1:{process.http_port}/role/cat", additional_headers=BEARER) as whole:
        await whole.send('{"message": "hi"}')
        async with asyncio.timeout(30):
            while json.loads(await whole.recv())["type"] != "response.done":
                pass


async def test_floods_cost_no_memory_and_the_next_client_is_answered(process: Served) -> None:
    await answered(process)
    before = process.peak_kib()
    for sent, _, close in FLOODS.values():
        reader, writer = await asyncio.open_connection("127.0.0.1", process.http_port)
        writer.write(upgrade("/role/cat", Authorization=f"Bearer {KEY}") + sent)
        assert told(await asyncio.wait_for(read_frames(reader), 30))[1] == close
        writer.close()
        await answered(process)
    assert process.peak_kib() < before + ROOM_KIB


# ── F45: what is no message, over every way in ──────────────────────────────────────

DEEP, DEEPER = b"[" * 30_000 + b"]" * 30_000, b"[" * 100_000 + b"]" * 100_000
LONG_NUMBER = b"9" * 10_485_760
BAD = {
    "malformed": b'{"message": ',
    "nan": b'{"message": NaN}',
    "nan-where-nobody-looks": b'{"message": "x", "messages": [{"role": "user", "content": "x"}], "x": NaN}',
    "infinity": b'{"message": Infinity}',
    "lone-surrogate": b'{"message": "\\ud800", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "encoded-surrogate": b'{"message": "\xed\xa0\x80"}',
    "invalid-utf8": b'{"message": "\xff\xfe"}',
    "a-raw-nul": b'{"message": "a\x00b"}',
    "deep": b'{"message": ' + DEEP + b"}",
    "deep-where-nobody-looks": b'{"message": "x", "x": ' + DEEP + b"}",
    "100000-deep": b'{"message": "x", "x": ' + DEEPER + b"}",
    "a-number-of-10-mib": b'{"message": "x", "deadline_ms": ' + LONG_NUMBER + b"}",
    "a-number-of-60-kb": b'{"message": "x", "deadline_ms": ' + LONG_NUMBER[:60_000] + b"}",
}
CLOSES = {"frame_too_large": 1009, "invalid_utf8": 1007}
CODES = frozenset(
    {"malformed_json", "invalid_frame", "invalid_request", "invalid_utf8", "frame_too_large", "body_too_large",
     "malformed_msgpack", "malformed_protobuf"}
)  # fmt: skip


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async with Talkers(grpc=True) as running:
        yield running


async def over_socket(house: Talkers, data: bytes, packed: bool = False) -> str:
    """The code that is told. The socket lives on where it was one message only; else it says why it closes."""
    url = f"{house.ws}/role/cat?session_id=s" + "&fmt=msgpack" * packed
    opcode = 2 if packed else TEXT
    read, written = (msgspec.msgpack.decode, msgspec.msgpack.encode) if packed else (json.loads, msgspec.json.encode)
    on = await connect(url, additional_headers=BEARER, subprotocols=[Subprotocol("role.v1")], max_size=None)
    try:
        on.transport.write(frame(opcode, data))
        while b"error" not in (heard := await on.recv(decode=False)):
            pass
        error = read(heard)["error"]
        if (close := CLOSES.get(error["code"])) is not None:
            await on.wait_closed()
            assert on.close_code == close
        else:
            on.transport.write(frame(opcode, written({"message": "after"})))
            while b"response.done" not in await on.recv(decode=False):
                pass
        return str(error["code"])
    finally:
        with suppress(AttributeError):  # where the other side is gone there is nothing to abort
            on.transport.abort()


async def over_http(house: Talkers, data: bytes, path: str = "/role/cat", **headers: str) -> str:
    async with aiohttp.ClientSession(headers=BEARER | headers) as http:
        try:
            async with http.post(house.url + path, data=data) as answer:
                text = await answer.text()
                assert 400 <= answer.status < 500, text
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            return "body_too_large"  # told while the body was still being sent
    assert "Traceback" not in text
    return str(json.loads(text)["error"]["code"])


async def over_grpc(house: Talkers, data: bytes) -> str:
    """JSON is no Protocol Buffers; and where a field holds bytes of JSON, it is read as the other ways read it."""
    async with rpc_client(house.grpc.port, KEY, [("grpc.max_send_message_length", -1)]) as client:
        talking = client.converse()
        await talking.send(opened(session_id="s"))
        await talking.until("session.created")
        try:
            await talking.send(data)
            return str((await talking.until("error"))["error"]["code"])
        except (grpc.aio.AioRpcError, EOFError, IndexError, AssertionError):
            status, _ = await talking.ending()
            assert status == "RESOURCE_EXHAUSTED"
            return "frame_too_large"


WAYS: dict[str, Any] = {
    "websocket": over_socket,
    "rest": over_http,
    "sse": lambda house, data: over_http(house, data, Accept="text/event-stream"),
    "openai": lambda house, data: over_http(
        house, data.replace(b'{"message"', b'{"model": "cat", "message"'), "/v1/chat/completions"
    ),
    "grpc": over_grpc,
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_no_message_is_told_on_every_way_and_nothing_is_said(
    house: Talkers, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name, data in BAD.items():
        code = await WAYS[way](house, data)
        assert code in CODES, (name, code)
    await house.say("s", "still there")
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not loud, "a bug of ours"
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    log = [record for key in house.store.shelf.heads for record in await house.store.read(key)]
    assert {record.input for record in log} <= {"after", "still there"}  # type: ignore[union-attr]


PACKED = {
    "malformed": b"\xc1",
    "cut-off": b"\x81\xa7message\xd9\x20x",
    "invalid-utf8": b"\x81\xa7message\xa2\xff\xfe",
    "encoded-surrogate": b"\x81\xa7message\xa3\xed\xa0\x80",
    "deep": b"\x82\xa7message\xa1x\xa1x" + b"\x91" * 60_000,
    "nan": b"\x81\xa7message\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "a-length-of-4-gib": b"\x81\xa7message\xdb\xff\xff\xff\xff",
    "a-map-of-4-billion": b"\xdf\xff\xff\xff\xff",
    "too-large": b"\x81\xa7message\xdb\x00\x01\x86\xa0" + b"x" * 100_000,
}


@pytest.mark.parametrize("name", PACKED)
async def test_what_is_no_message_in_msgpack_is_told(house: Talkers, name: str) -> None:
    assert await over_socket(house, PACKED[name], packed=True) in CODES


async def test_of_a_key_that_is_there_twice_the_last_one_counts_on_every_way_and_a_nul_is_a_character(
    house: Talkers,
) -> None:
    """One parser reads it, once: there is nobody who could read it differently."""
    twice = b'{"message": "one", "message": "tw\\u0000o", "session_id": "s"}'
    async with aiohttp.ClientSession(headers=BEARER) as http:
        async with http.post(f"{house.url}/role/cat", data=twice) as answer:
            assert answer.status == 200
        chat = b'{"model": "no", "model": "cat", "session_id": "s", "messages": [{"role": "user", "content": "tw\\u0000o"}]}'
        async with http.post(f"{house.url}/v1/chat/completions", data=chat) as answer:
            assert answer.status == 200, await answer.text()
    async with connect(f"{house.ws}/role/cat", additional_headers=BEARER) as on:
        await on.send(twice.decode())
        while json.loads(await on.recv())["type"] != "response.done":
            pass
    log = [record for key in house.store.shelf.heads for record in await house.store.read(key)]
    assert [record.input for record in log] == ["tw\0o"] * 3  # type: ignore[union-attr]


# ── F46: handshakes that are none, by the thousand; F49: a herd ─────────────────────


async def test_half_handshakes_by_the_thousand_are_let_go_of_and_take_nobodys_place(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what may be connected, 503 with Retry-After; the others 408 in time."""
    monkeypatch.setattr(guarded, "HEAD_SECONDS", 4.0)
    count = 4000 if SOAK else 600
    half = upgrade()[:60]
    streams = await asyncio.gather(*(edge.raw() for _ in range(count)))
    for _, writer in streams:
        writer.write(half)
    answers = await asyncio.gather(*(asyncio.wait_for(reader.read(-1), 30) for reader, _ in streams))
    statuses = [int(answer.split(b" ", 2)[1]) for answer in answers]
    assert set(statuses) == {408, 503}
    assert all(b"retry-after: 5\r\n" in answer for answer in answers if answer.startswith(b"HTTP/1.1 503"))
    assert edge.metrics.refused.labels("head_too_slow")._value.get() == statuses.count(408)
    assert edge.metrics.refused.labels("overloaded")._value.get() == statuses.count(503)
    for _, writer in streams:
        writer.close()
    headers = {"Authorization": f"Bearer {ACME_KEY}"}
    while edge.server.full():  # until their ends are noticed
        await asyncio.sleep(0.05)
    async with connect(edge.ws(), additional_headers=headers) as whole:
        await whole.send('{"message": "hi"}')
        while json.loads(await whole.recv())["type"] != "response.done":
            pass


async def test_a_herd_beyond_the_room_is_told_when_to_come_again_and_all_are_answered_in_the_end(edge: Edge) -> None:
    """F49: 400 at once where 270 fit. Who was in is not disturbed; who was not comes again and is answered."""
    refused, told_when = 0, set[str]()

    async def one(number: int) -> None:
        nonlocal refused
        while True:
            reader, writer = await edge.raw()
            writer.write(upgrade(f"/role/storyteller?session_id=s{number}"))
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 101"):
                break
            assert head.startswith(b"HTTP/1.1 503"), head
            told_when.add(head.lower().partition(b"retry-after: ")[2].partition(b"\r\n")[0].decode())
            refused += 1
            writer.close()
            await asyncio.sleep(0.2 + number / 2000)  # sooner than it was told, to be done sooner
        writer.write(frame(TEXT, b'{"message": "hi"}'))
        await reader.readuntil(b'"done":true')
        await asyncio.sleep(0.5)
        writer.write(frame(TEXT, b'{"message": "again"}'))
        await reader.readuntil(b'"done":true')
        writer.close()

    async with asyncio.timeout(90):
        await asyncio.gather(*map(one, range(400)))
    assert refused >= 400 - ROOM * 9 // 10
    assert told_when == {"5"}
    assert edge.metrics.refused.labels("overloaded")._value.get() == refused
    assert len(edge.sessions.said) == 800


# ── F47: requests within requests, and names that a client gives itself ─────────────

HEAD = f"POST /role/storyteller HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ACME_KEY}\r\n"
INNER = f"GET /v1/roles HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {support.EVIL_KEY}\r\n\r\n"
SMUGGLED = {
    "cl-te": f"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{INNER}",
    "te-cl": f"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{INNER}",
    "two-lengths": f"Content-Length: 0\r\nContent-Length: 9\r\n\r\n{INNER}",
    "a-list-of-lengths": f"Content-Length: 0, 9\r\n\r\n{INNER}",
    "te-in-disguise": f"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n{INNER}",
    "te-twice": f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{INNER}",
    "a-blank-before-the-colon": f"Content-Length : 0\r\n\r\n{INNER}",
    "a-negative-length": f"Content-Length: -1\r\n\r\n{INNER}",
    "a-signed-length": f"Content-Length: +0\r\n\r\n{INNER}",
    "a-chunk-that-is-no-number": f"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n{INNER}",
    "a-nul-in-a-header": f"X-User-ID: a\0b\r\nContent-Length: 0\r\n\r\n{INNER}",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_that_two_would_read_differently_is_refused_and_nothing_behind_it_is_read(
    edge: Edge, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "JSON_SECONDS", 0.5)  # for a body that broke off in its middle
    reader, writer = await edge.raw()
    writer.write((HEAD + SMUGGLED[name]).encode())
    answer = await asyncio.wait_for(reader.read(-1), 20)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408")), answer
    assert answer.count(b"HTTP/1.1") == 1
    assert b"lair" not in answer
    assert edge.metrics.refused.labels("malformed_http")._value.get() == 1
    writer.close()


def h2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK writes it without tables."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


@pytest.mark.parametrize(
    "smuggled",
    [
        (b"x-note", b"a\r\nauthorization: Bearer " + KEY.encode()),
        (b"x-note\r\nauthorization", b"Bearer " + KEY.encode()),
        (b"x-user-id", b"root"),
        (b"X-Upper", b"case"),
        (b"x-nul", b"a\0b"),
    ],
    ids=["crlf-in-a-value", "crlf-in-a-name", "a-name-one-gives-oneself", "upper-case", "nul"],
)
async def test_a_line_end_in_a_header_of_http2_makes_no_second_header(
    process: Served, smuggled: tuple[bytes, bytes]
) -> None:
    headers = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/rolehost.v1.RoleSession/Converse"),
        (b":authority", b"x"), (b"content-type", b"application/grpc"), (b"te", b"trailers"), smuggled,
    ]  # fmt: skip
    block = b"".join(literal(*one) for one in headers)
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as raw:
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2(4, 0, 0, b"") + h2(1, 0x4, 1, block))
        raw.settimeout(3)
        heard = b""
        try:
            while data := raw.recv(4096):
                heard += data
                if b"grpc-status" in heard or b"unauthorized" in heard:
                    break
        except TimeoutError:
            pass
    assert b"session" not in heard.replace(b"RoleSession", b"")
    await answered(process)
