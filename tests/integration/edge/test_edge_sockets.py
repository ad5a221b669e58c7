"""The edge on a real port, spoken to by a real client, by raw frames and by raw bytes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest
import websockets
from tests.support import edge as support
from tests.support.edge import ACME_KEY, EVIL_KEY, Edge, frame, read_frames, told, upgrade
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from rolehost_api import wire
from rolehost_api.identity import key_hash
from rolehost_runtime.core.heartbeat import Heartbeat
from rolehost_runtime.gateway.edge import websocket
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.websocket import QUANTUM_BYTES, WebSocket

BEARER = {"Authorization": f"Bearer {ACME_KEY}"}
TEXT, BINARY, PING = 1, 2, 9


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    running = await support.start_edge(policy=Policy(origins=frozenset({"https://chat.example"})))
    yield running
    await running.hub.drain(0, 0)
    await running.server.stop()


async def heard(socket: websockets.ClientConnection, until: str = "response.done") -> list[dict[str, object]]:
    frames: list[dict[str, object]] = []
    while not frames or frames[-1]["type"] != until:
        frames.append(json.loads(await socket.recv()))
    return frames


async def spoken(edge: Edge, *sent: bytes, head: bytes | None = None) -> list[tuple[int, bytes]]:
    """Send raw frames after a handshake, then close from our side; what came back."""
    reader, writer = await edge.raw()
    writer.write((head or upgrade()) + b"".join(sent) + frame(8, (1000).to_bytes(2, "big")))
    try:
        return await asyncio.wait_for(read_frames(reader), 10)
    finally:
        writer.close()


# ── talking ─────────────────────────────────────────────────────────────────────────


async def test_the_bare_form_works_as_it_was_first_described(edge: Edge) -> None:
    async with connect(edge.ws("/role/Storyteller"), additional_headers=BEARER) as socket:
        await socket.send(json.dumps({"message": "讲一个关于龙的短故事", "session_id": "abc123"}))
        frames = await heard(socket)
    assert [frames[0]["type"], frames[-1]["done"]] == ["session.created", True]
    assert {frame["type"] for frame in frames} == {"session.created", "response.output_text.delta", "response.done"}
    assert "".join(str(frame.get("delta", "")) for frame in frames) == frames[-1]["message"] == "讲一个关于龙的短故事"
    assert socket.subprotocol is None
    assert socket.protocol.extensions == []


async def test_role_v1_hears_every_event_and_its_key_is_not_echoed(edge: Edge) -> None:
    offered = [Subprotocol("role.v1"), Subprotocol(f"bearer.{ACME_KEY}")]
    async with connect(edge.ws(), subprotocols=offered) as socket:
        await socket.send('{"message": "hi", "client_msg_id": "c-7"}')
        frames = await heard(socket)
        assert socket.subprotocol == "role.v1"
        await socket.send('{"type": "ping", "t": 17}')
        pong = json.loads(await socket.recv())
    assert "response.created" in {frame["type"] for frame in frames}
    assert frames[-1]["client_msg_id"] == "c-7"
    assert (pong["type"], pong["t"], pong["server_t"], pong["seq"]) == ("pong", 17, support.NOW_MS, None)


async def test_msgpack_carries_the_same_both_ways(edge: Edge) -> None:
    offered = [Subprotocol("role.v1"), Subprotocol(f"bearer.{ACME_KEY}")]
    async with connect(edge.ws("/role/storyteller?fmt=msgpack"), subprotocols=offered) as socket:
        assert socket.subprotocol == "role.v1"
        await socket.send(msgspec.msgpack.encode({"message": "你好", "client_msg_id": "c-7", "session_id": "s"}))
        frames: list[dict[str, object]] = []
        while not frames or frames[-1]["type"] != "response.done":
            data = await socket.recv()
            assert isinstance(data, bytes)
            frames.append(msgspec.msgpack.decode(data))
        await socket.send(b"\xc1")
        refused = msgspec.msgpack.decode(await socket.recv(decode=False))
        await socket.send('{"type": "ping", "t": 17}')
        pong = msgspec.msgpack.decode(await socket.recv(decode=False))
    assert [frame["type"] for frame in frames][:2] == ["session.created", "response.created"]
    assert (frames[-1]["message"], frames[-1]["client_msg_id"], frames[-1]["done"]) == ("你好", "c-7", True)
    assert (refused["type"], refused["error"]["code"]) == ("error", "malformed_msgpack")
    assert (pong["type"], pong["t"]) == ("pong", 17)


async def test_a_refusal_and_a_violation_are_told_in_msgpack_where_that_is_spoken(edge: Edge) -> None:
    frames = await spoken(edge, head=upgrade("/role/nobody?fmt=msgpack"))
    assert [msgspec.msgpack.decode(data)["error"]["code"] for opcode, data in frames if opcode == BINARY] == [
        "role_not_found"
    ]
    frames = await spoken(edge, b"\x81\x01x", head=upgrade("/role/storyteller?fmt=msgpack"))
    assert [msgspec.msgpack.decode(data)["error"]["code"] for opcode, data in frames if opcode == BINARY] == [
        "protocol_violation"
    ]


async def test_without_streaming_only_the_end_comes(edge: Edge) -> None:
    async with connect(edge.ws("/role/storyteller?stream=0"), additional_headers=BEARER) as socket:
        await socket.send('{"message": "hi"}')
        assert [frame["type"] for frame in await heard(socket)] == ["response.done"]


async def test_a_session_in_the_address_opens_at_once_and_resumes(edge: Edge) -> None:
    async with connect(edge.ws("/role/storyteller?session_id=s1&after_seq=4"), additional_headers=BEARER) as socket:
        frames = await heard(socket)
    assert [frame["type"] for frame in frames] == ["session.created", "response.done"]
    assert (frames[1]["seq"], frames[1]["replay"]) == (5, True)


async def test_one_socket_talks_to_several_sessions_beside_each_other(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER) as socket:
        await socket.send('{"message": "wait", "session_id": "slow"}')
        await socket.send('{"message": "hi", "session_id": "quick"}')
        frames = await heard(socket)
        assert frames[-1]["session_id"] == "quick"
        edge.sessions.gate.set()
        assert (await heard(socket))[-1]["session_id"] == "slow"


async def test_frames_of_one_session_run_in_order_and_those_without_an_id_share_one(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER) as socket:
        for text in "abc":
            await socket.send(json.dumps({"message": text}))
        for _ in "abc":
            await heard(socket)
    assert [text for _, text in edge.sessions.said] == ["a", "b", "c"]
    assert len(edge.sessions.opened) == 1


async def test_the_address_may_name_tenant_and_revision(edge: Edge) -> None:
    async with connect(edge.ws("/role/acme/storyteller@r3"), additional_headers=BEARER) as socket:
        await socket.send('{"message": "hi"}')
        await heard(socket)
    assert edge.sessions.revisions == ["r3"]


async def test_fragments_and_pings_in_between_are_put_together(edge: Edge) -> None:
    reader, writer = await edge.raw()
    writer.write(upgrade() + frame(TEXT, b'{"message"', fin=False) + frame(PING, b"x") + frame(0, b': "h', fin=False))
    writer.write(frame(0, b'i"}'))
    await reader.readuntil(b'"done":true')
    assert [text for _, text in edge.sessions.said] == ["hi"]
    writer.close()


async def test_a_message_right_before_the_goodbye_is_still_said(edge: Edge) -> None:
    frames = await spoken(edge, frame(TEXT, b'{"message": "hi", "session_id": "s"}'))
    assert frames[-1][0] == 8
    await asyncio.wait_for(edge.sessions.detached.wait(), 5)
    assert edge.sessions.said == [("s", "hi")]


async def test_a_lost_socket_does_not_cancel_the_turn(edge: Edge) -> None:
    socket = await connect(edge.ws(), additional_headers=BEARER)
    await socket.send('{"message": "wait", "session_id": "s"}')
    await socket.recv()
    socket.transport.abort()
    await socket.wait_closed()
    edge.sessions.gate.set()
    await asyncio.wait_for(edge.sessions.detached.wait(), 5)
    assert edge.sessions.said == [("s", "wait")]


async def test_an_event_does_not_wait_for_the_one_before_it_to_be_acknowledged(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER):
        (live,) = [live for sockets in edge.hub._by_key.values() for live in sockets]
        assert isinstance(live, WebSocket)
        accepted = live._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


# ── who may ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "headers", "code", "close"),
    [
        pytest.param("/role/nobody", {}, "role_not_found", 4404, id="unknown-role"),
        pytest.param("/role/evil/lair", {}, "role_not_found", 4404, id="role-of-another-tenant"),
        pytest.param("/role/evil/nobody", {}, "role_not_found", 4404, id="no-role-of-another-tenant-reads-the-same"),
        pytest.param("/role/a%20b", {}, "invalid_role_name", 4400, id="no-name"),
        pytest.param("/elsewhere", {}, "path_not_found", 4404, id="no-sockets-there"),
        pytest.param("/role/storyteller", {"Authorization": "Bearer wrong"}, "unauthorized", 4401, id="unknown-key"),
        pytest.param("/role/storyteller", {"Authorization": ""}, "unauthorized", 4401, id="no-key"),
        pytest.param("/role/storyteller", {"Authorization": f"Bearer {EVIL_KEY}"}, "role_not_found", 4404, id="foreign-key"),
        pytest.param("/role/storyteller", {"Authorization": f"Bearer {support.ACME_PUSH_KEY}"}, "forbidden", 4403, id="a-key-that-may-only-push"),
        pytest.param("/role/storyteller?token=x", {}, "key_in_url", 4400, id="key-in-url"),
        pytest.param("/role/storyteller?API_KEY=x", {}, "key_in_url", 4400, id="key-in-url-in-any-case"),
        pytest.param("/role/storyteller?session_id=a%20b", {}, "invalid_session_id", 4400, id="bad-session-id"),
        pytest.param("/role/storyteller?after_seq=-1", {}, "invalid_after_seq", 4400, id="bad-after-seq"),
        pytest.param("/role/storyteller?fmt=xml", {}, "format_not_supported", 4400, id="unknown-format"),
        pytest.param("/role/storyteller", {"Origin": "https://evil.example"}, "origin_not_allowed", 4403, id="foreign-origin"),
        pytest.param("/role/storyteller", {"Origin": "null"}, "origin_not_allowed", 4403, id="null-origin"),
    ],
)  # fmt: skip
async def test_a_refusal_says_why_and_closes(
    edge: Edge, path: str, headers: dict[str, str], code: str, close: int
) -> None:
    assert told(await spoken(edge, head=upgrade(path, **headers))) == ([code], close)
    assert edge.hub.sockets == 0


async def test_a_known_origin_may_connect(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER, origin=Origin("https://chat.example")) as socket:
        await socket.send('{"message": "hi"}')
        await heard(socket)


async def test_headers_that_claim_an_identity_are_not_heard(edge: Edge) -> None:
    claims = {"X-User-ID": "root", "X-Tenant": "evil", "X-Forwarded-User": "root", "X-Remote-User": "root"}
    async with connect(edge.ws(), additional_headers=BEARER | claims) as socket:
        await socket.send('{"message": "hi"}')
        await heard(socket)
    (principal,) = edge.sessions.principals
    assert (principal.tenant, principal.id) == (support.ACME, "svc:uid-acme")


async def test_a_revoked_key_closes_its_sockets_and_no_others(edge: Edge) -> None:
    chat = {"Authorization": f"Bearer {support.ACME_CHAT_KEY}"}
    async with (
        connect(edge.ws(), additional_headers=BEARER) as revoked,
        connect(edge.ws(), additional_headers=chat) as other,
    ):
        await revoked.send('{"message": "hi"}')
        await heard(revoked)
        edge.tables.keys.drop((key_hash(ACME_KEY),))
        assert json.loads(await revoked.recv())["error"]["code"] == "key_revoked"
        await revoked.wait_closed()
        assert revoked.close_code == 4401
        await other.send('{"message": "hi"}')
        await heard(other)
    assert told(await spoken(edge)) == (["unauthorized"], 4401)


# ── bad input ───────────────────────────────────────────────────────────────────────

NESTED = b"[" * 30_000 + b"]" * 30_000


@pytest.mark.parametrize(
    ("sent", "codes", "close"),
    [
        pytest.param(frame(TEXT, b"{"), ["malformed_json"], 1000, id="malformed-json"),
        pytest.param(frame(TEXT, b""), ["malformed_json"], 1000, id="empty"),
        pytest.param(frame(TEXT, NESTED), ["invalid_frame"], 1000, id="deep-nesting"),
        pytest.param(frame(TEXT, b'{"message":"","x":' + NESTED + b"}"), ["malformed_json"], 1000, id="deep-unknown-field"),
        pytest.param(frame(TEXT, b"[1]"), ["invalid_frame"], 1000, id="no-object"),
        pytest.param(frame(TEXT, b'{"message": 7}'), ["invalid_frame"], 1000, id="wrong-type"),
        pytest.param(frame(TEXT, b"{}"), ["invalid_frame"], 1000, id="no-message"),
        pytest.param(frame(TEXT, b'{"type": "dance"}'), ["unknown_type"], 1000, id="unknown-type"),
        pytest.param(frame(TEXT, b'{"message": "x", "session_id": "a b"}'), ["invalid_session_id"], 1000, id="session-id"),
        pytest.param(frame(BINARY, b"x"), ["binary_not_supported"], 1000, id="binary"),
        pytest.param(frame(BINARY, b"x", fin=False) + frame(0, b"y"), ["binary_not_supported"], 1000, id="binary-parts"),
        pytest.param(frame(TEXT, b"\xff\xfe"), ["invalid_utf8"], 1007, id="invalid-utf8"),
        pytest.param(frame(TEXT, b"x" * (wire.MAX_FRAME_BYTES + 1)), ["frame_too_large"], 1009, id="oversize"),
        pytest.param(frame(TEXT, b"x" * 40_000, fin=False) + frame(0, b"x" * 40_000), ["frame_too_large"], 1009, id="parts"),
        pytest.param(b"\x81\x01x", ["protocol_violation"], 1002, id="not-masked"),
        pytest.param(frame(0, b"x"), ["protocol_violation"], 1002, id="continues-nothing"),
        pytest.param(frame(0xB, b""), ["protocol_violation"], 1002, id="unknown-opcode"),
        pytest.param(frame(PING, b"x" * 126), ["protocol_violation"], 1002, id="long-ping"),
        pytest.param(frame(TEXT, b'{"message": "fail"}'), ["pod_lost"], 1000, id="the-turn-fails"),
        pytest.param(frame(TEXT, b'{"message": "break"}'), ["internal"], 1000, id="a-bug-of-ours"),
    ],
)  # fmt: skip
async def test_bad_input_is_told_and_nothing_is_lost(edge: Edge, sent: bytes, codes: list[str], close: int) -> None:
    reader, writer = await edge.raw()
    writer.write(upgrade() + frame(TEXT, b'{"message": "before"}'))
    head = await reader.readuntil(b'"done":true')
    writer.write(sent)
    if close == 1000:
        await reader.readuntil(b'"error"')
        writer.write(frame(TEXT, b'{"message": "after"}'))
        await reader.readuntil(b'"done":true')
        assert [text for _, text in edge.sessions.said] == ["before", "after"]
        assert len(edge.sessions.opened) == 1
    else:
        rest = await asyncio.wait_for(read_frames(_again(head, reader)), 10)
        assert told(rest) == (codes, close)
    assert edge.metrics.errors.labels(codes[0])._value.get() == 1
    writer.close()


def _again(head: bytes, rest: asyncio.StreamReader) -> asyncio.StreamReader:
    """A reader of what was read already and of what is still to come."""
    joined = asyncio.StreamReader(limit=1 << 24)
    joined.feed_data(head)

    async def copy() -> None:
        joined.feed_data(await rest.read(-1))
        joined.feed_eof()

    joined.copying = asyncio.ensure_future(copy())  # type: ignore[attr-defined]
    return joined


async def test_more_frames_than_a_socket_may_queue_are_busy(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER) as socket:
        for _ in range(33):
            await socket.send('{"message": "wait", "session_id": "s"}')
        frames = await heard(socket, until="error")
        assert frames[-1]["error"]["code"] == "busy"  # type: ignore[index]
        assert frames[-1]["error"]["retryable"] is True  # type: ignore[index]
        edge.sessions.gate.set()
        for _ in range(32):
            await heard(socket)


async def test_a_burst_is_read_in_portions_and_answered_whole(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    portions: list[int] = []
    read = WebSocket._read

    def noted(socket: WebSocket, data: bytes) -> None:
        portions.append(len(data))
        read(socket, data)

    monkeypatch.setattr(WebSocket, "_read", noted)
    reader, writer = await edge.raw()
    writer.write(upgrade() + frame(TEXT, b'{"type": "?"}') * 2000 + frame(TEXT, b'{"message": "last"}'))
    answered = b""
    while b'"done":true' not in answered:
        answered += await reader.readexactly(1)
        answered += await reader.read(1 << 16)
    assert answered.count(b'"unknown_type"') == 2000
    assert max(portions) <= QUANTUM_BYTES
    writer.close()


async def test_a_client_that_never_reads_is_closed_and_holds_no_more_than_its_bound(edge: Edge) -> None:
    reader, writer = await edge.raw()
    writer.write(upgrade())
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    (socket,) = next(iter(edge.hub._by_key.values()))
    event = support.done("s", "x" * 30_000)
    for _ in range(400):
        socket._conversation.emit(event)  # type: ignore[attr-defined]
    assert socket._transport.get_write_buffer_size() < 2 << 20  # type: ignore[attr-defined]
    assert socket.goodbye == 1013  # type: ignore[attr-defined]
    writer.transport.abort()


async def test_a_stop_waits_for_running_turns_and_then_says_1012(edge: Edge) -> None:
    async with connect(edge.ws(), additional_headers=BEARER) as socket:
        await socket.send('{"message": "wait", "session_id": "s"}')
        await socket.recv()
        draining = asyncio.create_task(edge.hub.drain(0, 30))
        await asyncio.sleep(0)
        await socket.send('{"message": "late", "session_id": "s"}')
        assert (await heard(socket, until="error"))[-1]["error"]["code"] == "draining"  # type: ignore[index]
        edge.sessions.gate.set()
        assert (await heard(socket))[-1]["message"] == "wait"
        await draining
        await socket.wait_closed()
        assert socket.close_code == 1012


async def test_a_silent_client_is_asked_for_a_sign_of_life_and_then_closed(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "Heartbeat", lambda now, *_: Heartbeat(now, 100))
    async with connect(edge.ws(), additional_headers=BEARER) as alive:
        frames = await spoken_without_goodbye(edge)
        assert [opcode for opcode, _ in frames][:2] == [PING, PING]
        assert told(frames) == ([], 1011)
        await alive.send('{"message": "hi"}')
        await heard(alive)
    assert edge.hub.connections == 0


async def spoken_without_goodbye(edge: Edge) -> list[tuple[int, bytes]]:
    reader, writer = await edge.raw()
    writer.write(upgrade())
    try:
        return await asyncio.wait_for(read_frames(reader), 10)
    finally:
        writer.close()


async def test_a_gateway_that_stops_lets_nobody_in(edge: Edge) -> None:
    edge.hub.draining = True
    assert told(await spoken(edge)) == (["draining"], 1013)
