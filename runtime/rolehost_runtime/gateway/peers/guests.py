"""The clients of other gateways at sessions that are answered here."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast, get_args

import msgspec

from rolehost_api.errors import Overloaded, ProtocolViolation
from rolehost_api.link.messages import Message
from rolehost_api.link.peer import (
    CANCELS,
    HEARD_BYTES,
    WATCHES,
    AskRoom,
    Attach,
    Attached,
    Begun,
    CancelTurn,
    Detach,
    Forgotten,
    Forward,
    Heard,
    Moved,
    NotHeld,
    Outcome,
    Refused,
    Replay,
    Room,
    ToOwner,
    Watching,
)
from rolehost_api.wire import (
    ChannelDegraded,
    ResponseAmended,
    ResponseReset,
    ServerFrame,
    Snapshot,
    Urgent,
    error_body,
)
from rolehost_runtime.core import channels
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.peers.connection import Connection
from rolehost_runtime.gateway.peers.identity import Check
from rolehost_runtime.gateway.ports import HeldElsewhere, Host, Seat

log = logging.getLogger(__name__)

MAX_GUESTS = 65_536
"""On one link: more than the sockets of the gateway at its other end."""
MAX_ERRANDS = 64
"""Of one guest: what it said and asked for that is not over yet."""

WORDS = get_args(channels.Word)

_encode = msgspec.msgpack.Encoder().encode


class _Guest:
    """One client of another gateway. Implements ports.Channel."""

    def __init__(self, send: Callable[[Message], None], protocol: int) -> None:
        self._send, self._protocol = send, protocol
        self.seat: Seat | None = None
        self.errands: set[asyncio.Task[None]] = set()
        self.gone = False
        self._rooms: dict[int, asyncio.Future[bool]] = {}
        self._asked = 0
        self.idle: Callable[[], None] = lambda: None
        """Called when the last errand is over."""

    def begun(self, number: int, response_id: str) -> None:
        """What it said under this number is being answered."""
        if self._protocol >= CANCELS:
            self._send(Begun(number=number, response_id=response_id))

    def send(self, event: ServerFrame) -> None:
        if self._protocol < CANCELS and isinstance(event, ResponseAmended | ResponseReset):
            return
        if self._protocol < WATCHES and isinstance(event, Urgent | ChannelDegraded | Snapshot):
            return
        data = _encode(event)
        for start in range(0, len(data), HEARD_BYTES):
            piece = data[start : start + HEARD_BYTES]
            self._send(Heard(data=piece, more=start + HEARD_BYTES < len(data)))

    async def room(self) -> bool:
        """The client's own, which its gateway knows."""
        if self.gone:
            return False
        self._asked += 1
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._rooms[self._asked] = answer
        self._send(AskRoom(number=self._asked))
        try:
            return await answer
        finally:
            self._rooms.pop(self._asked, None)

    def has_room(self, number: int, there: bool) -> None:
        """Its gateway's answer."""
        answer = self._rooms.get(number)
        if answer is not None and not answer.done():
            answer.set_result(there)

    def run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand, name="guest")
        self.errands.add(task)
        task.add_done_callback(self._over)

    def _over(self, errand: asyncio.Task[None]) -> None:
        self.errands.discard(errand)
        if not self.errands:
            self.idle()

    def leave(self) -> None:
        """What it had said already runs on; nobody listens any more."""
        self.gone = True
        for number in tuple(self._rooms):
            self.has_room(number, False)
        if self.seat is not None:
            self.seat.leave()


