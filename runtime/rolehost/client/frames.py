"""Frames as they are on the wire, read without trusting them. Pure."""

from typing import Any, TypeVar

import msgspec

Frame = dict[str, Any]
T = TypeVar("T")

MAX_FRAME_BYTES = 4 << 20
"""Of what a server sends: the largest event is some 2 MiB."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode


def read(said: str | bytes) -> Frame | None:
    """A server's frame, text in JSON or bytes in msgpack; None for what is none, which is not worth a broken
    conversation.

    >>> read('{"type": "pong", "t": 1}'), read("[]"), read('{"type": 3}'), read("{")
    ({'type': 'pong', 't': 1}, None, None, None)
    """
    try:
        frame = _decode(said) if isinstance(said, str) else _unpack(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return frame if isinstance(frame.get("type"), str) else None


def number(frame: Frame, name: str) -> int | None:
    """A whole number of 0 or more.

    >>> number({"seq": 4}, "seq"), number({"seq": -1}, "seq"), number({"seq": True}, "seq"), number({}, "seq")
    (4, None, None, None)
    """
    value = frame.get(name)
    return value if type(value) is int and value >= 0 else None


def word(frame: Frame, name: str) -> str | None:
    value = frame.get(name)
    return value if isinstance(value, str) else None


def error_of(frame: Frame) -> Frame:
    """The body of an error, with every field that others count on.

    >>> error_of({"error": {"code": "busy", "retryable": True}})["code"], error_of({})["code"]
    ('busy', 'internal')
    """
    body = frame.get("error")
    told = body if isinstance(body, dict) else {}
    made = failure(
        word(told, "code") or "internal",
        word(told, "message") or "",
        word(told, "hint") or "",
        retryable=told.get("retryable") is True,
    )
    after = number(told, "retry_after_ms")
    return made if after is None else {**made, "retry_after_ms": after}


def failure(code: str, message: str, hint: str = "", *, retryable: bool = False) -> Frame:
    return {"code": code, "message": message, "hint": hint, "retryable": retryable}
