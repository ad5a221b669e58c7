"""Events as server-sent events: their ids, their lines, and what a client that comes back has yet to hear. Pure."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from rolehost_api import wire
from rolehost_api.errors import BadRequest, Unavailable

BEAT = b": still here\n\n"
"""A comment: the client's library drops it, and a client that is gone is noticed."""
RETRY_MS = (200, 2_000)
"""Within so long, at random, a client comes again whose gateway leaves."""
_ID = re.compile(r"([0-9]{1,15})(?:\.([A-Za-z0-9_-]{1,64})\.([0-9]{1,15}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a client has heard a session: the id of the last event that it got."""

    seq: int
    """Of the last event of the log."""
    response_id: str = ""
    """The response that was open, where it had heard of one's text."""
    offset: int = 0
    """Code points of it that the client has."""

    def __str__(self) -> str:
        return f"{self.seq}.{self.response_id}.{self.offset}" if self.response_id else str(self.seq)


def heard(raw: str) -> Heard:
    """Out of `Last-Event-ID`. Raises BadRequest `invalid_last_event_id`.

    >>> heard("7"), str(heard("7.r1.118"))
    (Heard(seq=7, response_id='', offset=0), '7.r1.118')
    """
    found = _ID.fullmatch(raw.strip())
    if found is None:
        raise BadRequest(
            "the last event's id is none of ours", hint="Send it as it came: seq, or seq.response.offset",
            code="invalid_last_event_id",
        )  # fmt: skip
    return Heard(int(found[1]), found[2] or "", int(found[3] or 0))


def wants_stream(accept: str) -> bool:
    """The header `Accept` asks for an event stream by its name.

    >>> wants_stream("text/event-stream"), wants_stream("*/*"), wants_stream("application/json, Text/Event-Stream;q=1")
    (True, False, True)
    """
    return any(part.partition(";")[0].strip().lower() == "text/event-stream" for part in accept.split(","))


class Lines:
    """The full dialect (role.v1) as an event stream. An id is sent where it says something new.

    There is no `event:` field: the type is in the data, and a browser's `onmessage` hears everything.
    """

    def __init__(self, last: Heard | None, random: Callable[[], float]) -> None:
        self._at = last
        self._random = random

    def said(self, event: wire.ServerFrame) -> bytes:
        """One event as its lines."""
        head = b""
        at = self._after(event)
        if at != self._at:
            self._at, head = at, f"id: {at}\n".encode()
        if isinstance(event, wire.Migrate):
            head += f"retry: {retry_ms(self._random())}\n".encode()
        return head + b"data: " + wire.encode(event) + b"\n\n"  # JSON of ours has no line breaks

    def ended(self) -> bytes:
        return b""

    def _after(self, event: wire.ServerFrame) -> Heard | None:
        if isinstance(event, wire.ResponseAmended) and self._at is not None:  # of the one before it, while one is open
            return dataclasses.replace(self._at, seq=event.seq or self._at.seq)
        if event.seq is not None:
            return Heard(event.seq)
        seq = self._at.seq if self._at is not None else 0
        match event:
            case wire.SessionCreated() if self._at is None:
                return Heard(event.head)
            case wire.Resumed(gap=True):
                return Heard(event.from_seq - 1)
            case wire.Snapshot():
                return Heard(event.at_seq)
            case wire.TextDelta():
                return Heard(seq, event.response_id, event.offset + len(event.delta))
            case wire.ResponseReset():
                return Heard(seq, event.response_id)
            case wire.ResponseDone():
                return Heard(seq)
        return self._at


def retry_ms(random: float) -> int:
    """When a client comes again, out of a random number below 1.

    >>> retry_ms(0.0), retry_ms(0.5)
    (200, 1100)
    """
    least, most = RETRY_MS
    return least + int(random * (most - least))


class Rest:
    """What a client that left in the middle of a response has yet to hear of it: neither a word twice nor a gap.

    Who was away until the response was in the log gets the rest of its text before its end; who finds that nobody
    goes on with it is told that it failed, for then it is in no log. Of one that another gateway gives anew the client
    forgets what it has, so that it gets all of it.
    """

    def __init__(self, last: Heard | None) -> None:
        self._awaited = last.response_id if last is not None else ""
        self._offset = last.offset if last is not None else 0
        self._seen = False

    def heard(self, event: wire.ServerFrame) -> list[wire.ServerFrame]:
        """What to tell of an event."""
        if not self._awaited or not isinstance(
            event, wire.ResponseCreated | wire.ResponseReset | wire.TextDelta | wire.ResponseDone
        ):
            return [event]
        if event.response_id != self._awaited:
            return [event] if self._seen else [*self.lost(event), event]
        again, self._seen = self._seen, True
        if isinstance(event, wire.ResponseReset):
            self._offset = 0
            return [event]
        if isinstance(event, wire.ResponseCreated):
            return []
        if isinstance(event, wire.TextDelta):
            return self._trimmed(event)
        forget: list[wire.ServerFrame] = []
        if event.given_anew and not again and self._offset:  # it was over before the client was back
            self._offset = 0
            forget = [wire.ResponseReset(session_id=event.session_id, seq=None, ts=event.ts, response_id=self._awaited)]
        rest = event.message[self._offset :]
        self._awaited = ""
        if not rest:
            return [*forget, event]
        delta = wire.TextDelta(
            session_id=event.session_id, seq=None, ts=event.ts, response_id=event.response_id,
            offset=self._offset, delta=rest,
        )  # fmt: skip
        return [*forget, delta, event]

    def _trimmed(self, event: wire.TextDelta) -> list[wire.ServerFrame]:
        known = self._offset - event.offset
        self._offset = max(self._offset, event.offset + len(event.delta))
        if known <= 0:
            return [event]
        return [replace(event, offset=event.offset + known, delta=event.delta[known:])] if event.delta[known:] else []

    def lost(self, near: wire.ServerFrame) -> list[wire.ServerFrame]:
        """The end of the awaited response, where everything that is known of the session was told without it.

        `near` is told at the same place: its session and time are taken.
        """
        awaited, self._awaited = self._awaited, ""
        if not awaited or self._seen:
            return []
        error = Unavailable(
            "this answer was not kept",
            hint="Send the message again, with the same client_msg_id",
            code="response_lost",
        )
        return [wire.failed(error, session_id=near.session_id, ts=near.ts, response_id=awaited)]
