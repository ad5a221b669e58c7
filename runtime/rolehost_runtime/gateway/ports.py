"""What the gateway's rooms ask of each other and of the world. Every port has one contract
suite in tests/contract that its real adapter and its fake both pass.
"""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from rolehost_api.crd.modelbackend import BackendSpec
from rolehost_api.errors import Conflict, NotFound, Unavailable
from rolehost_api.link.messages import (
    Commit,
    Fetch,
    Fetched,
    Hello,
    LogLine,
    Question,
    QuestionAnswer,
    Say,
    StartTurn,
    TimerSpec,
    TurnFailed,
)
from rolehost_api.link.peer import Attach
from rolehost_api.link.tools import ToolCall, ToolSpec
from rolehost_api.observed import Observed
from rolehost_api.wire import ForkedFrom, HeardPart, Said, ServerFrame, Usage
from rolehost_runtime.core.channels import Word
from rolehost_runtime.core.merge import ROOM, Stored
from rolehost_runtime.core.models.budget import Amount
from rolehost_runtime.core.patch import MAX_STATE_BYTES
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import Position, Record
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.segment import Entry, Shelved
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.gateway.inspected import Inspected
from rolehost_runtime.gateway.keeping import Keeping
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, Library
from rolehost_runtime.gateway.memories import MemoryStore
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Scope, Tenant
from rolehost_runtime.gateway.timers import TimerStore

# ── edge ⇄ sessions ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is speaking, from a verified key or token only; sessions are by `id`.

    That is `svc:<tenant UID>` for a service key, and `usr:<tenant UID>:<user>` for an end user, whether they came
    with a token of their own or are acted for.
    """

    tenant: Tenant
    id: str
    scopes: frozenset[Scope]
    key_sha256: str = ""
    """Of the key, or of the one that issued the token. Empty where no key is asked for (local mode)."""
    user: str = ""
    """The end user; empty for a key that speaks for the tenant itself."""
    role: str = ""
    """The one Role that the token is for; empty: all of the tenant's."""
    revision: str = ""
    """The one revision that the token names, `r3`; empty: it names none."""
    until_ms: int | None = None
    """When the token is not accepted any more, milliseconds since 1970. None: there is no token."""

    @property
    def end_user(self) -> str:
        """`id` where this is an end user; empty for the tenant itself."""
        return self.id if self.user else ""


class Channel(Protocol):
    """One client's ear on a session. `send` never waits and never raises: a transport that
    cannot keep up closes itself (1013) and is detached."""

    def send(self, event: ServerFrame) -> None: ...

    async def room(self) -> bool:
        """Wait until the client has read most of what was sent, for whoever has much to say; False: it is gone,
        or was let go of because it did not read."""


class SessionHandle(Protocol):
    """A session as one channel sees it."""

    session_id: str

    async def say(self, said: Said) -> None:
        """Run one turn and return when it is committed; its events go to every channel.

        A session runs one turn at a time; up to 8 wait in line, then Overloaded `busy`. What
        becomes of a message that comes meanwhile, its `busy_policy` says. Where its `deadline_ms` pass
        while the model speaks, the answer ends there and is kept (`length`); Unavailable
        `deadline_exceeded` where they pass before a word, in line or running.
        A known `client_msg_id` replays that turn's events instead. Raises RolehostError
        where the turn failed before its commit; nothing of it is in the log then, and
        channels were told `response.done status=failed` if `response.created` was sent.
        """

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        """Send this channel `session.resumed`, then the events after `after_seq`, flagged as replay.

        As fast as the client reads them, one resume of a channel at a time (else Overloaded `busy`). What happens
        meanwhile comes after them, in order. Where the log does not hold what came after `after_seq` any more, or
        `whole` is asked for, one `session.snapshot` stands for it all.
        """

    def watch(self, word: Word) -> None:
        """This channel follows the state beside another one of its client: it flows, stalls, or its client is gone.
        The session's other channels hear of it: `channel.urgent`, `channel.degraded`."""

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        """The user hears no more of this response, and heard this much of it (None: all that was sent).

        Before its commit: its model is stopped, and it ends as cancelled. After it: the log says what was heard, once;
        said again, it is nothing. Raises NotFound `response_not_found` for one that neither runs nor is the newest.
        """

    def detach(self) -> None:
        """The client is gone; a running turn goes on."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a session's log stands."""

    seq: int
    """Of its last event."""
    version: int
    """Of the state after it."""


