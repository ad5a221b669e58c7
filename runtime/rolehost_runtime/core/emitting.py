"""Frames of a Role's own: which may be emitted, and how many in a turn. Pure."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import MAX_EMITTED, Emitted
from rolehost_runtime.core.patch import InvalidPatch, check_value, encoded_size

MAX_EMITTED_BYTES = 16_384
"""Of one frame's data, in msgpack."""
MAX_ALL_BYTES = 65_536
"""Of a turn's, together."""
_NAME = re.compile(r"custom\.[a-z0-9_]+(?:\.[a-z0-9_]+)*")
_MAX_NAME = 64


class InvalidEmit(BadRequest):
    """A frame that no Role may emit."""

    code = "invalid_emit"


def emitted(name: object, data: object, before: Sequence[Emitted] = ()) -> Emitted:
    """One more frame, with the data as it is now. Raises InvalidEmit.

    >>> emitted("custom.mood", {"level": 3})
    Emitted(name='custom.mood', data={'level': 3})
    """
    if not isinstance(name, str) or len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidEmit(
            "a frame is named custom. and words of a-z, 0-9 and _, with dots between them",
            hint=f't.emit("custom.mood", …); at most {_MAX_NAME} characters',
        )
    if len(before) >= MAX_EMITTED:
        raise InvalidEmit(f"a turn emits at most {MAX_EMITTED} frames", code="too_many_emitted")
    made = Emitted(name, _copied(data))
    check((*before, made))
    return made


def check(frames: Sequence[Emitted]) -> None:
    """Raises InvalidEmit where a turn may not emit these: whoever says so may be anybody."""
    total = 0
    for frame in frames:
        if len(frame.name) > _MAX_NAME or not _NAME.fullmatch(frame.name):
            raise InvalidEmit("a frame has a name that is not its Role's to use")
        try:
            check_value(frame.data)
            size = encoded_size(frame.data)
        except InvalidPatch as error:
            raise InvalidEmit(f"a frame holds what JSON has not: {error.message}") from None
        if size > MAX_EMITTED_BYTES:
            raise InvalidEmit(f"a frame is over {MAX_EMITTED_BYTES} bytes", code="emit_too_large")
        total += size
    if total > MAX_ALL_BYTES:
        raise InvalidEmit(f"a turn's frames are over {MAX_ALL_BYTES} bytes together", code="emit_too_large")


def _copied(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidEmit("a frame's data is an object", hint='t.emit("custom.mood", {"level": 3})')
    try:
        check_value(data)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(data), type=dict[str, Any])
    except (InvalidPatch, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidEmit("a frame's data is plain JSON: objects, lists, text, numbers of 64 bits") from None
