"""A client's place at a session that another gateway answers: what it says goes there, what it hears comes from there."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from rolehost_api.errors import Overloaded, ProtocolViolation, RolehostError, Unavailable
from rolehost_api.link.messages import Message
from rolehost_api.link.peer import (
    CANCELS,
    WATCHES,
    AskRoom,
    Attached,
    Begun,
    CancelTurn,
    Detach,
    Forward,
    Heard,
    Moved,
    NotHeld,
    Outcome,
    Refused,
    Replay,
    Room,
    Watching,
)
from rolehost_api.wire import HeardPart, Said, ServerFrame, error_of
from rolehost_runtime.core.channels import Word
from rolehost_runtime.gateway.ports import Channel, HeldElsewhere, OwnerLost, ignore

MAX_EVENT_BYTES = 4 * 1_048_576
"""Of one event in pieces: the longest reply, a full patch and room to spare."""
MAX_WAITING = 64
"""Things said that wait for their outcome; a client's socket holds fewer."""
_event: msgspec.msgpack.Decoder[ServerFrame] = msgspec.msgpack.Decoder(ServerFrame)


class Line(Protocol):
    """The link to the owner."""

    protocol: int

    def send(self, channel: int, message: Message) -> None: ...


class RemoteSeat:
    """Implements ports.Seat."""

    def __init__(
        self, line: Line, channel: int, ear: Channel, moved: Callable[[], None], over: Callable[[int], None]
    ) -> None:
        """`over` is called once with the channel's number when nothing more comes on it."""
        self._line, self._number, self._ear = line, channel, ear
        self._moved, self._is_over = moved, over
        self.taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """True once attached, False where nobody speaks in the session there; or what the owner refuses with."""
        self.epoch = 0
        """In which the owner holds the session, once it is taken."""
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._begun: dict[int, Callable[[str], None]] = {}
        self._answers: dict[int, str] = {}
        """By what was said: the response that answers it."""
        self._errands: set[asyncio.Task[None]] = set()
        self._last = 0
        self._pieces = bytearray()
        self._over = False

    # ── ports.Seat ──────────────────────────────────────────────────────────────────

    async def say(self, said: Said, begun: Callable[[str], None] = ignore) -> None:
        self._last += 1
        number = self._last
        self._begun[number] = begun
        try:
            await self._ask(number, Forward(number=number, said=said))
        finally:
            self._begun.pop(number, None)
            self._answers.pop(number, None)

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        self._last += 1
        await self._ask(self._last, Replay(number=self._last, after_seq=after_seq, whole=whole))

    def watch(self, word: Word) -> None:
        if self._line.protocol >= WATCHES and not self._over:
            self._line.send(self._number, Watching(word=word))

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        if self._line.protocol < CANCELS and not self._over:
            raise Unavailable(
                "the gateway that answers this session is of an older release",
                hint="Try again when the upgrade is through",
                code="cancel_unavailable",
            )
        self._last += 1
        await self._ask(self._last, CancelTurn(number=self._last, response_id=response_id, heard=heard))

    def leave(self) -> None:
        if not self._over:
            self._line.send(self._number, Detach())
            self._end(OwnerLost())

    async def _ask(self, number: int, message: Message) -> None:
        if self._over:
            raise HeldElsewhere("")
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} messages wait in this session already", code="busy")
        outcome = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._line.send(self._number, message)
        try:
            await outcome
        finally:
            self._waiting.pop(number, None)

    # ── from the owner ──────────────────────────────────────────────────────────────

    def receive(self, message: Message) -> None:
        """Raises ProtocolViolation: the owner is a gateway of another make, or ours has a bug."""
        match message:
            case Attached() if not self.taken.done():
                self.epoch = message.epoch
                self.taken.set_result(True)
            case NotHeld() if not self.taken.done():
                self.taken.set_result(False)
                self._end(OwnerLost())
            case Refused() if not self.taken.done():
                self.taken.set_exception(error_of(message.error, message.status))
                self._end(OwnerLost())
            case Heard():
                self._heard(message)
            case Begun():
                if message.number in self._begun:
                    self._answers[message.number] = message.response_id
                    self._begun[message.number](message.response_id)
            case Outcome():
                self._outcome(message)
            case AskRoom():
                asking = asyncio.create_task(self._make_room(message.number), name="room")
                self._errands.add(asking)
                asking.add_done_callback(self._errands.discard)
            case Moved():
                self._end(HeldElsewhere(""))
                self._moved()
            case _:
                raise ProtocolViolation("this message does not belong to a relayed session")

    def lose(self) -> None:
        """The link to the owner is gone."""
        self._end(OwnerLost())
        self._moved()

    def _heard(self, message: Heard) -> None:
        self._pieces += message.data
        if len(self._pieces) > MAX_EVENT_BYTES:
            raise ProtocolViolation("an event of a relayed session is too large")
        if message.more:
            return
        whole, self._pieces = bytes(self._pieces), bytearray()
        try:
            event = _event.decode(whole)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ProtocolViolation("a relayed event is none that is known here") from None
        self._ear.send(event)

    async def _make_room(self, number: int) -> None:
        """One at a time: the owner waits for the answer before it goes on."""
        there = await self._ear.room()
        if not self._over:
            self._line.send(self._number, Room(number=number, gone=not there))

    def _outcome(self, message: Outcome) -> None:
        waiting = self._waiting.get(message.number)
        if waiting is None or waiting.done():
            return  # whoever waited is gone
        if message.undone:
            waiting.set_exception(HeldElsewhere(""))
        elif message.error is not None:
            waiting.set_exception(error_of(message.error, message.status))
        else:
            waiting.set_result(None)

    def _end(self, error: RolehostError) -> None:
        if self._over:
            return
        self._over = True
        for errand in tuple(self._errands):
            errand.cancel()
        self._is_over(self._number)
        _fail(self.taken, error)
        for number, waiting in tuple(self._waiting.items()):
            _fail(waiting, OwnerLost(self._answers.get(number, "")) if isinstance(error, OwnerLost) else error)


def _fail(future: "asyncio.Future[Any]", error: RolehostError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # perhaps nobody waits for it
