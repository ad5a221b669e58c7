"""Clients send anything at all: they are answered or let go in our own words, and nobody else notices."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.types import Message
from tests.support.edge import (
    ACME,
    ACME_KEY,
    EVIL,
    EVIL_KEY,
    NOW_MS,
    EchoSessions,
    TwoLines,
    frame,
    tables_with_storyteller,
)
from tests.support.proof import NUMBERS, SOAK

from rolehost_api import identity, wire
from rolehost_api.errors import BadRequest, NotFound, RolehostError
from rolehost_runtime.gateway.edge.auth import KeyAuth
from rolehost_runtime.gateway.edge.dialect import MAX_SESSIONS, Gate
from rolehost_runtime.gateway.edge.handshake import Address, address, find_role, opening
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.platform import PlatformHealth
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.rest import make_rest
from rolehost_runtime.gateway.edge.rooms import Rooms
from rolehost_runtime.gateway.edge.websocket import Door, WebSocket
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import Tables

CODE = re.compile(r"[a-z][a-z0-9_]*")
SECRET = "Geheimnis"
"""What must come back in no error."""
T = TypeVar("T")
TYPES = frozenset(kind.__struct_config__.tag for kind in wire.ServerFrame.__args__)
OURS = frozenset({1000, 1001, 1002, 1007, 1008, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4404, 4409, 4429})
TIMES = pytest.mark.timeout(300 if not SOAK else 7200)

# ── sockets ─────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
SESSIONS = st.sampled_from(["a", "b", "c", "a b", "", "ü", "x" * 128, "x" * 129]) | st.text(max_size=6)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from([*wire.TYPES, "dance", None, SECRET]) | JSON,
        "message": st.sampled_from(["hello", "x" * 40_000, SECRET]) | JSON,
        "session_id": SESSIONS | JSON,
        "client_msg_id": st.sampled_from(["c1", "x" * 129]) | JSON,
        "after_seq": st.integers(-1, 5) | JSON,
        "deadline_ms": st.integers(-1, 600_001) | JSON,
        "t": JSON,
        SECRET: JSON,
    },
)
TEXTS = st.one_of(
    NEARLY.map(lambda value: json.dumps(value).encode()),
    NEARLY.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.builds(lambda value, cut: json.dumps(value).encode()[:cut], NEARLY, st.integers(0, 60)),
    st.binary(max_size=60),
)


def masked(opcode: int, payload: bytes, fin: bool) -> bytes:
    return frame(opcode, payload, fin=fin)


CLOSES = st.builds(lambda code, why: code.to_bytes(2, "big") + why, st.integers(0, 5000), st.binary(max_size=8))


def packed(value: object) -> bytes:
    """In msgpack, what fits into it."""
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError, ValueError):
        return b"\x80"


PACKED = st.one_of(
    NEARLY.map(packed),
    st.builds(lambda value, cut: packed(value)[:cut], NEARLY, st.integers(0, 60)),
    st.just(packed({"message": "x"})[:-2] + b"\xa2\xff\xff"),
    st.just(b"\x82\xa7message\xa1x\xa1y" + b"\x91" * 20_000),
)
FRAMES = st.one_of(
    PACKED.map(lambda data: frame(2, data)),
    PACKED.map(lambda data: frame(2, data[:9], fin=False) + frame(0, data[9:])),
    TEXTS.map(lambda text: frame(1, text)),
    TEXTS.map(lambda text: frame(1, text[:9], fin=False) + frame(0, text[9:])),
    st.builds(masked, st.integers(0, 15), TEXTS, st.booleans()),
    st.builds(masked, st.sampled_from([9, 10]), st.binary(max_size=130), st.just(True)),
    CLOSES.map(lambda payload: frame(8, payload)),
    st.binary(max_size=40),
    st.just(frame(1, b"x" * (wire.MAX_FRAME_BYTES + 1))),
)


class Line:
    """An asyncio.Transport whose other end takes everything."""

    def __init__(self) -> None:
        self.protocol: WebSocket
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connection_lost(None)

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Never full."""

    pause_reading = resume_reading = lambda self: None

    def frames(self) -> list[tuple[int, bytes]]:
        """What was written after the handshake, every frame of it whole."""
        _, _, data = bytes(self.written).partition(b"\r\n\r\n")
        frames = []
        while data:
            assert data[0] & 0x70 == 0
            assert not data[1] & 0x80
            size, at = data[1] & 0x7F, 2
            if size >= 126:
                at = 4 if size == 126 else 10
                size = int.from_bytes(data[2:at], "big")
            assert len(data) >= at + size
            frames.append((data[0] & 0x0F, data[at : at + size]))
            data = data[at + size :]
        return frames


