"""Pods of our own that take any number of links, as real ones do, and count what they are sent."""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from tests.support.rooms import (
    ACME,
    HELLO,
    Clock,
    Pipe,
    PodDialer,
    Shelves,
    pod_entry,
    put,
    revision_entry,
    role_entry,
    serve,
    world,
)

from rolehost_api.crd.role import Logic, Persona, RoleTemplate
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import (
    Bind,
    Bound,
    BundleChunk,
    Commit,
    Credit,
    LoadError,
    LogBatch,
    LogLine,
    Message,
    Prove,
    ReadLogs,
    StartTurn,
    ToPod,
    proof_text,
)
from rolehost_runtime.gateway.link.binder import order
from rolehost_runtime.gateway.link.budget import TRANSFERS, Budget
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.tables import PodEntry, Tenant

START = StartTurn(
    session="", session_id="abc", turn=1, version=0, state={}, message="hi", now_ms=1, rng_seed=1, deadline_ms=1000
)
DIGEST = "sha256:" + "1" * 64
ARCHIVE = bytes(range(256)) * 1000
REVISION = revision_entry(
    template=RoleTemplate(persona=Persona(system="You are a cat."), logic=Logic(bundle=DIGEST, entrypoint="cat:cat"))
)


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...
    def close(self) -> None: ...


