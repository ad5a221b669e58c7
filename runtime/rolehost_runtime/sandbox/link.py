"""One link to a gateway, seen from the pod: handshake, credit, and a task for every open turn."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from rolehost_api.bundle import MAX_COMPRESSED
from rolehost_api.errors import ProtocolViolation, RolehostError
from rolehost_api.link.credit import Credits, cost
from rolehost_api.link.framing import Decoder, encode
from rolehost_api.link.messages import (
    NONCE_BYTES,
    PROTOCOLS,
    Abort,
    Bind,
    Bound,
    BundleChunk,
    Commit,
    Committed,
    Credit,
    Delta,
    Evicted,
    Fetched,
    Hello,
    LoadError,
    LogBatch,
    Message,
    ModelResult,
    NeedState,
    Noticed,
    Probe,
    Prove,
    Question,
    QuestionAnswer,
    ReadLogs,
    Recalled,
    StartTurn,
    StateGiven,
    StopLogs,
    ToolResult,
    ToPod,
    TurnFailed,
    proof_text,
)
from rolehost_runtime.core.merge import applied, changes_of
from rolehost_runtime.core.patch import InvalidPatch, apply
from rolehost_runtime.sandbox.binding import Binding, Serving
from rolehost_runtime.sandbox.identity import Identity
from rolehost_runtime.sandbox.logs import LogRing
from rolehost_runtime.sandbox.states import Key, States, Version
from rolehost_runtime.sandbox.steps import Out
from rolehost_runtime.sandbox.turns import OpenTurn

PROVE_SECONDS = 5.0
MAX_TURNS = 256
"""Open on one link."""
MAX_LOG_READERS = 16
LOG_PAUSE_SECONDS = 0.05
READ_BYTES = 65_536
Heard = QuestionAnswer | StateGiven | Committed | Delta
"""What a turn is told."""


@dataclass(slots=True)
class Pod:
    """What all links of an agent share."""

    uid: str
    identity: Identity
    keys: Callable[[], Sequence[bytes]]
    """The platform's, as they are at this moment."""
    probe: Probe
    binding: Binding
    states: States
    logs: LogRing
    links: "dict[int, Link]" = field(default_factory=dict)
    bells: set[asyncio.Event] = field(default_factory=set)
    """Rung when a line was printed."""
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Rung when a turn was over."""
    numbers: int = 0

    def number(self) -> int:
        """Numbers links and turns; never used twice."""
        self.numbers += 1
        return self.numbers

    def remember(self, key: Key, version: Version, state: bytes) -> None:
        for link_id, session in self.states.put(key, version, state):
            if isinstance(link_id, int) and (link := self.links.get(link_id)):
                link.evicted(session)

    @property
    def binding_to(self) -> str:
        """Hash of the revision that a gateway binds this pod to just now: no other need send the bundle too."""
        return next((link.binding_to for link in self.links.values() if link.binding_to), "")

    @property
    def open_turns(self) -> int:
        return sum(len(link.turns) for link in self.links.values())


@dataclass(slots=True)
class _Turn:
    task: asyncio.Task[None]
    inbox: asyncio.Queue[Heard]


@dataclass(slots=True)
class _Binding:
    """A Bind whose bundle is still coming."""

    bind: Bind
    archive: bytearray = field(default_factory=bytearray)


class Link:
    def __init__(self, pod: Pod, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.id = pod.number()
        self.turns: dict[int, _Turn] = {}
        self._pod = pod
        self._reader = reader
        self._writer = writer
        self._decoder: Decoder[ToPod] = Decoder(ToPod)
        self._credits = Credits()
        self._sending = asyncio.Lock()
        self._granted = asyncio.Event()
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._proven = False
        self._binding: _Binding | None = None
        self.binding_to = ""
        """Hash of the revision whose Bind on this link is not answered yet."""
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()

    async def run(self) -> None:
        """Until either end hangs up or breaks the protocol; the turns of the link end with it."""
        pod = self._pod
        pod.links[self.id] = self
        try:
            async with self._tasks:
                prove_by = asyncio.get_running_loop().call_later(PROVE_SECONDS, self._close_unproven)
                hello = Hello(
                    protocols=PROTOCOLS,
                    nonce=self._nonce,
                    probe=pod.probe,
                    bound=pod.binding.hash,
                    attestation=pod.identity.attestation,
                    binding=pod.binding_to,
                )
                await self.send(0, hello)
                await self._read()
                prove_by.cancel()
                raise _Closed
        except* (_Closed, ProtocolViolation, OSError):
            pass
        finally:
            del pod.links[self.id]
            pod.states.drop_link(self.id)
            self._writer.close()

    async def send(self, channel: int, *messages: Message) -> None:
        """In order, and only as fast as the gateway takes them."""
        async with self._sending:
            for message in messages:
                encoded = encode(channel, message)
                while not self._credits.sent(cost(encoded)):
                    self._granted.clear()
                    await self._granted.wait()
                self._writer.write(encoded)
            await self._writer.drain()

    def evicted(self, session: str) -> None:
        self._spawn(self.send(0, Evicted(sessions=(session,))))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._tasks.create_task(work)

    def _close_unproven(self) -> None:
        if not self._proven:
            self._writer.transport.abort()

    # Receiving

    async def _read(self) -> None:
        while data := await self._reader.read(READ_BYTES):
            for channel, message, size in self._decoder.feed(data):
                if isinstance(message, Credit):
                    self._credits.granted(message.bytes)
                    self._granted.set()
                    continue
                self._credits.received(size)
                if not self._proven:
                    self._prove(message)
                elif channel == 0:
                    self._own_talk(message)
                else:
                    self._turn_talk(channel, message)
                if grant := self._credits.worked(size):
                    self._writer.write(encode(0, Credit(bytes=grant)))

    def _prove(self, message: ToPod) -> None:
        if not isinstance(message, Prove) or message.protocol not in PROTOCOLS:
            raise ProtocolViolation("the first message must be Prove, in a protocol that both speak")
        text = proof_text(self._nonce, self._pod.uid, self._pod.identity.fingerprint)
        try:
            keys = self._pod.keys()
        except (RolehostError, OSError):
            raise ProtocolViolation("the platform's keys cannot be read, so nobody is the platform") from None
        for key in keys:
            with suppress(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(key).verify(message.signature, text)
                self._proven = True
                return
        raise ProtocolViolation("the peer is not the platform")

    def _own_talk(self, message: ToPod) -> None:
        match message:
            case Bind():
                self._bind(message)
            case BundleChunk():
                self._chunk(message)
            case ReadLogs():
                self._read_logs(message)
            case StopLogs():
                if reader := self._readers.get(message.request):
                    reader.cancel()
            case _:
                raise ProtocolViolation("this message does not belong to channel 0")

    def _turn_talk(self, channel: int, message: ToPod) -> None:
        turn = self.turns.get(channel)
        match message:
            case StartTurn() if turn is None:
                self._start(channel, message)
            case Abort():
                if turn is not None:
                    turn.task.cancel()
            case ModelResult() | Recalled() | ToolResult() | Fetched() | StateGiven() | Committed() | Delta():
                if turn is not None:  # else it crossed with our TurnFailed
                    turn.inbox.put_nowait(message)
            case _:
                raise ProtocolViolation("this message does not belong to a turn's channel")

    # Binding

    def _bind(self, bind: Bind) -> None:
        if (answer := self._pod.binding.answer(bind)) is not None:
            self._spawn(self.send(0, answer))
            return
        self.binding_to = bind.hash
        if bind.logic is not None and bind.logic.bundle_digest:
            self._binding = _Binding(bind)
        else:
            self._spawn(self._bound(bind, b""))

    def _chunk(self, chunk: BundleChunk) -> None:
        """Chunks for a pod that was bound in the meantime are let pass."""
        if self._binding is None:
            return
        bind, archive = self._binding.bind, self._binding.archive
        archive += chunk.data
        if len(archive) > MAX_COMPRESSED:
            self._binding, self.binding_to = None, ""
            error = LoadError(code="bundle_too_large", hint=f"a bundle has at most {MAX_COMPRESSED} bytes compressed")
            self._spawn(self.send(0, Bound(hash=bind.hash, error=error)))
        elif chunk.last:
            self._binding = None
            self._spawn(self._bound(bind, bytes(archive)))

    async def _bound(self, bind: Bind, archive: bytes) -> None:
        try:
            bound = await self._pod.binding.bind(bind, archive)
        finally:
            self.binding_to = ""
        await self.send(0, bound)

    # Turns

    def _start(self, channel: int, start: StartTurn) -> None:
        serving = self._pod.binding.serving
        if serving is None or serving.bound.error is not None:
            self._spawn(self.send(channel, TurnFailed(code="not_bound")))
        elif len(self.turns) >= MAX_TURNS:
            self._spawn(self.send(channel, TurnFailed(code="overloaded")))
        else:
            inbox: asyncio.Queue[Heard] = asyncio.Queue()
            task = self._spawn(self._turn(serving, channel, start, inbox))
            self.turns[channel] = _Turn(task, inbox)
            task.add_done_callback(lambda _: self._turn_over(channel))

    def _turn_over(self, channel: int) -> None:
        self.turns.pop(channel, None)
        self._pod.quiet.set()

    async def _turn(
        self,
        serving: Serving,
        channel: int,
        start: StartTurn,
        inbox: "asyncio.Queue[Heard]",
    ) -> None:
        key: Key = (self.id, start.session)
        state, shared = await self._state(channel, start, key, inbox)
        bare = msgspec.structs.replace(start, state=None, user_state=None)
        turn = OpenTurn(self._pod.number(), start.session_id, bare, state, shared)
        try:
            out = await serving.turns.begin(turn)
            while isinstance(out[-1], Question):
                await self._tell(channel, out)
                answer = await self._noticing(serving, channel, turn, inbox)
                if not isinstance(answer, QuestionAnswer) or answer.index != turn.waiting_for():
                    raise ProtocolViolation("an answer that nobody asked for")
                out = await serving.turns.resume(turn, answer)
            await self._tell(channel, out)
            if isinstance(commit := out[-1], Commit):
                self._committed(key, turn, commit, await inbox.get(), serving.bind.state_max_bytes)
        except _TurnOver:
            pass
        finally:
            serving.turns.end(turn)

    async def _noticing(self, serving: Serving, channel: int, turn: OpenTurn, inbox: "asyncio.Queue[Heard]") -> Heard:
        """The next word for the turn that is no piece of an answer; those are shown to its hooks."""
        while isinstance(heard := await inbox.get(), Delta):
            if heard.index != turn.waiting_for():
                raise ProtocolViolation("a piece of an answer that nobody asked for")
            stop = await serving.turns.notice(turn, heard.text)
            await self.send(channel, Noticed(index=heard.index, stop=stop))
        return heard

    async def _tell(self, channel: int, out: Sequence[Out]) -> None:
        """What a step came to. A message that the link cannot carry fails its turn, not the link."""
        try:
            await self.send(channel, *out)
        except ProtocolViolation:
            await self.send(channel, TurnFailed(code="message_too_large"))
            raise _TurnOver from None

    async def _state(
        self, channel: int, start: StartTurn, key: Key, inbox: "asyncio.Queue[Heard]"
    ) -> tuple[bytes, bytes | None]:
        """The session's state and the person's (None: none is shared), encoded: given, remembered, or asked for."""
        held = self._held(start.state, key, start.version)
        shared = self._held(start.user_state, self._person(start), start.user_at) if start.user_at else None
        if held is None or (start.user_at and shared is None):
            await self.send(channel, NeedState())
            given = await inbox.get()
            if not isinstance(given, StateGiven) or given.version != start.version:
                raise ProtocolViolation("the state that was asked for did not come")
            held, shared = msgspec.msgpack.encode(given.state), msgspec.msgpack.encode(given.user_state or {})
        if start.user_at and shared is not None:
            self._pod.remember(self._person(start), start.user_at, shared)
        return held, shared if start.user_at else None

    def _held(self, given: dict[str, Any] | None, key: Key, version: Version) -> bytes | None:
        if given is not None:
            return msgspec.msgpack.encode(given)
        held = self._pod.states.get(key, version)
        return msgspec.msgpack.encode({}) if held is None and version == 0 else held

    def _person(self, start: StartTurn) -> Key:
        return self.id, start.user_ref

    def _committed(self, key: Key, turn: OpenTurn, commit: Commit, answer: object, max_bytes: int) -> None:
        """Fold the patches as the gateway did. Where a hostile worker made one that does not fit, forget the state."""
        if not isinstance(answer, Committed):
            raise ProtocolViolation("a commit must be answered by Committed or Abort")
        try:
            folded = apply(msgspec.msgpack.decode(turn.state), commit.patch, max_bytes=max_bytes)
        except InvalidPatch:
            self._pod.states.drop(key)
        else:
            self._pod.remember(key, answer.version, msgspec.msgpack.encode(folded))
        if turn.user_state is not None and commit.user_patch:
            self._pod.states.drop(self._person(turn.start))
            with suppress(InvalidPatch):
                shared = applied(msgspec.msgpack.decode(turn.user_state), changes_of(commit.user_patch))
                if answer.user_at:
                    self._pod.remember(self._person(turn.start), answer.user_at, msgspec.msgpack.encode(shared))

    # Logs

    def _read_logs(self, asked: ReadLogs) -> None:
        if asked.request in self._readers or len(self._readers) >= MAX_LOG_READERS:
            raise ProtocolViolation("a request for logs is open already, or too many are")
        task = self._spawn(self._send_logs(asked))
        self._readers[asked.request] = task
        task.add_done_callback(lambda _: self._readers.pop(asked.request, None))

    async def _send_logs(self, asked: ReadLogs) -> None:
        """Batches; without `follow` an empty one is the last."""
        bell = asyncio.Event()
        self._pod.bells.add(bell)
        after = asked.after
        try:
            while True:
                bell.clear()
                lines, lost = self._pod.logs.read(after=after)
                if lines or lost or not asked.follow:
                    await self.send(0, LogBatch(request=asked.request, lines=tuple(lines), lost=lost))
                after = lines[-1].number if lines else after + lost
                if lines:
                    await asyncio.sleep(LOG_PAUSE_SECONDS if asked.follow else 0)
                elif asked.follow:
                    await bell.wait()
                else:
                    return
        finally:
            self._pod.bells.discard(bell)


class _TurnOver(Exception):
    """Nothing more is to be said on this turn's channel."""


class _Closed(Exception):
    """The peer hung up; ends the task group."""