class House:
    """An edge without ports: two tenants, echoing sessions."""

    def __init__(self) -> None:
        self.tables, self.sessions, self.metrics = tables_with_storyteller(), EchoSessions(), Metrics()
        self.hub = Hub(self.tables.keys)
        self.gate = Gate(
            tables=self.tables, sessions=self.sessions, hub=self.hub, metrics=self.metrics, now_ms=lambda: NOW_MS
        )
        self.door = Door(Policy(), KeyAuth(self.tables.keys), self.gate)

    def open(self, key: str, target: str) -> Line:
        line = Line()
        line.protocol = socket = WebSocket(self.door)
        headers = [
            ("host", "x"), ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="), ("authorization", f"Bearer {key}"),
            ("sec-websocket-protocol", "role.v1"),
        ]  # fmt: skip
        socket.open(line, "GET", target, headers, b"")  # type: ignore[arg-type]
        return line

    async def quiet(self) -> None:
        while self.hub._work:
            await asyncio.wait(tuple(self.hub._work))


@TIMES
@settings(max_examples=NUMBERS.sockets_fuzzed, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, min_size=1, max_size=8), st.lists(st.integers(1, 200), max_size=12), st.booleans())
def test_whatever_a_socket_sends_it_is_told_in_our_words_and_nobody_else_notices(
    frames: list[bytes], cuts: list[int], packs: bool
) -> None:
    asyncio.run(_one_wild_and_one_tame(b"".join(frames), cuts, packs))


async def _one_wild_and_one_tame(sent: bytes, cuts: list[int], packs: bool) -> None:
    """What `evil` sends, in pieces as they may come, while `acme` talks."""
    house, errors = House(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    tame, wild = house.open(ACME_KEY, "/role/storyteller"), house.open(EVIL_KEY, f"/role/lair{'?fmt=msgpack' * packs}")
    tame.protocol.data_received(frame(1, b'{"message": "before", "session_id": "a"}'))
    for cut in cuts:
        if sent and not wild.closed:
            wild.protocol.data_received(sent[:cut])
            sent = sent[cut:]
            await asyncio.sleep(0)
    if sent and not wild.closed:
        wild.protocol.data_received(sent)
    tame.protocol.data_received(frame(1, b'{"message": "after", "session_id": "a"}'))
    while wild.protocol._unread:
        await asyncio.sleep(0)
    await house.quiet()

    assert len(wild.protocol._conversation._lines if wild.protocol._conversation else ()) <= MAX_SESSIONS
    for opcode, payload in wild.frames():
        if opcode == 8:
            code = int.from_bytes(payload[:2], "big")
            assert not payload or code in OURS or frame(8, payload[:2])[-2:] in wild_closes(code)
        elif opcode == (2 if packs else 1):
            event = (msgspec.msgpack.decode if packs else json.loads)(payload)
            assert event["type"] in TYPES
            if event["type"] == "error":
                assert CODE.fullmatch(event["error"]["code"])
                assert event["error"]["code"] != "internal"
                assert SECRET.encode() not in payload
        else:
            assert opcode == 10  # a pong
    told = [json.loads(payload) for opcode, payload in tame.frames() if opcode == 1]
    assert [event["message"] for event in told if event["type"] == "response.done"] == ["before", "after"]
    assert {(who, role) for who, role, _ in house.sessions.opened} <= {
        (f"svc:{ACME.uid}", "storyteller"),
        (f"svc:{EVIL.uid}", "lair"),
    }
    for line in (tame, wild):
        line.abort()
    assert (house.hub.sockets, house.hub.connections, errors) == (0, 0, [])


def wild_closes(code: int) -> tuple[bytes, ...]:
    """A close that is the client's own, said back."""
    return (code.to_bytes(2, "big"),) if 3000 <= code < 5000 or code in (1003, 1008, 1010, 1014) else ()


# ── addresses ───────────────────────────────────────────────────────────────────────

WILD = st.text(max_size=12) | st.sampled_from(["storyteller", "lair", "acme", "evil", "..", "%2e%2e", "\x00", "@r1"])
PATHS = st.lists(WILD, max_size=4).map("/".join)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["session_id", "after_seq", "stream", "fmt", "token", "KEY", "x"]),
        st.sampled_from(["a", "7", "-1", "9" * 15, "9" * 16, "٣", "0", "json", SECRET]) | st.text(max_size=8),
    ),
    max_size=5,
)
TARGETS = st.builds(
    lambda prefix, path, query, raw: (
        prefix
        + (path if raw else quote(path))
        + ("?" + "&".join(f"{name}={value if raw else quote(value)}" for name, value in query) if query else "")
    ),
    st.sampled_from(["/role/", "/role", "/", "", "//role/"]),
    PATHS,
    QUERIES,
    st.booleans(),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["sec-websocket-protocol", "authorization", "origin", "x-user-id"]), st.text(max_size=12)
    ),
    max_size=3,
)