@dataclass
class FleetPod:
    """Bound once, by whoever comes first with the whole bundle; answers every turn with a Commit."""

    uid: str
    key: Ed25519PrivateKey
    loaded: Callable[["FleetPod"], None] = lambda pod: None
    """Told when it was bound: where a kubelet would call it Ready."""
    error: LoadError | None = None
    cut_off: bool = False
    """Takes no new link."""
    forgetful: bool = False
    """Says to every link that it is bound to nothing."""
    deaf: bool = False
    """Gives no credit back."""
    bound: str = ""
    dialled: int = 0
    bundle_bytes: int = 0
    """Of all links together, also of bundles that did not come whole."""
    turns: int = 0
    importing: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: an import that takes long."""
    links: set[Writer] = field(default_factory=set)
    binding: dict[Writer, str] = field(default_factory=dict)
    """Links on which a Bind is not answered yet, and what to."""

    def __post_init__(self) -> None:
        self.importing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        self.dialled += 1
        self.links.add(writer)
        decoder, credits, archive = Decoder[Any](ToPod), Credits(), bytearray()
        binds: list[Bind] = []
        imports: list[asyncio.Task[None]] = []

        def send(channel: int, message: Message) -> None:
            writer.write(encode(channel, message))

        try:
            bound, binding = "" if self.forgetful else self.bound, next(iter(self.binding.values()), "")
            send(0, replace(HELLO, bound=bound, binding=binding))
            while data := await reader.read(65_536):
                for channel, message, size in decoder.feed(data):
                    if isinstance(message, Credit):
                        continue
                    credits.received(size)
                    if (grant := credits.worked(size)) and not self.deaf:
                        send(0, Credit(bytes=grant))
                    match message:
                        case Prove(signature=signature):
                            self.key.public_key().verify(signature, proof_text(HELLO.nonce, self.uid))
                        case Bind(logic=logic):
                            binds.append(message)
                            self.binding[writer] = message.hash
                            if (self.bound and not self.forgetful) or logic is None or not logic.bundle_digest:
                                imports.append(asyncio.create_task(self._bind(message, writer)))
                        case BundleChunk(data=chunk, last=last):
                            self.bundle_bytes += len(chunk)
                            archive += chunk
                            if last and (self.forgetful or not self.bound):
                                imports.append(asyncio.create_task(self._bind(binds[-1], writer)))
                        case StartTurn():
                            self.turns += 1
                            send(channel, Commit())
                        case ReadLogs(request=request, follow=follow):
                            line = LogLine(number=1, at_ms=1, stream="stdout", text=f"I am {self.uid}")
                            send(0, LogBatch(request=request, lines=(line,)))
                            if not follow:
                                send(0, LogBatch(request=request, lines=()))
        except (InvalidSignature, OSError):
            return
        finally:
            for task in imports:
                task.cancel()
            self.links.discard(writer)
            self.binding.pop(writer, None)
            writer.close()

    async def _bind(self, bind: Bind, writer: Writer) -> None:
        await self.importing.wait()
        del self.binding[writer]
        first, self.bound = not self.bound, self.bound or bind.hash
        writer.write(encode(0, Bound(hash=self.bound, error=self.error)))
        if first and self.error is None:
            self.loaded(self)

    def lose_links(self) -> None:
        for writer in tuple(self.links):
            writer.close()

    def restart(self) -> None:
        """Its container does, and knows nothing any more."""
        self.bound = ""
        self.lose_links()


class FleetDialer:
    """Implements ports.Dialer, in memory. `walls` holds the UIDs of pods that this gateway cannot reach, `holes`
    of those that do not even refuse."""

    def __init__(self, pods: Mapping[str, FleetPod]) -> None:
        self.pods, self.walls, self.holes = pods, set[str](), set[str]()
        self._serving: set[asyncio.Task[None]] = set()

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, Any]:
        there = self.pods[pod.uid]
        if there.cut_off or pod.uid in self.walls:
            raise ConnectionRefusedError
        if pod.uid in self.holes:
            await asyncio.Event().wait()
        ours, theirs = asyncio.StreamReader(), asyncio.StreamReader()
        task = asyncio.create_task(there.serve(ours, Pipe(ours, theirs)))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return theirs, Pipe(theirs, ours)


class Gang:
    """Gateways over the same tables, and pods of one revision that Kubernetes calls Ready once they are bound."""

    def __init__(self, *names: str, transfers: int = TRANSFERS) -> None:
        """`transfers`: how many bundles each gateway may send at a time."""
        self._transfers = transfers
        self.tables, self.clock, self.key = world(ACME), Clock(), PodDialer().key
        serve(self.tables, REVISION)
        self.members = set(names)
        self.shelves = Shelves({(ACME.uid, DIGEST): ARCHIVE})
        self.pods: dict[str, FleetPod] = {}
        self.pools: dict[str, LinkPool] = {}
        self.dialers: dict[str, FleetDialer] = {}
        for name in names:
            self.add_gateway(name)

    async def __aenter__(self) -> "Gang":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        for pool in self.pools.values():
            await pool.start()

    async def stop(self) -> None:
        for pool in self.pools.values():
            await pool.stop()

    def add_gateway(self, name: str) -> LinkPool:
        """A new process of that name; of an old one, only the pods know."""
        dialer = self.dialers[name] = FleetDialer(self.pods)
        pool = self.pools[name] = LinkPool(
            self.tables, dialer, self.shelves, self.key, self.clock, name,
            backoff_seconds=(0,), me=name, members=lambda: self.members,
            budget=Budget(transfers=self._transfers),
        )  # fmt: skip
        return pool

    def add_pod(self, uid: str, *, revision: str = REVISION.name, **options: Any) -> FleetPod:
        pod = self.pods[uid] = FleetPod(uid, self.key, loaded=lambda pod: self.call(pod.uid, ready=True), **options)
        put(self.tables, pod_entry(uid, revision=revision))
        return pod

    def call(self, uid: str, *, ready: bool) -> None:
        """What the kubelet says of a pod."""
        row = self.tables.pods.get(uid)
        assert row is not None
        put(self.tables, changed(row, ready=ready))

    def pod_of(self, *names: str) -> str:
        """A fresh UID whose order of gateways begins so."""
        uids = (f"pod-{number}" for number in itertools.count())
        return next(
            uid for uid in uids if uid not in self.pods and order(uid, self.members)[: len(names)] == list(names)
        )

    def shelve(self, archive: bytes) -> bytes:
        """What the revision's bundle is, instead of ARCHIVE."""
        self.shelves.kept[ACME.uid, DIGEST] = archive
        return archive

    def stall(self) -> asyncio.Event:
        """Bundles come only once this is set."""
        came, fetch = asyncio.Event(), self.shelves.fetch

        async def slowly(tenant: Tenant, digest: str) -> bytes:
            await came.wait()
            return await fetch(tenant, digest)

        self.shelves.fetch = slowly  # type: ignore[method-assign]
        return came

    async def change(self, *names: str) -> None:
        self.members = set(names)
        for pool in self.pools.values():
            pool.members_changed()
        await self.settled()

    async def until(self, true: Callable[[], bool]) -> None:
        """Let the loop run until something is so; the test's own timeout ends what never is."""
        while not true():
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """Whatever was begun has had all the turns of the loop that it can use."""
        for _ in range(200):
            await asyncio.sleep(0)

    async def bound(self) -> None:
        await self.until(lambda: all(pod.bound for pod in self.pods.values()))
        await self.settled()

    async def pass_ms(self, ms: int) -> None:
        self.clock.now_ms += ms
        for pool in self.pools.values():
            pool._keepers.look()
        await self.settled()

    def linked(self, name: str) -> set[str]:
        return set(self.pools[name]._links)

    async def turn(self, name: str, key: str = "s1", wait: float = 5.0, *, most: int = 64) -> Any:
        role = role_entry()
        role = changed(role, spec=replace(role.spec, sessions=replace(role.spec.sessions, max_per_pod=most)))
        return await self.pools[name].start_turn(role, REVISION, key, START, wait)

    async def whole_turn(self, name: str, key: str = "s1") -> str:
        """The pod that took it."""
        call = await self.turn(name, key)
        assert await call.next(5) == Commit()
        call.committed(1)
        return str(call._link.pod_uid)
