"""Where a connection is, and what the core wants done. Pure."""

from dataclasses import dataclass
from enum import Enum

from rolehost.client.frames import Frame


class Phase(Enum):
    """Where the connection is."""

    WAITING = "waiting"
    """There is none, until the next try."""
    CONNECTING = "connecting"
    OPENING = "opening"
    """It stands; `session.created` has not come."""
    RESUMING = "resuming"
    """What was missed is being told."""
    READY = "ready"
    STALLED = "stalled"
    """It was dropped, because nobody reads the events that came."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket; then `opened`, `heard` and at last `lost`, of this one only."""


@dataclass(frozen=True, slots=True)
class Send:
    frame: Frame


@dataclass(frozen=True, slots=True)
class Close:
    """Forget the socket; nothing of it is to be told any more."""

    code: int


@dataclass(frozen=True, slots=True)
class Poll:
    """GET this path of the same host, once, and tell `polled`."""

    path: str


@dataclass(frozen=True, slots=True)
class Tell:
    """An event for the user: the server's own, or one of ours, `client.*`."""

    event: Frame


Action = Connect | Send | Close | Poll | Tell
