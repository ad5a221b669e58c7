"""The gateway's edge on a real port, with fakes behind its ports and bare-handed clients before it."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace
from tests.support.identities import ROOT

from rolehost_api import wire
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import Persona, RoleSpec, RoleTemplate
from rolehost_api.errors import NotFound, RolehostError
from rolehost_api.identity import key_hash
from rolehost_api.link.messages import LogLine
from rolehost_runtime.core.channels import Word
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.edge.auth import KeyAuth, Tokens
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.platform import PlatformHealth
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.rest import make_rest
from rolehost_runtime.gateway.edge.rooms import Rooms
from rolehost_runtime.gateway.edge.server import EdgeServer
from rolehost_runtime.gateway.edge.tokens import signing_key
from rolehost_runtime.gateway.edge.uploads import Uploads
from rolehost_runtime.gateway.edge.websocket import Door
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Channel, EventsPage, Principal, Standing, StateView, StoreFacts
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.librarian import Librarian
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.tables import KeyEntry, RevisionEntry, RoleEntry, Scope, Tables, Tenant

ACME, EVIL = Tenant("acme", "uid-acme"), Tenant("evil", "uid-evil")
ACME_KEY, ACME_CHAT_KEY, EVIL_KEY, ACME_ADMIN_KEY = "rh_1_acme", "rh_2_acme", "rh_3_evil", "rh_4_acme"
ACME_PUSH_KEY = "rh_5_acme"
SPEC = RoleSpec(template=RoleTemplate(persona=Persona(system="You tell stories.")), display_name="Storyteller")
NOW_MS = 1_730_000_000_000


def tables_with_storyteller() -> Tables:
    """`acme` has a Role `storyteller` and some keys; `evil` has a key, and a Role of its own."""
    tables = Tables()
    revision = RevisionSpec(role_name="storyteller", sequence=3, hash_version=1, hash="0" * 64, template=SPEC.template)
    all_scopes = frozenset({Scope.CHAT, Scope.PUSH})
    keys = [
        KeyEntry("1", key_hash(ACME_KEY), ACME, all_scopes),
        KeyEntry("2", key_hash(ACME_CHAT_KEY), ACME, frozenset({Scope.CHAT})),
        KeyEntry("3", key_hash(EVIL_KEY), EVIL, all_scopes),
        KeyEntry("4", key_hash(ACME_ADMIN_KEY), ACME, frozenset({Scope.ADMIN})),
        KeyEntry("5", key_hash(ACME_PUSH_KEY), ACME, frozenset({Scope.PUSH})),
    ]
    tables.tenants.replace_all({(tenant.name,): tenant for tenant in (ACME, EVIL)})
    tables.images.replace_all({})
    tables.roles.replace_all(
        {
            ("acme", "storyteller"): RoleEntry(ACME, "storyteller", SPEC, "storyteller-1"),
            ("evil", "lair"): RoleEntry(EVIL, "lair", SPEC, ""),
        }
    )
    tables.revisions.replace_all({("acme", "storyteller-1"): RevisionEntry(ACME, "storyteller-1", revision)})
    tables.pods.replace_all({})
    tables.backends.replace_all({})
    tables.gateways.replace_all({})
    tables.strangers.replace_all({})
    tables.keys.replace_all({(key.sha256,): key for key in keys})
    return tables


def created(session_id: str) -> wire.SessionCreated:
    return wire.SessionCreated(
        session_id=session_id, seq=None, ts=NOW_MS, role="storyteller@r3", head=0, version=0,
        durability="memory", heartbeat_ms=5000, resume_ttl_s=300, display_name="Storyteller",
    )  # fmt: skip


def done(session_id: str, message: str, seq: int = 1) -> wire.ResponseDone:
    return wire.ResponseDone(
        session_id=session_id, seq=seq, ts=NOW_MS, response_id="r1", status="completed", message=message
    )


@dataclass
class EchoSession:
    """Implements ports.SessionHandle: says back what it heard, character by character."""

    session_id: str
    principal: Principal
    channel: Channel
    home: "EchoSessions"
    role: str = ""
    turns: int = 0
    detached: bool = False

    async def say(self, said: wire.Said) -> None:
        if said.message == "wait":
            await self.home.gate.wait()
        if said.message == "fail":
            raise NotFound("nothing", code="pod_lost")
        if said.message == "break":
            raise ValueError(said.message)
        self.turns += 1
        self.home.said.append((self.session_id, said.message))
        self.home.turns_of.append((self.role, self.principal.user, self.session_id, said.message))
        self.channel.send(
            wire.ResponseCreated(session_id=self.session_id, seq=None, ts=NOW_MS, response_id=f"r{self.turns}")
        )
        for offset, letter in enumerate(said.message[:64]):
            self.channel.send(
                wire.TextDelta(
                    session_id=self.session_id,
                    seq=None,
                    ts=NOW_MS,
                    response_id=f"r{self.turns}",
                    offset=offset,
                    delta=letter,
                )
            )
        self.channel.send(replace(done(self.session_id, said.message, self.turns), client_msg_id=said.client_msg_id))

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        self.home.resumed.append((self.session_id, after_seq, whole))
        if whole:
            return
        self.channel.send(
            wire.Resumed(session_id=self.session_id, seq=None, ts=NOW_MS, from_seq=after_seq + 1, to_seq=after_seq + 1)
        )
        self.channel.send(replace(done(self.session_id, "before", after_seq + 1), replay=True))

    async def cancel(self, response_id: str, heard: wire.HeardPart | None) -> None:
        if response_id == "unknown":
            raise NotFound("nothing", code="response_not_found")
        self.home.cancelled.append((self.session_id, response_id, heard))

    def watch(self, word: Word) -> None:
        self.home.watched.append((self.session_id, word))

    def detach(self) -> None:
        self.detached = True
        self.home.detached.set()


def _library() -> Librarian:
    store = MemorySessionStore()
    return Librarian(
        store, lambda: NOW_MS, lambda key: None, lambda key: History(store, None, key), Memories(store, lambda: NOW_MS)
    )


@dataclass
class EchoSessions:
    """Implements ports.Sessions."""

    opened: dict[tuple[str, str, str], EchoSession] = field(default_factory=dict)
    """By principal, Role and session_id."""
    said: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[tuple[str, str, wire.HeardPart | None]] = field(default_factory=list)
    resumed: list[tuple[str, int, bool]] = field(default_factory=list)
    watched: list[tuple[str, Word]] = field(default_factory=list)
    channels: dict[str, Channel] = field(default_factory=dict)
    """By session_id, the newest."""
    turns_of: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Role, user, session_id, message."""
    principals: list[Principal] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    detached: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: RolehostError | None = None
    kept: Librarian = field(default_factory=_library)
    """Of sessions that none of these are."""

    async def attach(
        self,
        principal: Principal,
        role: RoleEntry,
        session_id: str | None,
        channel: Channel,
        *,
        revision: str = "",
        told: Told | None = None,
    ) -> EchoSession:
        if self.refuses is not None:
            raise self.refuses
        session_id = session_id or f"fresh-{len(self.opened)}"
        self.principals.append(principal)
        self.revisions.append(revision)
        handle = EchoSession(session_id, principal, channel, self, role.name)
        self.opened[(principal.id, role.name, session_id)] = handle
        self.channels[session_id] = channel
        channel.send(created(session_id))
        return handle

    async def standing(self, principal: Principal, role: RoleEntry, session_id: str) -> Standing:
        handle = self.opened.get((principal.id, role.name, session_id))
        if handle is None:
            raise NotFound("there is no such session", code="session_not_found")
        return Standing(handle.turns, handle.turns)

    async def events(self, principal: Principal, role: RoleEntry, session_id: str, after_seq: int) -> EventsPage:
        head = (await self.standing(principal, role, session_id)).seq
        return EventsPage([done(session_id, "said", seq) for seq in range(after_seq + 1, head + 1)], head, more=False)

    async def state(self, principal: Principal, role: RoleEntry, session_id: str) -> StateView:
        at = await self.standing(principal, role, session_id)
        return StateView(at, {"turns": at.version})