class Guests:
    """Serves every link that another gateway dialled."""

    def __init__(self, host: Host, *, me: str, leaving: Callable[[], bool], check: Check) -> None:
        """`check` tells the platform's signature from any other."""
        self._host, self._me, self._leaving, self._check = host, me, leaving, check
        self._links: set[asyncio.Task[Any]] = set()
        self.count = 0
        """Guests on all links."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For asyncio.start_server."""
        task = asyncio.current_task()
        if task is not None:
            self._links.add(task)
            task.add_done_callback(self._links.discard)
        connection: Connection[ToOwner] = Connection(
            reader, writer, kind=ToOwner, me=self._me, leaving=self._leaving, check=self._check
        )
        guests: dict[int, _Guest] = {}
        try:
            await connection.run(lambda channel, message: self._receive(connection, guests, channel, message), _nothing)
        finally:
            for channel in tuple(guests):
                self._bid_farewell(guests, channel)

    async def stop(self) -> None:
        for task in tuple(self._links):
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _receive(
        self, connection: Connection[ToOwner], guests: dict[int, _Guest], channel: int, message: Message
    ) -> None:
        guest = guests.get(channel)
        match message:
            case Attach() if guest is None:
                if len(guests) >= MAX_GUESTS:
                    full = Overloaded("this gateway has no room for another session", code="too_many_sessions")
                    connection.send(channel, Refused(error=error_body(full), status=full.status))
                    return
                guest = guests[channel] = _Guest(lambda told: connection.send(channel, told), connection.protocol)
                self.count += 1
                guest.run(self._attach(connection, guests, channel, guest, message))
            case Forward() | Replay() | CancelTurn():
                if guest is None:
                    return  # it crossed with our Moved
                if len(guest.errands) >= MAX_ERRANDS:
                    busy = Overloaded(f"{MAX_ERRANDS} messages wait in this session already", code="busy")
                    connection.send(channel, Outcome(number=message.number, error=error_body(busy), status=busy.status))
                    return
                guest.run(self._do(connection, channel, guest, message))
            case Watching():
                if guest is not None and guest.seat is not None and message.word in WORDS:
                    guest.seat.watch(cast("channels.Word", message.word))
            case Room():
                if guest is not None:
                    guest.has_room(message.number, not message.gone)
            case Forgotten():
                self._host.forgotten(message.key)
            case Detach():
                self._bid_farewell(guests, channel)
            case _:
                raise ProtocolViolation("this message does not belong to a guest's channel")

    async def _attach(
        self, connection: Connection[ToOwner], guests: dict[int, _Guest], channel: int, guest: _Guest, asked: Attach
    ) -> None:
        def go() -> None:
            if guests.get(channel) is guest:
                self._bid_farewell(guests, channel)
                connection.send(channel, Moved())

        def moved() -> None:
            """Only after the outcomes of what it said: what has none is said again elsewhere."""
            guest.seat, guest.idle = None, go
            if not guest.errands:
                go()

        try:
            seat = await self._host.host(asked, guest, moved)
        except HeldElsewhere:
            seat = None
        except Exception as error:
            told = faults.told(log, "taking in a guest", error)
            connection.send(channel, Refused(error=error_body(told), status=told.status))
            self._bid_farewell(guests, channel)
            return
        if seat is None:
            connection.send(channel, NotHeld())
            self._bid_farewell(guests, channel)
        elif guest.gone:
            seat.leave()
        else:
            guest.seat = seat
            connection.send(channel, Attached(epoch=seat.epoch))

    async def _do(
        self, connection: Connection[ToOwner], channel: int, guest: _Guest, asked: Forward | Replay | CancelTurn
    ) -> None:
        outcome = Outcome(number=asked.number)
        try:
            if guest.seat is None:
                raise HeldElsewhere(self._me)
            match asked:
                case Forward(number=number):
                    await guest.seat.say(asked.said, lambda response_id: guest.begun(number, response_id))
                case Replay():
                    await guest.seat.resume(asked.after_seq, whole=asked.whole)
                case CancelTurn():
                    await guest.seat.cancel(asked.response_id, asked.heard)
        except HeldElsewhere:
            outcome = Outcome(number=asked.number, undone=True)
        except Exception as error:
            told = faults.told(log, "running a guest's frame", error)
            outcome = Outcome(number=asked.number, error=error_body(told), status=told.status)
        connection.send(channel, outcome)

    def _bid_farewell(self, guests: dict[int, _Guest], channel: int) -> None:
        guest = guests.pop(channel, None)
        if guest is not None:
            self.count -= 1
            guest.leave()


def _nothing() -> None:
    """Who dials us is heard of by the link that we dialled to it."""