def read(reader: Callable[..., T], *arguments: object) -> T | RolehostError:
    """What it read, or why it refuses."""
    try:
        return reader(*arguments)
    except (BadRequest, NotFound) as refused:
        return refused


@TIMES
@settings(max_examples=NUMBERS.addresses_fuzzed)
@given(TARGETS, HEADERS)
def test_an_address_is_read_or_refused_and_never_leads_to_another_tenant(
    target: str, headers: list[tuple[str, str]]
) -> None:
    asked = read(opening, target, headers)
    if isinstance(asked, RolehostError):
        assert CODE.fullmatch(asked.code)
        assert SECRET not in str(asked)
        return
    assert asked.session_id is None or re.fullmatch(r"[\x21-\x7e]{1,128}", asked.session_id)
    assert asked.after_seq is None or 0 <= asked.after_seq < 10**15
    roles = tables_with_storyteller().roles
    try:
        found = find_role(roles, Principal(EVIL, "svc:uid-evil", frozenset()), asked.address)
    except NotFound:
        return
    assert (found.tenant, found.name) == (EVIL, "lair")


@TIMES
@settings(max_examples=NUMBERS.addresses_fuzzed)
@given(PATHS | st.from_regex(r"([A-Za-z0-9.-]{1,9}/)?[A-Za-z0-9.-]{1,9}(@[a-z0-9:@]{0,9})?", fullmatch=True))
@example("a/b@c/d")
def test_an_address_that_is_taken_says_the_same_when_it_is_written_out(raw: str) -> None:
    at = read(address, raw)
    if isinstance(at, RolehostError):
        assert at.code == "invalid_role_name"
        return
    written = (f"{at.tenant}/" if at.tenant else "") + at.name + (f"@{at.revision}" if at.revision else "")
    assert address(written) == at == Address(at.name.lower(), at.tenant and at.tenant.lower(), at.revision)


PARTS = st.tuples(*[st.text(max_size=6)] * 4)