class TwoLines:
    """Implements ports.Logs."""

    async def follow(self, role: RoleEntry, *, after: int, follow: bool) -> AsyncIterator[LogLine]:
        for number in (1, 2):
            if number > after:
                yield LogLine(number=number, at_ms=NOW_MS, stream="stdout", text=f"{role.name} {number}")


@dataclass
class Edge:
    """A running edge."""

    tables: Tables
    sessions: EchoSessions
    hub: Hub
    metrics: Metrics
    server: EdgeServer

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ws(self, path: str = "/role/storyteller") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def start_edge(
    *,
    policy: Policy | None = None,
    uploads: Uploads | None = None,
    full: bool = False,
    max_connections: int = 1000,
    page: bool = False,
    store_up: bool = True,
    store_facts: Callable[[], Awaitable[StoreFacts]] | None = None,
) -> Edge:
    tables, sessions, metrics = tables_with_storyteller(), EchoSessions(), Metrics()
    hub = Hub(tables.keys)
    policy = policy or Policy()
    gate = Gate(tables=tables, sessions=sessions, hub=hub, metrics=metrics, now_ms=lambda: NOW_MS)
    tokens = Tokens(signing_key(ROOT), lambda: NOW_MS)
    auth = KeyAuth(tables.keys, tokens)

    async def store_answers() -> bool:
        return store_up

    platform = PlatformHealth(store_facts, lambda: NOW_MS, lambda: ("this",))
    rooms = Rooms(
        gate=gate,
        auth=auth,
        logs=TwoLines(),
        uploads=uploads,
        store_answers=store_answers,
        settled=lambda: True,
        page=page,
        platform=platform,
    )
    server = EdgeServer(
        make_rest(rooms, policy),
        Door(policy, auth, gate),
        host="127.0.0.1",
        port=0,
        max_connections=0 if full else max_connections,
    )
    await server.start()
    return Edge(tables, sessions, hub, metrics, server)


def upgrade(path: str = "/role/storyteller", **headers: str) -> bytes:
    """A handshake by hand."""
    lines = {
        "Host": "gateway",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Authorization": f"Bearer {ACME_KEY}",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return f"GET {path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items()) + b"\r\n"


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros so that its payload is seen as it is."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + b"\0\0\0\0" + payload


async def read_frames(reader: asyncio.StreamReader) -> list[tuple[int, bytes]]:
    """Everything until the server closes: (opcode, payload)."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    data, frames = await reader.read(-1), []
    while data:
        size, at = data[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        frames.append((data[0] & 0x0F, data[at : at + size]))
        data = data[at + size :]
    return frames


def told(frames: list[tuple[int, bytes]]) -> tuple[list[str], int | None]:
    """The codes of the errors that were told, and the close code."""
    texts = [json.loads(payload) for opcode, payload in frames if opcode == 1]
    codes = [text["error"]["code"] for text in texts if text["type"] == "error"]
    closes = [int.from_bytes(payload[:2], "big") for opcode, payload in frames if opcode == 8]
    return codes, closes[0] if closes else None


def events(texts: list[Any]) -> list[str]:
    return [json.loads(text)["type"] for text in texts]