@dataclass(frozen=True, slots=True)
class EventsPage:
    """A part of a session's log."""

    events: list[ServerFrame]
    last_seq: int
    """What comes next is what comes after this one."""
    more: bool
    """The log goes on after it."""
    gap: bool = False
    """More was asked to be skipped than there is: that history is lost, and this is what is there, from its begin."""


@dataclass(frozen=True, slots=True)
class UserView:
    """User-scope state, as the person's sessions share it."""

    version: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StateView:
    at: Standing
    state: dict[str, Any]
    user: UserView | None = None
    """None where no end user is named."""
    is_urgent: bool = False
    """The change that made this version was marked so."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """The current node of each subgraph of the Role's behaviour graph; `state` does not say it."""


class Sessions(Protocol):
    async def attach(
        self,
        principal: Principal,
        role: RoleEntry,
        session_id: str | None,
        channel: Channel,
        *,
        revision: str = "",
        told: Told | None = None,
    ) -> SessionHandle:
        """Open or restore a session and send the channel `session.created`.

        None makes a fresh id. With `told` the session is kept nowhere: that is its past, and it ends with the
        handle. Raises RolehostError: `no_ready_revision`, `state_unavailable`.
        """

    async def standing(self, principal: Principal, role: RoleEntry, session_id: str) -> Standing:
        """Where the log stands. Raises NotFound for a session that this principal does not have; creates nothing."""

    async def events(self, principal: Principal, role: RoleEntry, session_id: str, after_seq: int) -> EventsPage:
        """The log's events after `after_seq`, as many as one answer holds. Raises NotFound as `standing` does."""

    async def state(self, principal: Principal, role: RoleEntry, session_id: str) -> StateView:
        """The session's state after its newest turn. Raises NotFound as `standing` does."""

    @property
    def kept(self) -> Keeping:
        """All sessions that there are, whoever holds them."""


class Inspecting(Protocol):
    async def inspect(
        self, principal: Principal, role: RoleEntry, session_id: str, turn: int, *, whole: bool
    ) -> Inspected:
        """A turn (0: the newest) from underneath. `whole`: with what only the tenant may see.

        Raises NotFound as `standing` does, and `turn_not_found`; creates nothing.
        """


