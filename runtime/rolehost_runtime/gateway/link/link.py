"""One connection to one pod: every byte in and out of it passes here.

One task reads; decoding and dispatch are synchronous, a quantum at a time, so a pod that
floods its link takes its turn like every other. How writing is bounded: `writer`.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property

from msgspec.structs import replace

from rolehost_api.errors import Overloaded, ProtocolViolation, RolehostError, Unavailable
from rolehost_api.link.credit import Credits
from rolehost_api.link.framing import Decoder
from rolehost_api.link.messages import (
    Bound,
    Commit,
    Credit,
    Draining,
    Evicted,
    Hello,
    LogBatch,
    Message,
    ReadLogs,
    StartTurn,
    StopLogs,
    TimerSpec,
    ToGateway,
    TurnFailed,
)
from rolehost_api.link.tools import ToolSpec
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.link.call import Call
from rolehost_runtime.gateway.link.logs import LogReader
from rolehost_runtime.gateway.link.rules import LinkStage, TurnRules, moved
from rolehost_runtime.gateway.link.writer import CreditedWriter
from rolehost_runtime.gateway.tables import PodEntry

READ_BYTES = 65_536
QUANTUM = 64
"""Messages handled before the other links have their turn."""
MAX_CHANNEL = 2**32 - 1
MAX_LOG_READERS = 16
LATE_MS = 5000
"""How long what a pod sent before it read our Abort may still arrive."""
MAX_LATE = 1024
MAX_PERSONS = 4096
"""Of whom it is known which copy of their user-scope state the pod holds; others' is sent again."""


def session_ref(session_key: str, pod_uid: str) -> str:
    """A session's name on one pod: always the same there, so that the pod knows it again over another link, and
    elsewhere another, so that two pods cannot find out that they served the same session. It leads to no key.

    >>> session_ref("k", "pod-1") == session_ref("k", "pod-1"), session_ref("k", "pod-1") == session_ref("k", "pod-2")
    (True, False)
    """
    return hashlib.blake2b(f"{pod_uid}/{session_key}".encode(), digest_size=16, person=b"rolehost session").hexdigest()


