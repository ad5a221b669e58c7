"""What is said over gRPC alone: how a stream begins, and a session's state followed."""

from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]


class Open(Struct, frozen=True, kw_only=True):
    """The first event of Converse, and no other: what the address of a WebSocket says."""

    role: str
    """name, tenant/name or name@revision."""
    session_id: str | None = None
    """Open or resume this session at once; events without a session_id are about it."""
    after_seq: Count | None = None
    """Replay its events after this one."""
    stream: bool = True
    """False: only ends of responses and errors are told."""


class WatchRequest(Struct, frozen=True, kw_only=True):
    """Whose state is followed."""

    role: str
    session_id: str
    after_version: Count | None = None
    """What the caller has. Absent, or too old to go on from: the whole state comes first."""


class StateUpdate(Struct, frozen=True, kw_only=True):
    """One change of a session's state. `patch` is a JSON Patch: a JSON array of operations add, remove, replace and
    incr (add `value` to the number at `path`); the whole state is one replace at the path ""."""

    session_id: str
    patch: bytes
    version: Count
    is_urgent: bool
