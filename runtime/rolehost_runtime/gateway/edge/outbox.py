"""What waits for one client that reads slower than things happen: joined, bounded, and then given up."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from rolehost_api import wire
from rolehost_runtime.gateway.edge.hub import SERVICE_RESTART

MAX_HELD_BYTES = 3 << 18
"""With what a socket holds besides (a quarter of a MiB), at most 1 MiB waits for one client, and one event."""
ROOM_SECONDS = 30.0
"""For a client to make room while it is told of its past: at the bounds of a socket that is 6 KiB/s."""
TRY_AGAIN_LATER = 1013


_CLOSES = {wire.FORGOTTEN: wire.GONE, wire.WITHDRAWN: SERVICE_RESTART}


def last_word(event: wire.ServerFrame) -> tuple[int, str] | None:
    """Close code and reason where nothing comes after this event: everything of its session was deleted, or the
    revision that answered it was taken away. None: it is not the last."""
    code = event.error.code if isinstance(event, wire.Error) else ""
    return (_CLOSES[code], code) if code in _CLOSES else None


class Carrier(Protocol):
    """What carries events to a client. The seam at which a faster codec may take its place."""

    paused: bool
    """Its buffer is full for now; `Outbox.on_writable` tells when it is not."""

    def send(self, event: wire.ServerFrame) -> None: ...
    def close(self, code: int, reason: str = "") -> None: ...


class Outbox:
    """Events for one client, in order. Putting never waits."""

    __slots__ = ("_behind", "_carrier", "_gone", "_held", "_held_bytes", "_roomy")

    def __init__(self, carrier: Carrier, behind: Callable[[], bool] | None = None) -> None:
        """`behind` is called where too much waits, and all of it was dropped: it sees to it that the client is told
        what it came to, or says False, and the client is given up."""
        self._carrier, self._behind = carrier, behind
        self._held: deque[wire.ServerFrame | _Joined] | None = None
        """None: nothing is held back, as for most clients at nearly all times."""
        self._held_bytes = 0
        self._roomy: asyncio.Event | None = None
        """Set when there is room again; only where somebody waits for it."""
        self._gone = False

    def __len__(self) -> int:
        """Events that wait; neighbouring deltas of a response count as one."""
        return len(self._held or ())

    def put(self, event: wire.ServerFrame) -> None:
        if self._gone:
            return
        if self._carrier.paused or self._held:
            self._hold(event)
        else:
            self._send(event)

    async def room(self) -> bool:
        """Wait until nothing is held back, at most ROOM_SECONDS; a client that does not read is let go of then."""
        if not (self._carrier.paused or self._held):
            return not self._gone
        try:
            async with asyncio.timeout(ROOM_SECONDS):
                while (self._carrier.paused or self._held) and not self._gone:
                    self._roomy = self._roomy or asyncio.Event()
                    await self._roomy.wait()
        except TimeoutError:
            self._too_slow()
            return False
        return not self._gone

    def on_writable(self) -> None:
        while self._held and not self._carrier.paused:
            self._send(_whole(self._held.popleft()))
        if not self._held:
            self._drop_held()
            self._make_room()

    def on_gone(self) -> None:
        self._gone = True
        self._drop_held()
        self._make_room()

    def _send(self, event: wire.ServerFrame) -> None:
        self._carrier.send(event)
        if (last := last_word(event)) is not None:
            self._carrier.close(*last)

    def _hold(self, event: wire.ServerFrame) -> None:
        """Keep events for a client that reads slowly; neighbouring deltas become one."""
        held = self._held = deque() if self._held is None else self._held
        last = held[-1] if held else None
        if isinstance(event, wire.TextDelta):
            self._held_bytes += 4 * len(event.delta)
            if isinstance(last, _Joined) and last.continues(event):
                last.deltas.append(event.delta)
            else:
                held.append(_Joined(event, [event.delta]))
        else:
            self._held_bytes += len(wire.encode(event))
            held.append(event)
        if self._held_bytes > MAX_HELD_BYTES:
            self._drop_held()
            if self._behind is None or not self._behind():
                self._too_slow()

    def _too_slow(self) -> None:
        self._drop_held()
        self._carrier.close(TRY_AGAIN_LATER, "this client reads too slowly")

    def _drop_held(self) -> None:
        self._held, self._held_bytes = None, 0

    def _make_room(self) -> None:
        if self._roomy is not None:
            self._roomy.set()
            self._roomy = None


@dataclass(slots=True)
class _Joined:
    """Deltas of one response that wait together."""

    first: wire.TextDelta
    deltas: list[str]

    def continues(self, event: wire.TextDelta) -> bool:
        return event.response_id == self.first.response_id and event.session_id == self.first.session_id


def _whole(held: "wire.ServerFrame | _Joined") -> wire.ServerFrame:
    return replace(held.first, delta="".join(held.deltas)) if isinstance(held, _Joined) else held