@TIMES
@settings(max_examples=NUMBERS.addresses_fuzzed)
@given(PARTS, PARTS)
def test_two_sessions_share_a_key_only_if_they_are_the_same(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (identity.session_key(*one) == identity.session_key(*other)) == (one == other)
    assert re.fullmatch(r"([a-z2-7]{32}:)?[a-z2-7]{32}", identity.session_key(*one))


# ── requests ────────────────────────────────────────────────────────────────────────

ROLES = st.sampled_from(["lair", "Lair", "evil/lair", "storyteller"]) | WILD
READS = st.one_of(
    st.builds(lambda name: f"/v1/roles/{quote(name)}", ROLES),
    st.builds(
        lambda name, sid, what: f"/v1/roles/{quote(name)}/sessions/{quote(sid, safe='')}/{what}",
        ROLES,
        SESSIONS,
        st.sampled_from(["events", "state", "events?wait=9", "state?after_version=0&wait=1", "events?wait=nan"]),
    ),
    st.builds(lambda name, after: f"/v1/roles/{quote(name)}/logs?after={quote(after)}", ROLES, WILD),
    st.builds(lambda name: f"/v1/models/{quote(name)}", ROLES),
    st.sampled_from(["/v1/roles", "/readyz", "/openapi.json", "/v1/models"]),
)
ANYWHERE = TARGETS | READS | st.sampled_from(["/v1/bundles", "/v1/roles:check"])
REQUESTS = st.one_of(
    st.tuples(st.just("GET"), READS),
    st.tuples(st.just("POST"), st.builds(lambda at: f"/role/{quote(at)}", ROLES)),
    st.tuples(st.just("POST"), st.just("/v1/chat/completions")),
    st.tuples(st.just("GET"), st.builds(lambda at, sid: f"/role/{quote(at)}?session_id={quote(sid)}", ROLES, SESSIONS)),
    st.tuples(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]), ANYWHERE),
)


CHATS = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "system", SECRET]), "content": JSON})
        )
    },
    optional={"model": ROLES, "stream": st.booleans(), "n": st.just(1) | JSON, "session_id": SESSIONS, SECRET: JSON},
).map(lambda value: json.dumps(value).encode())
ASKED_FOR = st.fixed_dictionaries(
    {},
    optional={
        "accept": st.sampled_from(["text/event-stream", "application/json", SECRET]) | WILD,
        "last-event-id": st.sampled_from(["0", "1.r1.3", SECRET]) | WILD,
    },
)


@TIMES
@settings(max_examples=NUMBERS.requests_fuzzed, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, TEXTS | CHATS, st.sampled_from([EVIL_KEY, EVIL_KEY, "", SECRET]), ASKED_FOR)
def test_any_request_is_answered_in_our_shape(
    request: tuple[str, str], body: bytes, key: str, more: dict[str, str]
) -> None:
    method, target = request
    asyncio.run(_asked(method, target, body, key, more))


async def _asked(method: str, target: str, body: bytes, key: str, more: dict[str, str]) -> None:
    house = House()
    status, answer = await _request(house, method, target, body, key, more)
    await house.quiet()
    assert status < 500 or (status == 503 and target == "/readyz"), (status, answer)
    if status >= 400 and method != "HEAD":
        told = json.loads(answer)["error"]
        assert CODE.fullmatch(told["code"])
        assert SECRET not in answer.decode()
    assert all(who == f"svc:{EVIL.uid}" for who, _, _ in house.sessions.opened)


async def _request(
    house: House, method: str, target: str, body: bytes, key: str, more: dict[str, str]
) -> tuple[int, bytes]:
    async def up() -> bool:
        return True

    rooms = Rooms(
        gate=house.gate,
        auth=house.door.auth,
        logs=TwoLines(),
        uploads=None,
        store_answers=up,
        settled=lambda: True,
        page=False,
        platform=PlatformHealth(None, lambda: 0, tuple),
    )
    app = make_rest(rooms, house.door.policy)
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8", "replace"), "root_path": "",
        "query_string": query.encode("utf-8", "replace"),
        "headers": [
            (b"host", b"x"), (b"authorization", f"Bearer {key}".encode()),
            *((name.encode(), value.encode("latin-1", "replace")) for name, value in more.items()),
        ],
    }  # fmt: skip
    status, answer = 0, b""

    coming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()  # the client stays
        return coming.pop()

    async def send(message: Message) -> None:
        nonlocal status, answer
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            answer += message.get("body", b"")

    await app(scope, receive, send)
    return status, answer


def test_the_tables_of_this_test_hold_two_tenants() -> None:
    """Else nothing here could lead from one to the other."""
    tables: Tables = tables_with_storyteller()
    assert {role.tenant for role in tables.roles.values()} == {ACME, EVIL}
