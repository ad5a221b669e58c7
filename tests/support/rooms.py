"""A gateway's inner rooms put together in one process: a pod of our own at the other end of an in-memory link."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace as changed
from tests.support.identities import ROOT

from rolehost_api.canonical import HASH_VERSION, template_hash
from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ScriptLine
from rolehost_api.crd.revision import RevisionSpec
from rolehost_api.crd.role import Persona, RoleSpec, RoleTemplate, Sessions, StateSpec
from rolehost_api.errors import NotFound
from rolehost_api.identity import service_principal, user_principal
from rolehost_api.link.attestation import attestation, fingerprint, namespace_key
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import (
    Abort,
    Bind,
    Bound,
    BundleChunk,
    CallModel,
    Commit,
    Committed,
    Credit,
    Delta,
    Fetched,
    Hello,
    HistorySegment,
    InputSegment,
    Message,
    ModelResult,
    PatchOp,
    PersonaSegment,
    Probe,
    Prove,
    Recalled,
    StartTurn,
    StateGiven,
    ToolResult,
    ToPod,
    proof_text,
)
from rolehost_api.names import revision_name
from rolehost_api.wire import ServerFrame, TextDelta
from rolehost_runtime.gateway.link.attest import attested
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Scope, Tables, Tenant

ACME, EVIL = Tenant("acme", "uid-acme"), Tenant("evil", "uid-evil")
NONCE = b"n" * 32
HELLO = Hello(protocols=(1,), nonce=NONCE, probe=Probe(gvisor=True, token=False))
DEFAULT_SEGMENTS = (PersonaSegment(0), HistorySegment(), InputSegment())
SCRIPT = BackendSpec(
    type=BackendType.SCRIPTED,
    script=[ScriptLine(match="again", reply="Before: {previous}"), ScriptLine(reply="You said {message}.")],
)


class Clock:
    """Wall time in milliseconds that moves when it is told to."""

    def __init__(self, now_ms: int = 1_730_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Ear:
    """A channel that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[ServerFrame] = []

    def send(self, event: ServerFrame) -> None:
        self.heard.append(event)

    async def room(self) -> bool:
        return True

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.heard if isinstance(event, kind)]

    def text(self) -> str:
        return "".join(event.delta for event in self.of(TextDelta))


def principal(tenant: Tenant, *scopes: Scope, user: str = "") -> Principal:
    who = user_principal(tenant.uid, user) if user else service_principal(tenant.uid)
    return Principal(tenant, who, frozenset(scopes or (Scope.CHAT,)), user=user)


def role_entry(
    tenant: Tenant = ACME, name: str = "cat", *, stable: str | None = None, follow: bool = False
) -> RoleEntry:
    spec = RoleSpec(
        template=RoleTemplate(persona=Persona(system="You are a cat.", greeting="Meow.")),
        sessions=Sessions(turn_timeout_seconds=5),
    )
    return RoleEntry(tenant, name, spec, revision_entry(role=name).name if stable is None else stable, follow)


def revision_entry(
    tenant: Tenant = ACME, role: str = "cat", sequence: int = 1, template: RoleTemplate | None = None
) -> RevisionEntry:
    """As the operator makes it: by the hash of its content, which differs from one `sequence` to the next."""
    if template is None:
        template = RoleTemplate(
            persona=Persona(system="You are a cat.", greeting="Meow."), state=StateSpec(max_bytes=65_535 + sequence)
        )
    digest = template_hash(template, {})
    spec = RevisionSpec(role_name=role, sequence=sequence, hash_version=HASH_VERSION, hash=digest, template=template)
    return RevisionEntry(tenant, revision_name(role, digest), spec)


CAT_1, CAT_2 = revision_entry().name, revision_entry(sequence=2).name


def pod_entry(uid: str, tenant: Tenant = ACME, role: str = "cat", revision: str = CAT_1) -> PodEntry:
    return PodEntry(tenant, uid, f"{revision}-{uid}", role, revision, f"10.0.0.1:{uid}")


def put(tables: Tables, *rows: Tenant | RoleEntry | RevisionEntry | PodEntry) -> None:
    for row in rows:
        match row:
            case Tenant():
                tables.tenants.put((row.name,), row)
            case RoleEntry():
                tables.roles.put((row.tenant.name, row.name), row)
            case RevisionEntry():
                tables.revisions.put((row.tenant.name, row.name), row)
            case PodEntry():
                tables.pods.put((row.uid,), row)


def serve(tables: Tables, revision: RevisionEntry) -> RevisionEntry:
    """This revision takes its Role's new sessions from now on."""
    role = tables.roles.get(revision.tenant.name, revision.spec.role_name)
    put(tables, revision, replace(role or role_entry(revision.tenant, revision.spec.role_name), stable=revision.name))
    return revision


def world(*tenants: Tenant) -> Tables:
    """Each tenant with a Role `cat`, its first revision, and the scripted backend."""
    tables = Tables()
    tables.backends.put(("default",), SCRIPT)
    for tenant in tenants or (ACME,):
        put(tables, tenant, role_entry(tenant), revision_entry(tenant))
    return tables


# ── a pod ───────────────────────────────────────────────────────────────────────────


class Pipe:
    """The writing half of an in-memory stream; closing one end ends both, as a socket's close does."""

    def __init__(self, mine: asyncio.StreamReader, theirs: asyncio.StreamReader) -> None:
        self._mine, self._theirs = mine, theirs
        self.certificate: bytes | None = None
        """The other end's, as a TLS connection would show it."""
        self.closed = False
        self.unread = 0
        """Bytes that the other end is said to have left in our buffer."""

    def write(self, data: bytes) -> None:
        if not self.closed and not self._theirs._eof:  # type: ignore[attr-defined]
            self._theirs.feed_data(data)

    def close(self) -> None:
        self.closed = True
        for reader in (self._mine, self._theirs):
            if not reader.at_eof():
                reader.feed_eof()

    async def drain(self) -> None:
        """Never full."""

    # as its own transport

    @property
    def transport(self) -> "Pipe":
        return self

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.close()


