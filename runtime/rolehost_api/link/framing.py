"""Bytes ⇄ messages of the link. Sans-IO: feed bytes, get messages.

A frame is `u32 length ‖ u8 flags ‖ u32 channel ‖ payload`, big-endian, payload ≤64 KiB.
Flag bit 0 is MORE: the message goes on in the next frame of that channel. Frames of
different channels may interleave, so one long message never blocks the others. A message
is at most 1 MiB, a Commit less; a peer that breaks a bound, or sends what is no message, gets a
ProtocolViolation, and the link is closed.
"""

from collections.abc import Callable, Iterator
from struct import Struct as Packed
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from rolehost_api.errors import ProtocolViolation
from rolehost_api.link.messages import Commit, Message

HEADER = Packed(">IBI")
MAX_PAYLOAD = 65_536
MAX_MESSAGE = 1_048_576
MAX_PARTIAL = 4 * MAX_MESSAGE
"""Bytes of unfinished messages that a link may hold together."""
WINDOW = 4 * MAX_MESSAGE
"""Credit in bytes that each end starts with."""
MAX_COMMIT = 393_216
"""Of a Commit: it alone holds free-form values, whose decoding costs up to 75 times their bytes.
The largest state and 128 KiB of paths fit."""
MORE = 1

M = TypeVar("M")
_encoder = msgspec.msgpack.Encoder()


class _Tagged(Struct):
    t: str = ""


_tagged = msgspec.msgpack.Decoder(_Tagged)


def encode(channel: int, message: Message) -> bytes:
    """One message as its frames, ready to be written.

    Raises ProtocolViolation where it is too large or holds what msgpack cannot carry
    (an integer past 64 bits): our own bug, or a value that should have been refused earlier.
    """
    try:
        payload = _encoder.encode(message)
    except (OverflowError, TypeError, RecursionError):
        raise ProtocolViolation(f"a {type(message).__name__} holds a value that msgpack cannot carry") from None
    if len(payload) > (most := MAX_COMMIT if isinstance(message, Commit) else MAX_MESSAGE):
        raise ProtocolViolation(f"a {type(message).__name__} of {len(payload)} bytes is over the link's {most}")
    if len(payload) <= MAX_PAYLOAD:
        return HEADER.pack(len(payload), 0, channel) + payload
    return b"".join(_frames(channel, payload))


def _frames(channel: int, payload: bytes) -> Iterator[bytes]:
    for start in range(0, len(payload), MAX_PAYLOAD):
        part = payload[start : start + MAX_PAYLOAD]
        more = MORE if start + MAX_PAYLOAD < len(payload) else 0
        yield HEADER.pack(len(part), more, channel) + part


class Decoder(Generic[M]):
    """Turns what arrives into (channel, message) pairs; `kind` is ToPod or ToGateway."""

    def __init__(self, kind: Any) -> None:  # typing has no name for "a union of types"
        self._decode: Callable[[bytes], M] = msgspec.msgpack.Decoder(kind).decode
        self._buffer = bytearray()
        self._partial: dict[int, bytearray] = {}
        self._partial_bytes = 0

    def feed(self, data: bytes | memoryview) -> list[tuple[int, M, int]]:
        """Every message that `data` completes, as (channel, message, its bytes on the wire).

        Raises ProtocolViolation; the link is then beyond repair.
        """
        buffer = self._buffer
        buffer += data
        found: list[tuple[int, M, int]] = []
        start = 0
        while len(buffer) - start >= HEADER.size:
            length, flags, channel = HEADER.unpack_from(buffer, start)
            if length > MAX_PAYLOAD or flags > MORE:
                raise ProtocolViolation("a link frame is over 64 KiB or has unknown flags")
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            payload = bytes(memoryview(buffer)[start + HEADER.size : end])
            start = end
            whole = self._assemble(channel, payload, bool(flags & MORE))
            if whole is not None:
                found.append((channel, self._message(whole), len(whole)))
        del buffer[:start]
        return found

    def _assemble(self, channel: int, payload: bytes, more: bool) -> bytes | None:
        partial = self._partial.get(channel)
        if partial is None and not more:
            return payload
        if partial is None:
            partial = self._partial[channel] = bytearray()
        partial += payload
        self._partial_bytes += len(payload)
        if len(partial) > MAX_MESSAGE or self._partial_bytes > MAX_PARTIAL or len(self._partial) > 1024:
            raise ProtocolViolation("a link message is over 1 MiB, or too many are unfinished")
        if more:
            return None
        del self._partial[channel]
        self._partial_bytes -= len(partial)
        return bytes(partial)

    def _message(self, payload: bytes) -> M:
        try:
            if len(payload) > MAX_COMMIT and _tagged.decode(payload).t == "commit":
                raise ProtocolViolation(f"a Commit of {len(payload)} bytes is over the link's {MAX_COMMIT}")
            return self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ProtocolViolation("a link frame holds no valid message") from None
