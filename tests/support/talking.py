"""A whole gateway in one process, from its port to its log: only the pod, the model and the store are of tests."""

from typing import Any, Self

from tests.support.identities import ROOT
from tests.support.rooms import (
    ACME,
    DEFAULT_SEGMENTS,
    EVIL,
    Clock,
    Ear,
    FakePod,
    PodDialer,
    Shelves,
    Turn,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.identity import key_hash
from rolehost_api.link.messages import CallModel, Commit, ModelResult, PatchOp, StartTurn, TurnFailed
from rolehost_api.wire import Said
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.gateway.broker.archive.memory import MemorySegments
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
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
from rolehost_runtime.gateway.edge.websocket import Door
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import ModelProvider, SessionHandle
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import KeyEntry, Scope, Tables, Tenant

KEYS = {ACME: "rh_1_acme", EVIL: "rh_2_evil"}
USER_KEY = "rh_3_acme"
"""May say who the user is."""


async def ask_or_fail(pod: FakePod, channel: int, start: StartTurn) -> None:
    """What a Role without logic does, counting its turns in the state; a model that fails fails its turn."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    result = await pod.answer(channel)
    assert isinstance(result, ModelResult)
    if result.error:
        pod.send(channel, TurnFailed(code=result.error))
    else:
        pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))


class CountingStore(MemorySessionStore):
    """Counts records that are read by the page."""

    def __init__(self) -> None:
        super().__init__()
        self.read_by_page = 0

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        found = await super().page(key, start, count)
        self.read_by_page += len(found)
        return found


class Talkers:
    """Two tenants with a Role `cat` each, whose pod counts turns in its state; `async with` starts it."""

    def __init__(self, *, model: ModelProvider | None = None, grpc: bool = False, inspect_bytes: int = 0) -> None:
        self.tables, self.clock, self.dialer = world(ACME, EVIL), Clock(), PodDialer()
        self.store, self.metrics, self.hub = CountingStore(), Metrics(), Hub(self.tables.keys)
        self.pool = LinkPool(self.tables, self.dialer, Shelves(), self.dialer.key, self.clock, "gw")
        models = Models({BackendType.SCRIPTED: model or ScriptedProvider()})
        self.segments = MemorySegments()
        self.archive = Archive(
            Past(MemoryShortenedLog(self.store.shelf, self.store._owner), self.segments), forget=True
        )
        self.service = SessionService(
            self.tables,
            self.pool,
            self.store,
            models,
            self.clock,
            commit_pauses=(0, 0),
            archive=self.archive,
            inspect_bytes=inspect_bytes,
        )
        self.pods = {tenant: self.dialer.add(f"pod-{tenant.name}", turn=ask_or_fail) for tenant in (ACME, EVIL)}
        for tenant in KEYS:
            role = self.tables.roles.get(tenant.name, "cat")
            assert role is not None
            put(self.tables, pod_entry(f"pod-{tenant.name}", tenant, revision=role.stable))
        self.auth = auth_of(self.tables, self.clock)
        self._ears: dict[str, tuple[SessionHandle, Ear]] = {}
        self._grpc = grpc
        self.grpc: Any = None
        """The port for gRPC, where it was asked for."""

    async def __aenter__(self) -> Self:
        self.server = edge_on(self.tables, self.service, self.pool, self.clock, self.hub, self.metrics)
        if self._grpc:
            from rolehost_runtime.gateway.edge.grpc.server import GrpcServer

            rooms = rooms_of(self.tables, self.service, self.pool, self.clock, self.hub, self.metrics)
            self.grpc = GrpcServer(rooms, host="127.0.0.1", port=0, max_connections=1000, full=self.server.full)
            await self.grpc.start()
        await self.pool.start()
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.drain(0, 1)
        await self.service.stop(1)
        if self.grpc is not None:
            await self.grpc.stop(1)
        await self.server.stop()
        await self.pool.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    def turns_are(self, turn: Turn) -> None:
        for pod in self.pods.values():
            pod.turn = turn

    async def say(self, session_id: str, *messages: str, **more: Any) -> Ear:
        """Turns of acme's, said from inside; the ear stays at the session."""
        handle, ear = await self.at(session_id)
        for message in messages:
            await handle.say(Said(message=message, **more))
        return ear

    async def at(self, session_id: str) -> tuple[SessionHandle, Ear]:
        """A place of acme's at the session, from inside; the same each time."""
        if session_id not in self._ears:
            role = self.tables.roles.get("acme", "cat")
            assert role is not None
            ear = Ear()
            self._ears[session_id] = (await self.service.attach(principal(ACME), role, session_id, ear), ear)
        return self._ears[session_id]

    def leave(self, session_id: str) -> None:
        """Nobody listens from inside any more."""
        self._ears.pop(session_id)[0].detach()


def add_key(tables: Tables, key: str, tenant: Tenant, *scopes: Scope) -> None:
    entry = KeyEntry(key[3], key_hash(key), tenant, frozenset(scopes))
    tables.keys.put((entry.sha256,), entry)


def auth_of(tables: Tables, clock: Clock) -> KeyAuth:
    return KeyAuth(tables.keys, Tokens(signing_key(ROOT), clock))


def edge_on(
    tables: Tables, service: SessionService, pool: LinkPool, clock: Clock, hub: Hub, metrics: Metrics
) -> EdgeServer:
    """A port for clients of these sessions, not started yet; both tenants' keys are good there."""
    entries = [(key, tenant, (Scope.CHAT,)) for tenant, key in KEYS.items()]
    for key, tenant, scopes in (*entries, (USER_KEY, ACME, (Scope.CHAT, Scope.ACT_AS_USER))):
        add_key(tables, key, tenant, *scopes)
    for table in tables.named().values():
        table.filled = True
    rooms, policy = rooms_of(tables, service, pool, clock, hub, metrics), Policy()
    door = Door(policy, rooms.auth, rooms.gate)
    return EdgeServer(make_rest(rooms, policy), door, host="127.0.0.1", port=0, max_connections=1000)


def rooms_of(
    tables: Tables, service: SessionService, pool: LinkPool, clock: Clock, hub: Hub, metrics: Metrics
) -> Rooms:
    """What stands behind any port for clients."""
    return Rooms(
        gate=Gate(tables=tables, sessions=service, hub=hub, metrics=metrics, now_ms=clock),
        auth=auth_of(tables, clock),
        logs=pool,
        uploads=None,
        store_answers=_yes,
        settled=lambda: True,
        page=False,
        platform=PlatformHealth(None, clock, tuple),
        inspecting=service,
    )


async def _yes() -> bool:
    return True
