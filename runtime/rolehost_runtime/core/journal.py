"""What is kept of an open turn, so that it can be run again elsewhere."""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from rolehost_api.link.messages import CallModel, ModelResult, Say

_encode = msgspec.msgpack.Encoder().encode


class Entry(Struct, frozen=True, omit_defaults=True):
    """One effect: what it was, and the model's answer once there is one."""

    kind: Literal["say", "call_model"]
    mark: bytes
    """Digest of the message, so that a run which asks for something else is noticed."""
    result: ModelResult | None = None


class Stop(Struct, frozen=True):
    """Run number `run` of a turn's hooks was stopped when the turn had made `effects` effects.

    A hook is stopped between its question's answer and whatever it did then, so a new run
    lets it come as far as the journal knows, and no further.
    """

    run: int
    effects: int
    code: str


def entry(message: Say | CallModel) -> Entry:
    """The journal's entry of an effect that was just made."""
    kind: Literal["say", "call_model"] = "say" if isinstance(message, Say) else "call_model"
    return Entry(kind, hashlib.blake2b(_encode(message), digest_size=16).digest())
