"""Several gateways' inner rooms in one process: one shelf of logs, pods of their own, in-memory links between them."""

import asyncio
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.house import Mortal
from tests.support.rooms import (
    ACME,
    EVIL,
    Clock,
    Ear,
    Pipe,
    PodDialer,
    Shelves,
    Turn,
    ask_and_commit,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.identity import session_key
from rolehost_runtime.core.record import TurnRecord, decode
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_leases import MemoryLeases
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.peers.guests import Guests
from rolehost_runtime.gateway.peers.mesh import Mesh
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import GatewayEntry, Tenant

KEY = Ed25519PrivateKey.generate()
SESSION = session_key(ACME.uid, "cat", principal(ACME).id, "abc")


class House:
    """Everything inside one gateway, with a pod of its own for each tenant."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self.tables, self.clock, self.name = world(ACME, EVIL), Clock(), name
        self.dialer = PodDialer()
        self.store = Mortal(fleet.shelf, owner=f"{name}/1")
        self.pool = LinkPool(
            self.tables, self.dialer, Shelves(), self.dialer.key, self.clock, name, backoff_seconds=(0,)
        )
        self.mesh = Mesh(
            self.tables,
            Wire(fleet, name),
            prove=KEY.sign,
            me=f"{name}/1",
            pod=name,
            leases=MemoryLeases(fleet.board),
            backoff_seconds=(0.001,),
        )
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(
            self.tables, self.pool, self.store, models, self.clock, commit_pauses=(0, 0), peers=self.mesh
        )
        self.mesh.doubted = self.service.doubt
        self.guests = Guests(self.service, me=f"{name}/1", leaving=lambda: False, check=checked)
        self.pods = [self.dialer.add(f"pod-{tenant.name}") for tenant in (ACME, EVIL)]
        for tenant in (ACME, EVIL):
            role = self.tables.roles.get(tenant.name, "cat")
            assert role is not None
            put(self.tables, pod_entry(f"pod-{tenant.name}", tenant, revision=role.stable))

    async def start(self) -> None:
        await self.pool.start()
        await self.mesh.start()

    async def stop(self) -> None:
        await self.mesh.stop()
        await self.guests.stop()
        await self.service.stop(0)
        await self.pool.stop()

    async def attach(self, sid: str | None = "abc", tenant: Tenant = ACME, user: str = "") -> tuple[Any, Ear]:
        ear, role = Ear(), self.tables.roles.get(tenant.name, "cat")
        assert role is not None
        return await self.service.attach(principal(tenant, user=user), role, sid, ear), ear

    @property
    def pods_asked(self) -> int:
        """Turns that pods of this gateway were given."""
        return sum(len(pod.starts()) for pod in self.pods)

    # ── what its pods do ────────────────────────────────────────────────────────────

    def turns_are(self, turn: Turn) -> None:
        for pod in self.pods:
            pod.turn = turn

    def turns_hang(self) -> None:
        async def hang(pod: Any, channel: int, start: Any) -> None:
            await asyncio.Event().wait()

        self.turns_are(hang)

    def turns_wait(self) -> asyncio.Event:
        """Turns end once the event is set."""
        release = asyncio.Event()

        async def wait(pod: Any, channel: int, start: Any) -> None:
            await release.wait()
            await ask_and_commit(pod, channel, start)

        self.turns_are(wait)
        return release


class Wire:
    """Implements mesh.PeerDialer: a pair of pipes to the other house."""

    def __init__(self, fleet: "Fleet", me: str) -> None:
        self._fleet, self._me = fleet, me

    async def dial(self, peer: GatewayEntry) -> tuple[asyncio.StreamReader, Any]:
        return self._fleet.connect(self._me, peer.name)


class Fleet:
    def __init__(self) -> None:
        self.shelf = Shelf()
        self.board: dict[str, float] = {}
        """Of leases."""
        self.houses: dict[str, House] = {}
        self._pipes: dict[frozenset[str], list[Pipe]] = {}
        self._cut: set[frozenset[str]] = set()
        self._muted: dict[str, Callable[[], bool]] = {}
        self._serving: list[asyncio.Task[None]] = []

    def __getitem__(self, name: str) -> House:
        return self.houses[name]

    async def start(self, *names: str) -> None:
        for name in names:
            self.houses[name] = House(self, name)
        for house in self.houses.values():
            house.tables.gateways.replace_all({(one,): GatewayEntry(one, f"{one}:1") for one in self.houses})
        for name in names:
            await self.houses[name].start()
        async with asyncio.timeout(5):
            while not all(len(house.mesh.owners()) == len(self.houses) - 1 for house in self.houses.values()):
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for name in tuple(self.houses):
            await self.kill(name)

    # ── faults ──────────────────────────────────────────────────────────────────────

    async def kill(self, name: str) -> None:
        """The process dies: its links are cut before any of it can say a word more."""
        house = self.houses.pop(name)
        house.store.dead = True
        for pair, pipes in self._pipes.items():
            if name in pair:
                for pipe in pipes:
                    pipe.close()
        for other in self.houses.values():
            other.tables.gateways.drop((name,))
        await house.stop()

    def cut(self, one: str, other: str) -> None:
        pair = frozenset({one, other})
        self._cut.add(pair)
        for pipe in self._pipes.get(pair, ()):
            pipe.close()

    def mend(self, one: str, other: str) -> None:
        self._cut.discard(frozenset({one, other}))

    def mute(self, name: str, after: Callable[[], bool]) -> None:
        """Nothing that this gateway says reaches another one once `after` is true."""
        self._muted[name] = after

    # ── the wires ───────────────────────────────────────────────────────────────────

    def connect(self, here: str, there: str) -> tuple[asyncio.StreamReader, Pipe]:
        pair = frozenset({here, there})
        if pair in self._cut or there not in self.houses:
            raise ConnectionRefusedError
        ours, theirs = asyncio.StreamReader(), asyncio.StreamReader()
        near, far = Pipe(ours, theirs), Muffled(theirs, ours, lambda: self._muted.get(there, _never)())
        self._pipes.setdefault(pair, []).extend((near, far))
        serving = asyncio.create_task(self.houses[there].guests.serve(theirs, far))  # type: ignore[arg-type]
        self._serving.append(serving)
        return ours, near

    # ── the log ─────────────────────────────────────────────────────────────────────

    def log(self) -> list[TurnRecord]:
        return [record for record in map(decode, self.shelf.logs.get(SESSION, [])) if isinstance(record, TurnRecord)]

    def epoch(self) -> int:
        return self.shelf.heads[SESSION].epoch


class Muffled(Pipe):
    """A pipe whose words are lost while `mute` is true."""

    def __init__(self, mine: asyncio.StreamReader, theirs: asyncio.StreamReader, mute: Callable[[], bool]) -> None:
        super().__init__(mine, theirs)
        self._mute = mute

    def write(self, data: bytes) -> None:
        if not self._mute():
            super().write(data)


def checked(text: bytes, signature: bytes) -> bool:
    """The platform's signature, of whom there is one key in these tests."""
    try:
        KEY.public_key().verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _never() -> bool:
    return False