Turn = Callable[["FakePod", int, StartTurn], Awaitable[None]]


async def ask_and_commit(pod: "FakePod", channel: int, start: StartTurn) -> None:
    """What a Role without logic does, counting its turns in the state."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    result = await pod.answer(channel)
    assert isinstance(result, ModelResult)
    pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))


@dataclass
class FakePod:
    """An honest pod unless its `turn` is not. One link at a time; what it was told is kept."""

    key: Ed25519PrivateKey
    turn: Turn = ask_and_commit
    hello: Hello = HELLO
    bound: Bound | None = None
    """What it answers to Bind; by default that it is well."""
    certificate: bytes | None = b"a certificate"
    """None: it speaks no TLS."""
    attestation: bytes | None = None
    """What its Hello carries; by default what the init container of the pod that is meant has made."""
    told: list[tuple[int, Message]] = field(default_factory=list)
    dialled: int = 0
    uid: str = ""
    heard: int = 0
    """Bytes that came."""
    bundle: bytes = b""
    grant: bool = True
    """Give credit back, as an honest pod does."""

    def __post_init__(self) -> None:
        self._answers: dict[int, asyncio.Queue[Message]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.pipe: Pipe | None = None
        self.theirs: Pipe | None = None
        """The gateway's end of it."""
        self.turns_over = asyncio.Event()

    @property
    def fingerprint(self) -> bytes:
        return fingerprint(self.certificate or b"")

    def greeting(self, tenant: Tenant) -> Hello:
        """Its Hello to a gateway that takes it for a pod of this tenant."""
        said = self.attestation
        if said is None:
            said = attestation(namespace_key(ROOT, tenant.uid), self.uid, self.fingerprint)
        return changed(self.hello, attestation=said)

    def connect(self, uid: str, tenant: Tenant = ACME) -> tuple[asyncio.StreamReader, Pipe]:
        self.uid, self.dialled = uid, self.dialled + 1
        ours, theirs = asyncio.StreamReader(), asyncio.StreamReader()
        self.pipe = Pipe(ours, theirs)
        self._tasks.append(asyncio.create_task(self._serve(ours)))
        self.send(0, self.greeting(tenant))
        self.theirs = Pipe(theirs, ours)
        self.theirs.certificate = self.certificate
        return theirs, self.theirs

    def send(self, channel: int, message: Message) -> None:
        assert self.pipe is not None
        self.pipe.write(encode(channel, message))

    def lose(self) -> None:
        """The pod dies."""
        assert self.pipe is not None
        self.pipe.close()

    async def answer(self, channel: int) -> Message:
        return await self._answers[channel].get()

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        decoder: Decoder[Any] = Decoder(ToPod)
        credits = Credits()
        while data := await reader.read(65_536):
            self.heard += len(data)
            for channel, message, size in decoder.feed(data):
                self.told.append((channel, message))
                if not isinstance(message, Credit):
                    credits.received(size)
                    if self.grant and (grant := credits.worked(size)):
                        self.send(0, Credit(bytes=grant))
                self._receive(channel, message)

    def _receive(self, channel: int, message: Message) -> None:
        match message:
            case Prove(signature=signature):
                try:
                    text = proof_text(self.hello.nonce, self.uid, self.fingerprint)
                    self.key.public_key().verify(signature, text)
                except InvalidSignature:
                    self.lose()
            case Bind(logic=logic, hash=hash_):
                if logic is None or not logic.bundle_digest:
                    self.send(0, self.bound or Bound(hash=hash_))
            case BundleChunk(data=data, last=last):
                self.bundle += data
                if last:
                    bind = next(told for _, told in reversed(self.told) if isinstance(told, Bind))
                    self.send(0, self.bound or Bound(hash=bind.hash))
            case StartTurn():
                self._answers[channel] = asyncio.Queue()
                self._tasks.append(asyncio.create_task(self.turn(self, channel, message)))  # type: ignore[arg-type]
            case ModelResult() | Recalled() | ToolResult() | Fetched() | StateGiven() | Delta():
                self._answers[channel].put_nowait(message)
            case Committed() | Abort():
                self.turns_over.set()

    def starts(self) -> list[StartTurn]:
        return [message for _, message in self.told if isinstance(message, StartTurn)]


class PodDialer:
    """Implements ports.Dialer over fake pods by uid."""

    def __init__(self, key: Ed25519PrivateKey | None = None) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.pods: dict[str, FakePod] = {}

    def add(self, uid: str, **changes: Any) -> FakePod:
        pod = self.pods[uid] = FakePod(self.key, **changes)
        return pod

    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, Any]:
        if pod.uid not in self.pods:
            raise ConnectionRefusedError
        return self.pods[pod.uid].connect(pod.uid, pod.tenant)

    def attested(self, pod: PodEntry, writer: Any, hello: Hello) -> bytes:
        """As TlsDialer does."""
        return attested(ROOT, pod, writer.certificate, hello)


class Shelves:
    """Implements ports.Bundles: what each tenant pushed, by (tenant UID, digest)."""

    def __init__(self, kept: dict[tuple[str, str], bytes] | None = None) -> None:
        self.kept = kept or {}

    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        found = self.kept.get((tenant.uid, digest))
        if found is None:
            raise NotFound("this tenant has pushed no such bundle", code="bundle_not_found")
        return found
