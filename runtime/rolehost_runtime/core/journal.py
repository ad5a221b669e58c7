"""What is kept of an open turn, so that it can be run again elsewhere."""

import hashlib
from typing import Literal

import msgspec
from msgspec import Struct

from rolehost_api.link.messages import CallModel, CallTool, Fetch, Question, QuestionAnswer, Recall, Say

_encode = msgspec.msgpack.Encoder().encode

Kind = Literal["say", "call_model", "recall", "call_tool", "fetch"]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One effect: what it was, and its answer once there is one."""

    kind: Kind
    mark: bytes
    """Digest of the message, so that a run which asks for something else is noticed."""
    result: QuestionAnswer | None = None


class Stop(Struct, frozen=True):
    """Run number `run` of a turn's hooks was stopped when the turn had made `effects` effects.

    A hook is stopped between its question's answer and whatever it did then, so a new run
    lets it come as far as the journal knows, and no further.
    """

    run: int
    effects: int
    code: str


_KINDS: dict[type, Kind] = {
    Say: "say", CallModel: "call_model", Recall: "recall", CallTool: "call_tool", Fetch: "fetch",
}  # fmt: skip


def entry(message: Say | Question) -> Entry:
    """The journal's entry of an effect that was just made."""
    return Entry(_KINDS[type(message)], hashlib.blake2b(_encode(message), digest_size=16).digest())