class Link:
    def __init__(
        self, pod: PodEntry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now_ms: Callable[[], int]
    ) -> None:
        self.pod = pod
        self.stage = LinkStage.DIALLED
        self.draining = False
        self.closed = False
        self.bytes_in = 0
        self.changed: Callable[[], None] = lambda: None
        self.stopped: Callable[[str], None] = lambda code: None
        """The pod says that it ended a worker under a turn."""
        loop = asyncio.get_running_loop()
        self.hello: asyncio.Future[Hello] = loop.create_future()
        self.bound: asyncio.Future[Bound] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.writer = writer
        self._reader, self._now_ms = reader, now_ms
        self._decoder: Decoder[ToGateway] = Decoder(ToGateway)
        self._credits = Credits()
        self._out = CreditedWriter(writer, self._credits, self.close, silent=True)
        self._calls: dict[int, Call] = {}
        self._late: OrderedDict[int, tuple[TurnRules, int]] = OrderedDict()
        self._last_channel = 0
        self._readers: dict[int, LogReader] = {}
        self._last_request = 0
        self._seats: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._refs: set[str] = set()
        """Of the seats."""
        self._held: dict[str, int] = {}
        self._shared: OrderedDict[str, str] = OrderedDict()
        """Which copy of user-scope state the pod holds, by the person's name on it."""

    # ── reading ─────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Read until the end of the link. Raises ProtocolViolation or OSError for its cause; always closed after."""
        try:
            while data := await self._reader.read(READ_BYTES):
                self.bytes_in += len(data)
                for number, (channel, message, size) in enumerate(self._decoder.feed(data), 1):
                    self._receive(channel, message, size)
                    if number % QUANTUM == 0:
                        await asyncio.sleep(0)
                await asyncio.sleep(0)
        finally:
            self.close()

    def _receive(self, channel: int, message: Message, size: int) -> None:
        if isinstance(message, Credit):
            if channel:
                raise ProtocolViolation("a pod gave credit on a turn's channel")
            self.stage = moved(self.stage, message)
            self._out.granted(message.bytes)
            return
        self._credits.received(size)
        if channel:
            self._receive_turn(channel, message, size)
            return
        self.stage = moved(self.stage, message)
        match message:
            case Hello():
                self.hello.set_result(message)
            case Bound():
                self.bound.set_result(message)
            case Draining() if not self.draining:
                self.draining = True
                self.changed()
            case Evicted():
                for ref in message.sessions:
                    self._held.pop(ref, None)
                    self._shared.pop(ref, None)
            case LogBatch():
                self._receive_logs(message)
        self.worked(size)

    def _receive_turn(self, channel: int, message: Message, size: int) -> None:
        call = self._calls.get(channel)
        if call is not None:
            call.receive(message, size)  # type: ignore[arg-type]
            self._tell_stops(message)
            return
        late = self._late.get(channel)
        if late is None or self._now_ms() > late[1]:
            raise ProtocolViolation("a pod named a turn that is not open on its link")
        late[0].heard(message)
        self.worked(size)

    def _tell_stops(self, message: Message) -> None:
        if isinstance(message, TurnFailed):
            self.stopped(message.code)
        elif isinstance(message, Commit):
            for one in message.degraded:
                self.stopped(one.code)

    def _receive_logs(self, batch: LogBatch) -> None:
        if not 0 < batch.request <= self._last_request:
            raise ProtocolViolation("a pod answered a request for logs that nobody made")
        reader = self._readers.get(batch.request)
        if reader is not None:
            reader.receive((self, batch.request), batch)

    # ── writing ─────────────────────────────────────────────────────────────────────

    def send(self, channel: int, message: Message) -> None:
        self._out.send(channel, message)

    async def room(self) -> None:
        await self._out.room()

    def worked(self, size: int) -> None:
        self._out.worked(size)

    def speak(self) -> None:
        """The other end is the pod that we mean."""
        self._out.speak()

    # ── turns ───────────────────────────────────────────────────────────────────────

    def start(self, session_key: str, start: StartTurn, until_ms: int) -> Call:
        """Open a channel for a turn. The state goes along only if the pod does not hold it."""
        if self._last_channel == MAX_CHANNEL:
            self.close()
        if self.closed:
            raise Unavailable("the link to the pod was lost", code="pod_lost")
        self._last_channel += 1
        ref = self._seat(session_key, until_ms)
        start = replace(start, session=ref, state=start.state or {})
        left_out = self._held.get(ref) == start.version
        sent = replace(start, state=None) if left_out else start
        if start.user_at:
            person = session_ref(start.user_ref, self.pod_uid)
            start, sent = replace(start, user_ref=person), replace(sent, user_ref=person)
            if self._shared.get(person) == start.user_at:
                left_out, sent = True, replace(sent, user_state=None)
            self.shares(person, start.user_at)
        call = self._calls[self._last_channel] = Call(self, self._last_channel, start, state_left_out=left_out)
        self.send(call.channel, sent)
        return call

    def shares(self, ref: str, at: str) -> None:
        """The pod holds this copy of a person's user-scope state; empty: none that is still right."""
        self._shared.pop(ref, None)
        if at:
            self._shared[ref] = at
        while len(self._shared) > MAX_PERSONS:
            self._shared.popitem(last=False)

    def holds(self, ref: str, version: int) -> None:
        if ref in self._refs:
            self._held[ref] = version

    def forget(self, call: Call, *, in_flight: bool) -> None:
        """The call is over. After an Abort, what was on its way may still come for a while."""
        if self._calls.pop(call.channel, None) is None or not in_flight:
            return
        self._late[call.channel] = (call.rules, self._now_ms() + LATE_MS)
        while len(self._late) > MAX_LATE:
            self._late.popitem(last=False)

    @property
    def keeps_user_state(self) -> bool:
        """The pod says that its Role has a State with scope user. It costs its own tenant a look into the store."""
        done = self.bound.done() and not self.bound.cancelled() and self.bound.exception() is None
        return done and bool(self.bound.result().user_fields)

    @cached_property
    def tools(self) -> Sequence[ToolSpec]:
        """That the pod's logic declares, as far as that may be believed. Asked only once it is bound."""
        done = self.bound.done() and not self.bound.cancelled() and self.bound.exception() is None
        return hearsay.tools(self.bound.result().tools) if done else ()

    @property
    def deltas(self) -> bool:
        """Its logic wants to see answers while they are given."""
        done = self.bound.done() and not self.bound.cancelled() and self.bound.exception() is None
        return done and self.bound.result().deltas

    @property
    def timers(self) -> tuple[TimerSpec, ...]:
        """Of its logic, as the pod says. They cost its own tenant."""
        done = self.bound.done() and not self.bound.cancelled() and self.bound.exception() is None
        return self.bound.result().timers if done else ()

    # ── seats: the sessions that this pod serves ────────────────────────────────────

    @property
    def pod_uid(self) -> str:
        return self.pod.uid

    def has(self, session_key: str) -> bool:
        return session_key in self._seats

    def occupied(self) -> int:
        """Sessions that spoke within their idle timeout."""
        now = self._now_ms()
        while self._seats and (oldest := next(iter(self._seats.items())))[1][1] < now:
            self.vacate(oldest[0])
        return len(self._seats)

    def vacate(self, session_key: str) -> None:
        seat = self._seats.pop(session_key, None)
        if seat is not None:
            self._refs.discard(seat[0])
            self._held.pop(seat[0], None)

    def _seat(self, session_key: str, until_ms: int) -> str:
        ref = session_ref(session_key, self.pod_uid)
        self._seats[session_key] = (ref, until_ms)
        self._seats.move_to_end(session_key)
        self._refs.add(ref)
        return ref

    # ── logs ────────────────────────────────────────────────────────────────────────

    def read_logs(self, reader: LogReader, *, after: int, follow: bool) -> int:
        """Ask for what the logic printed; lines go to `reader` until `stop_logs`."""
        if len(self._readers) >= MAX_LOG_READERS:
            raise Overloaded("too many readers follow this pod's logs", code="too_many_readers")
        self._last_request += 1
        self._readers[self._last_request] = reader
        reader.add((self, self._last_request))
        self.send(0, ReadLogs(request=self._last_request, after=after, follow=follow))
        return self._last_request

    def stop_logs(self, request: int) -> None:
        if self._readers.pop(request, None) is not None:
            self.send(0, StopLogs(request=request))

    # ── the end ─────────────────────────────────────────────────────────────────────

    def in_use(self) -> bool:
        """A turn is open on it, a session sits on its pod, or somebody reads its logs."""
        return bool(self._calls or self._readers or self.occupied())

    def close(self) -> None:
        """End the link: its turns lose their pod, its log readers end."""
        if self.closed:
            return
        self.closed = True
        self._out.close()
        lost: RolehostError = Unavailable("the link to the pod was lost", code="pod_lost")
        for future in (self.hello, self.bound):
            if not future.done():
                future.set_exception(lost)
                future.exception()
        for call in tuple(self._calls.values()):
            call.lose()
        for request, reader in tuple(self._readers.items()):
            self._readers.pop(request)
            reader.end((self, request))
        if not self.ended.done():
            self.ended.set_result(None)
        self.changed()