class Logs(Protocol):
    def follow(self, role: RoleEntry, *, after: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the Role's logic printed, over all pods of its live revisions."""


class Report(Protocol):
    """The picture for the operator."""

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        """At once if the picture's number is not `after`, else when it changes or the wait ends."""


# ── sessions ⇄ peers ────────────────────────────────────────────────────────────────


class HeldElsewhere(Conflict):
    """Another gateway that is alive answers this session; nothing was done. Never told to a client."""

    code = "held_elsewhere"

    def __init__(self, owner: str, epoch: int = 0) -> None:
        """`epoch`: of that owner, where who says so knows it."""
        super().__init__("another gateway answers this session")
        self.owner, self.epoch = owner, epoch


class Moving(Unavailable):
    """The session goes from one gateway to another just now."""

    code = "session_moving"

    def __init__(self) -> None:
        super().__init__("this session is between two gateways", hint="Send the message again in a moment")


class Superseded(Conflict):
    """What is to be written is not this owner's to write any more."""

    code = "superseded"

    def __init__(self, message: str = "another gateway took this session over in mid-turn") -> None:
        super().__init__(message, hint="Send the message again", retryable=True)


class OwnerLost(Unavailable):
    """The gateway that answered this session is gone, and what became of the message is in the log or nowhere."""

    code = "owner_lost"

    def __init__(self, response_id: str = "") -> None:
        """`response_id`: of the response that the message was being answered with, where that is known."""
        self.response_id = response_id
        super().__init__(
            "the gateway that answered this session is gone",
            hint="Send the message again, with the same client_msg_id: what was kept is not answered twice",
        )


def ignore(response_id: str) -> None:
    """For whoever does not want to know which response answers."""


class Seat(Protocol):
    """A client's place at a session, in this process or another."""

    async def say(self, said: Said, begun: Callable[[str], None] = ignore) -> None:
        """As SessionHandle.say. `begun` is called with the id of the response that answers it.

        Raises HeldElsewhere where nothing was done, OwnerLost where nobody knows.
        """

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        """As SessionHandle.resume. Raises as `say` does."""

    def watch(self, word: Word) -> None:
        """As SessionHandle.watch. Nothing where the place is lost."""

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        """As SessionHandle.cancel. Raises as `say` does."""

    def leave(self) -> None:
        """The client is gone. Harmless twice."""


class Hosted(Seat, Protocol):
    """A place at a session that another gateway's client has, or has at another gateway."""

    @property
    def epoch(self) -> int:
        """In which its owner holds the session; 0 where that is not known."""


class Peers(Protocol):
    """The other gateways, as sessions see them."""

    def owners(self) -> Collection[str]:
        """Names of the gateways that are alive, this one not among them."""

    async def certain(self) -> None:
        """At once, unless this process was asleep or cut off: then until it has seen again who is alive, or tried to."""

    async def attach(self, owner: str, asked: Attach, channel: "Channel", moved: Callable[[], None]) -> Hosted | None:
        """A place at a session that `owner` answers; None where nobody speaks in it there any more.

        `moved` is called once when the session is not answered there any more, or the owner
        is gone. Raises OwnerLost, or what the owner refuses a client with.
        """

    def forgotten(self, key: str) -> None:
        """Tell all of them that this session was deleted: whoever holds it lets go. Waits for nothing."""


LEASE_SECONDS = 3
"""A gateway's lease ends so long after it was last renewed."""


class Leases(Protocol):
    """Which gateways were alive a moment ago, by the store's own count of time.

    Every method: Unavailable `state_unavailable` in bounded time where the store is away.
    """

    async def renew(self, gateway: str) -> bool:
        """From now on it is held for LEASE_SECONDS. False: it was not held any more, or never."""

    async def held(self, gateway: str) -> bool:
        """It was renewed within LEASE_SECONDS."""


class Host(Protocol):
    """The sessions of this process, as other gateways see them."""

    def forgotten(self, key: str) -> None:
        """This session was deleted. Harmless where it is not held here."""

    async def host(self, asked: Attach, channel: "Channel", moved: Callable[[], None]) -> Hosted | None:
        """A place for a client of another gateway at a session that is answered here; None where nobody speaks in it.

        Raises RolehostError as `Sessions.attach` does.
        """


# ── sessions ⇄ link ─────────────────────────────────────────────────────────────────


class TurnCall(Protocol):
    """One turn on one pod. It ends by `committed` or `abort`, whatever happens; after that it is gone."""

    async def next(self, timeout_seconds: float) -> Say | Question | Commit | TurnFailed:
        """What the pod asks for next. Raises Unavailable: `pod_lost`, or `turn_timeout` where it is silent."""

    @property
    def tools(self) -> Sequence[ToolSpec]:
        """That the pod's logic declares, as it says; checked for form, and not yet for what the Role grants."""

    @property
    def deltas(self) -> bool:
        """The pod's logic wants to see answers while they are given."""

    def notice(self, index: int, text: str, noticed: Callable[[bool], None]) -> None:
        """Show it more of the answer to the CallModel that `next` gave last, one piece at a time; `noticed` is told
        whether it wants no more of it."""

    def answer(self, result: QuestionAnswer) -> None:
        """The outcome of the question that `next` gave last."""

    def committed(self, version: int, user_at: str | None = None) -> None:
        """The turn is durable; the pod holds the state of that version, and (None: it changed none) of user-scope
        state that copy, or none any more where it is empty."""

    def abort(self, code: str) -> None:
        """The turn is over without a commit. Harmless after the end."""


class Person(Protocol):
    """Whose turn it is, for the state that their sessions share."""

    async def read(self, start: StartTurn) -> StartTurn:
        """With user-scope state as it is now; the same again where the turn runs again. Raises Unavailable."""


class Links(Protocol):
    """The pods, as sessions see them."""

    async def start_turn(
        self,
        role: RoleEntry,
        revision: RevisionEntry,
        session_key: str,
        start: StartTurn,
        wait_seconds: float,
        person: "Person | None" = None,
    ) -> TurnCall:
        """Start a turn on the session's pod, waiting for one to be ready for at most so long.

        `start` carries the whole state, and an empty `session`; what really goes over the
        link is the link's business. Raises Unavailable `no_pod_ready`, Overloaded `pods_full`.

        `person` is asked for user-scope state where the Role keeps any. Raises what it raises.
        """

    async def loaded(
        self, role: RoleEntry, revision: RevisionEntry, session_key: str, wait_seconds: float
    ) -> Sequence[TimerSpec]:
        """The timers of the logic, as the session's pod told when it had loaded it. Raises as `start_turn` does."""

    def timers(self, revision: RevisionEntry) -> Sequence[TimerSpec]:
        """The same, as far as a pod of that revision that is linked just now has told."""

    def pin(self, role: RoleEntry, revision: str, session_key: str) -> None:
        """Count the session as living on that revision until its idle timeout passes."""

    def release(self, session_key: str) -> None:
        """The session is pinned elsewhere from now on, or gone."""

    def leave(self, role: RoleEntry, revision: str, but: Container[str]) -> None:
        """Nobody is pinned to that revision any more but those sessions: whoever was goes elsewhere when they speak."""


# ── link ⇄ world ────────────────────────────────────────────────────────────────────


class Dialer(Protocol):
    async def dial(self, pod: PodEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A byte stream to the pod's agent. Raises OSError, or Unavailable `pod_not_attested`."""

    def attested(self, pod: PodEntry, writer: asyncio.StreamWriter, hello: Hello) -> bytes:
        """The fingerprint that our proof must name, where who said `hello` on that stream is this pod.

        Raises Unavailable `pod_not_attested`; nothing may be written before it has answered.
        """


class Signer(Protocol):
    """The platform's private key; an Ed25519PrivateKey is one."""

    def sign(self, data: bytes, /) -> bytes: ...


class Bundles(Protocol):
    async def fetch(self, tenant: Tenant, digest: str) -> bytes:
        """The transported (gzip) archive. Raises NotFound `bundle_not_found` for what *this* tenant never pushed."""


class Web(Protocol):
    """Servers outside, as turns see them."""

    async def fetch(self, role: RoleEntry, permissions: Sequence[str], asked: Fetch, key: str = "") -> Fetched:
        """Ask one of them, where the permissions grant it. Never raises: its failure is an answer too.

        `key` is what the server may know the request by, should it come twice; empty for one that changes nothing.
        """


# ── broker ⇄ world ──────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ModelMessage:
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: Sequence[ToolCall] = ()
    """Of `assistant`: the tools that it called behind these words."""
    call_id: str = ""
    """Of `tool`: the call that this came of."""
    name: str = ""
    """Of `tool`: its name."""
    error: str = ""
    """Of `tool`: the call came to nothing."""
    late: bool = False
    """As core.prompt.Spoken has it."""
    raw: msgspec.Raw | None = None
    """The content as JSON, where it was written before."""

    @property
    def said(self) -> str | msgspec.Raw:
        """The content, for an encoder of JSON."""
        return self.content if self.raw is None else self.raw


@dataclass(frozen=True, slots=True)
class ModelRequest:
    model: str
    """What the server calls it; empty: the backend's first."""
    messages: Sequence[ModelMessage]
    params: dict[str, Any]
    max_tokens: int | None
    tenant_uid: str
    backend: str = ""
    """Name of the ModelBackend that is asked."""
    tenant: str = ""
    """Its namespace, for metrics."""
    deadline: float | None = None
    """By the loop's clock: an answer that begins later is of no use."""
    stable_chars: int = 0
    """So much of the first message, if it is the system's, is the same in every call of this revision."""
    tools: Sequence[ToolSpec] = ()
    """That the messages may speak of."""
    may_call: bool = True
    """Of `tools`; False: this time the model answers in words."""
    steady: int = 0
    """So many of the first messages begin the session's next call too, see core.prompt.Prompt."""
    cache_key: str = ""
    """Of whoever may share what the server keeps of prompts, see core.models.caching; empty: it is not said."""


@dataclass(frozen=True, slots=True)
class Called:
    """One call in a model's answer, as the server said it."""

    name: str
    arguments: str
    """Meant to be JSON of an object; it may be anything."""
    too_large: bool = False
    """`arguments` is not whole: there was more than may be."""


@dataclass(frozen=True, slots=True)
class ModelEnd:
    """The last item of a model's stream."""

    finish_reason: str
    """`stop`, `length` or `content_filter`, or a word of the server's own for stopping by itself."""
    usage: Usage
    model: str = ""
    """`backend/model`, as the platform names them, that answered, where more than one may be asked."""
    calls: Sequence[Called] = ()
    """What it wants to be called before it goes on."""
    dropped: int = 0
    """Calls beyond those, which nobody kept."""
    tools_left_out: bool = False
    """It cannot call tools, so it was told of none."""


class ModelProvider(Protocol):
    def stream(self, backend: BackendSpec, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        """Text as it comes, then one ModelEnd.

        Raises Unavailable `model_unavailable`, `model_timeout`, `model_overloaded`, or
        BadRequest `model_refused`, `model_key_refused`, `model_not_found`. Closing the iterator aborts the call.
        """


class Toolbox(Protocol):
    """Tools that are not the logic's own: what other servers do for a Role's model. Named `server__tool`.

    What a Role grants (`tool:server__tool`, `tool:*`) the caller checks, and counts; times out after five and after
    thirty seconds; and cuts what is too long.
    """

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> Sequence[ToolSpec]:
        """All that there are for this Role. Raises RolehostError; its code is in the turn's `degraded` then."""

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        """What it gives back, for the model to read. `arguments` is JSON of an object, and not checked for its schema.

        `key` is this call's in this turn, and the same where the turn is given anew: an idempotency key.
        Raises RolehostError: the model is told its code, if it is one of `core.tooling`, else `tool_failed`.
        """


class NoToolbox:
    """Implements Toolbox: there are no tools but the logic's own."""

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> Sequence[ToolSpec]:
        return ()

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        raise NotFound("there is no such tool", code="unknown_tool")


class TokenLedger(Protocol):
    async def take(self, tenant_uid: str, backend: str, day: int, want: Amount, bound: Amount) -> Amount:
        """Hand out of a tenant's budget of that day (its number, UTC) as much of `want` as `bound` leaves, each part by
        itself; 0 of what is not bounded. Negative parts give back. Raises Unavailable `state_unavailable`."""


Vector = array
"""Of type code `f`: 32-bit floats, as the server gave them; numpy.frombuffer reads one without a copy."""


class Embedder(Protocol):
    async def embed(
        self, tenant: Tenant, backend: str, texts: Sequence[str], *, model: str = "", session: str = ""
    ) -> "list[Vector[float]]":
        """One vector for each text, in order, by the ModelBackend of type Embeddings with that name.

        `model` is one of the backend's own names, empty: its first. Calls of one `session` end in the order in
        which they were made. Texts of several calls of one tenant travel together, of two tenants never; where a
        server refuses some of them, only their own calls fail. Raises BadRequest `embedding_refused`, or for a text
        over MAX_EMBEDDED_CHARS or too many at once; Unavailable and Overloaded as a ModelProvider does, and
        Overloaded `budget_exhausted`, Unavailable `backend_not_found`.
        """


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot as the store gives it back."""

    snapshot: Snapshot
    size: int
    """Bytes that it takes there."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the store says of a session when it is opened."""

    log_id: str
    epoch: int
    turn: int
    seq: int
    version: int
    revision: str
    """The revision it is pinned to; empty for a new session."""
    last_at_ms: int = 0
    amends: int = 0
    """In the whole log."""
    open: OpenTurn | None = None
    """A turn that was begun and neither committed nor given up, as far as somebody could still say so."""
    deaths: int = 0
    """Owners that it has outlived: who takes it over now is the next after so many."""
    kept: Kept | None = None
    """The newest snapshot that is good, for whoever opened the session."""
    how: str = field(default="", compare=False)
    """It came to who opened it: `new`, `own`, `handover` or `takeover`. Empty where it was only looked at."""
    forgotten: int = 0
    """The epoch in which all that it had been before was forgotten; 0: never."""
    origin: ForkedFrom | None = None
    """What it was forked from."""
    log_bytes: int = field(default=0, compare=False)
    """What the records take that are in the store's log: those that left it for the archive do not count."""
    unread: bool = field(default=False, compare=False)
    """Only the newest records came with it: what the session is, its log would still have to say."""

    @property
    def void(self) -> bool:
        """It was forgotten, and nobody has opened it since: to whoever asks there is no such session."""
        return bool(self.forgotten) and self.forgotten == self.epoch


NEWEST_BYTES = 32_768
"""Of the newest records that come with a session which is opened unread, in all."""
RAISE_MS = 1000
"""Between two takeovers of one session from owners that did not give it away."""
NOBODY: Mapping[str, int] = MappingProxyType({})
"""Owners that gave a session away, by the epoch in which they did."""


USER_BYTES = ROOM * MAX_STATE_BYTES
"""What user-scope state may take in the store."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a turn's change of user-scope state, and of what is remembered, came to."""

    version: int = 0
    """Of user-scope state; 0: the turn did not change it."""
    overridden: int = 0
    """Values that it overrode without having seen them."""
    memory: int = 0
    """The version of what is remembered; 0: it did not change it, or that is not known any more."""


@dataclass(frozen=True, slots=True)
class Compensation:
    """A value that was overridden unseen."""

    version: int
    """The one that overrode it."""
    field: str
    written: int
    """The version that had written it."""
    value: Any
    session: str
    """Key of the session whose turn overrode it, without its tag."""
    turn: int


class SessionStore(Library, MemoryStore, TimerStore, Protocol):
    """The log of sessions. Every method: Unavailable `state_unavailable` in ≤2 s where Redis is away."""

    async def open(
        self,
        key: str,
        yield_to: Collection[str] = (),
        given: Mapping[str, int] = NOBODY,
        newest: int = 0,
        mine: int = 0,
    ) -> tuple[Head, list[Record]]:
        """Take the session over: raise its epoch, so that whoever held it is fenced; read what makes it.

        That is the newest good snapshot (`Head.kept`) and the records from its `past_from` on; without one, all of
        them. Raises HeldElsewhere, and nothing is changed, where its last owner is one of `yield_to`, but for one of
        `given`: who gave it away, and in which epoch. One that took it up again since is yielded to. From an owner that
        is neither this one nor gave it away it is taken once in RAISE_MS at most: who comes too early waits, and is
        refused with Moving where others keep coming first.

        With `newest`, at most so many of the newest records, of NEWEST_BYTES in all, are enough: where there are any and
        no turn was left open, they come alone, and `Head.unread` says so. Who reads such a session later names the epoch
        in which it is `mine`: while it is, nothing is raised, and `Head.how` is empty.
        """

    async def keep(self, key: str, snapshot: Snapshot) -> int:
        """Keep this snapshot of the session that this owner holds, beside the one before it; the bytes it takes.

        One of a turn that the log does not have is not kept. Raises Conflict `superseded` then, and as `commit` does.
        """

    async def kept(self, key: str) -> Kept | None:
        """The newest good snapshot, without taking the session over."""

    async def covered(self, key: str) -> Snapshot | None:
        """The older one of two good snapshots, for whoever cuts the log: each of the two is enough without what comes
        before `(past_from, 0)` of the older one. None where there are not two."""

    async def read(self, key: str, start: Position = (1, 0)) -> list[Record]:
        """The log from that place on, without taking it over; empty where there is none. Raises CorruptRecord."""

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        """At most `count` records from that place on, in order; fewer only where the log ends. Raises CorruptRecord."""

    async def head(self, key: str) -> Head | None:
        """Where the session stands, without taking it over; None where there is none. Raises CorruptRecord."""

    async def log_bytes(self, key: str) -> int:
        """What the records take that are in its log; 0 where there is no such session, or its head cannot be read."""

    async def fence(self, key: str) -> Fence | None:
        """Who may write there now, without a change; None where there is no such session."""

    async def rename(self, key: str, head: Head) -> Head:
        """Give the log that this owner holds, at that head, a new id. Raises Conflict `superseded` as `commit` does."""

    async def commit(self, key: str, record: Record, keep_seconds: int = RETENTION_SECONDS) -> Shared | None:
        """Append one record, if epoch, place and `seq` are still right; one server-side call. A turn's clears the note
        of the open turn in the same step, and all of the session is kept for `keep_seconds` from now on: then it is
        gone, all at once to whoever asks, with the user-scope state that nobody has read or changed for as long.
        A turn without a message keeps nothing longer than it was to be kept.

        Raises Conflict `superseded` where another owner took over. Idempotent: the same
        record again is accepted.

        A turn that changes user-scope state merges it in the same step (`core.merge`), and is told what that came to.
        Raises InvalidPatch `counter_too_large`, or StateTooLarge over USER_BYTES; nothing is written then.

        What a turn remembers and forgets is written in the same step as well (`core.memory.atoms`). Raises MemoryFull
        where there is no room for it before the partition is tidied; nothing is written then.
        """

    async def user(self, tag: str, known: Stored, keep_seconds: int = 0) -> Stored:
        """User-scope state as it is kept, `known` itself while it is the newest; empty where there is none.

        With `keep_seconds`, for a turn, it is kept for so long from now on; else it is only looked at.
        """

    async def compensations(self, tag: str, count: int) -> list[Compensation]:
        """Values that turns overrode without having seen them, newest first; the store keeps the last 1,024."""

    async def note(self, key: str, log_id: str, epoch: int, turn: int, opened: OpenTurn | None) -> bool:
        """Note in the head that this turn is open, or (None) that it is given up, if epoch and turn are still right.

        False, and nothing, where they are not: a note never comes after the turn's own commit, nor from who was fenced.
        """


class SegmentStore(Protocol):
    """Where records go that left their log. Every method: Unavailable `archive_unavailable` in bounded time."""

    async def put(self, name: str, body: bytes) -> None:
        """Keep it, in place of whatever has that name. BadRequest `segment_too_large` for more than MAX_OBJECT_BYTES."""

    async def get(self, name: str) -> bytes:
        """Raises NotFound `segment_not_found`, and CorruptRecord for more than MAX_OBJECT_BYTES."""

    async def list(self, folder: str, limit: int) -> Sequence[str]:
        """Names of at most `limit` of those in that folder, which ends in `/`, and in those within it."""

    async def delete(self, names: Sequence[str]) -> None:
        """Of one that is not there nothing is said."""


MAX_OBJECT_BYTES = 1 << 24


class ShortenedLog(Protocol):
    """A session's log whose begin may have gone. Every method: Unavailable `state_unavailable` as SessionStore's."""

    async def entries(self, key: str, start: Position, count: int) -> Sequence[Entry]:
        """As SessionStore.page, but as they are in it, readable or not."""

    async def shelved(self, key: str, position: Position) -> Shelved | None:
        """The first segment that ends there or later; None: what is there is in the log, or nowhere.

        Raises CorruptRecord.
        """

    async def shorten(self, key: str, log_id: str, epoch: int, first: Position, last: Position, name: str) -> bool:
        """Take the records from the log's first to that one out of it, and say which segment has them; one call.

        An empty `name`: none has. False, and nothing is done, where the log begins elsewhere or does not have them all.
        Raises Conflict `superseded` where log, epoch or owner are not right any more, or `last` is of the newest turn.
        """


class StoreFacts(Struct, frozen=True, kw_only=True):
    """Whether what was acknowledged will be there tomorrow. An empty word: the store does not tell."""

    version: str
    aof: bool
    """Every write goes to a log on disk."""
    aof_writes: str = ""
    """`ok`, or `err` where the log could not be written last time."""
    appendfsync: str = ""
    """`always`: on the disk before it is acknowledged."""
    eviction: str = ""
    """`noeviction`: full means an error, not a loss."""
    used_bytes: int = 0
    max_bytes: int = 0
    """0: no bound."""
    now_ms: int = 0
    """The store's clock, milliseconds of Unix time."""
    denied: int = 0
    """Since it started: whoever came with a wrong password, or asked for what is not theirs."""


class ArchiveFacts(Struct, frozen=True, kw_only=True):
    """Whether old records can go to the archive and come back, as it was just tried."""

    configured: bool
    forgets: bool = False
    """There is none, and what no restore reads leaves the store all the same."""
    failed: str = ""
    """`write`, `list`, `read` or `delete`: what could not be done. Empty: all could."""
    trouble: str = ""
    """How that was, without an address or a key."""
    took_ms: int = 0


# ── the tables' last good rows ──────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Place:
    """How new one kind's rows are: two numbers that only grow, and when they were known to be true."""

    own: int
    """The highest resourceVersion seen of the kind itself."""
    tenants: int
    """And of namespaces: whose a row is follows from them."""
    as_of_ms: int

    def older_than(self, other: "Place") -> bool:
        return self.own < other.own or self.tenants < other.tenants


class LastGoodStore(Protocol):
    """Where gateways keep the tables' last good rows for one that starts while the apiserver is away.

    Every method: Unavailable `state_unavailable` in bounded time where the store is away.
    """

    async def places(self) -> dict[str, Place]:
        """How new what is kept of each kind is."""

    async def keep(self, kind: str, place: Place, body: bytes) -> bool:
        """Keep `body`, unless what is there is newer; one server-side call. False: it is.

        Newer is: one of its numbers is higher, or both are the same and it was confirmed
        later. But whoever was confirmed `OUTLIVED_MS` later is kept whatever its numbers
        are: an etcd restored from a backup counts from lower ones.
        """

    async def read(self, kind: str) -> tuple[Place, bytes] | None:
        """What is kept of this kind; None where there is nothing."""


OUTLIVED_MS = 600_000
