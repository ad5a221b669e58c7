"""What agent, template and workers say to each other: msgpack behind a length, over socket pairs.

The workers run the tenant's code, so the agent takes from them only these types, only of
this size, and only about the step that it asked for.
"""

import socket
from collections.abc import Iterator
from struct import Struct as Packed
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import (
    Commit,
    LoadError,
    Question,
    QuestionAnswer,
    Say,
    StartTurn,
    TimerSpec,
    TurnFailed,
    Word,
)
from rolehost_api.link.tools import ToolSpec
from rolehost_runtime.core.journal import Entry, Stop

LENGTH = Packed(">I")
MAX_FRAME = 16 * 1_048_576
"""A journal of a whole turn with all of its answers fits; what a worker may say is less."""

Out = Say | Question | Commit | TurnFailed


class Said(Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """Anything between agent, template and worker."""


class Load(Said, frozen=True, kw_only=True, tag="load"):
    """To the template: import this."""

    folder: str
    """Empty: a Role without logic."""
    entrypoint: str
    role: str
    personas: int
    max_state_bytes: int
    behavior: bytes = b""
    """Of the manifest, as JSON."""
    permissions: tuple[Word, ...] | None = None
    timer_min_seconds: int = 1


class Loaded(Said, frozen=True, kw_only=True, tag="loaded"):
    error: LoadError | None = None
    hooks: tuple[str, ...] = ()
    state_fields: tuple[str, ...] = ()
    user_fields: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    timers: tuple[TimerSpec, ...] = ()
    deltas: bool = False


class Fork(Said, frozen=True, kw_only=True, tag="fork"):
    """To the template: make a worker; its socket, stdout and stderr come with this."""

    number: int


class Forked(Said, frozen=True, kw_only=True, tag="forked"):
    number: int
    pid: int
    """0: the fork failed."""


class Died(Said, frozen=True, kw_only=True, tag="died"):
    pid: int
    status: int
    """As os.waitstatus_to_exitcode has it: negative for a signal."""


class Step(Said, frozen=True, kw_only=True, tag="step"):
    """To a worker: go on with a turn. With `start` from the beginning, by the journal; else with `result`."""

    turn: int
    start: StartTurn | None = None
    state: bytes = b""
    user_state: bytes | None = None
    journal: tuple[Entry, ...] = ()
    stops: tuple[Stop, ...] = ()
    result: QuestionAnswer | None = None
    delta: str | None = None
    """More of the answer that it waits for, in place of all that."""


class Drop(Said, frozen=True, kw_only=True, tag="drop"):
    """To a worker: nobody will go on with this turn here."""

    turn: int


class Entering(Said, frozen=True, kw_only=True, tag="entering"):
    """A hook is about to be called or to go on; if nothing follows in time, it is the one to blame."""

    run: int
    hook: str


class LogNote(Said, frozen=True, kw_only=True, tag="log"):
    text: str


class Stepped(Said, frozen=True, kw_only=True, tag="stepped"):
    turn: int
    out: tuple[Out, ...] = ()
    stop: bool = False
    """Of a delta: the hooks want no more of the answer."""


class Missing(Said, frozen=True, kw_only=True, tag="missing"):
    """The worker does not hold this turn (any more)."""

    turn: int


ToTemplate = Load | Fork
FromTemplate = Loaded | Forked | Died
ToWorker = Step | Drop
FromWorker = Entering | LogNote | Stepped | Missing

M = TypeVar("M")
_encode = msgspec.msgpack.Encoder().encode


def pack(message: Said) -> bytes:
    payload = _encode(message)
    return LENGTH.pack(len(payload)) + payload


class Frames(Generic[M]):
    """Bytes to messages."""

    def __init__(self, kind: Any, limit: int = MAX_FRAME) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Every message that `data` completes. Raises ProtocolViolation."""
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > self._limit:
                raise ProtocolViolation("a frame between the sandbox's processes is too large")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[LENGTH.size : end])
            del self._buffer[:end]
            try:
                yield self._decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise ProtocolViolation("a frame between the sandbox's processes holds no message") from None


def read_one(sock: socket.socket, decode: Any) -> Any:
    """Block for one message; None at the end of the stream. For workers, which do one thing at a time."""
    head = _exactly(sock, LENGTH.size)
    body = _exactly(sock, LENGTH.unpack(head)[0]) if head else None
    return None if body is None else decode(body)


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1_048_576))
        if not part:
            return None
        parts += part
    return bytes(parts)
