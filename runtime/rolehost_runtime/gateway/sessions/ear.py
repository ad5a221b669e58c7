"""What one client heard of its session, so that the session may be answered by another gateway in between.

Whoever answers greets every newcomer and numbers every durable event. Out of that follows
what a client missed while its session moved: it hears neither a second greeting nor an
event twice, and a response that nobody will go on with is ended. One that whoever answers
now gives anew begins with `response.reset`.
"""

import asyncio
from collections.abc import Callable

from rolehost_api.errors import RolehostError
from rolehost_api.wire import (
    ResponseCreated,
    ResponseDone,
    ResponseReset,
    Resumed,
    ServerFrame,
    SessionCreated,
    Snapshot,
    TextDelta,
    error_of,
    failed,
)
from rolehost_runtime.gateway.ports import Channel


class Ear:
    """Implements ports.Channel between a session and the client's own channel."""

    def __init__(self, channel: Channel, now_ms: Callable[[], int]) -> None:
        self._channel, self._now_ms = channel, now_ms
        self.last = 0
        """The last durable event that the client heard, or had when it came."""
        self.head = 0
        """The last one there was when the session greeted it."""
        self.open: ResponseCreated | None = None
        """The response that it has heard the beginning of, and not the end."""
        self._left: dict[str, ResponseCreated] = {}
        """Those whose beginning came from a place that is no more, and of which nothing was heard since."""
        self.answered: set[str] = set()
        """Its messages whose answers came while it caught up."""
        self._waiting: dict[str, asyncio.Future[RolehostError | None]] = {}
        """By response: whoever waits for its end."""
        self._greeted = False
        self._catching_up = False

    def send(self, event: ServerFrame) -> None:
        if isinstance(event, TextDelta):  # most of what is sent, and no news of the log
            self._channel.send(event)
            return
        match event:
            case SessionCreated():
                self.head = event.head
                if self._greeted:
                    return
                self._greeted, self.last = True, event.head
            case ResponseCreated():
                self.open = event
                self._left.pop(event.response_id, None)
            case Snapshot():
                self.last = max(self.last, event.at_seq)
            case Resumed() if event.gap:
                self.last = event.from_seq - 1
            case Resumed() if self._catching_up:
                return
            case ResponseDone():
                if event.given_anew and event.response_id in self._left:  # it was over before this client was back
                    self._channel.send(
                        ResponseReset(session_id=event.session_id, seq=None, ts=event.ts, response_id=event.response_id)
                    )
                self._ended(event)
        if event.seq is not None:
            if self._catching_up and event.seq <= self.last:
                return
            self.last = max(self.last, event.seq)
        self._channel.send(event)

    async def room(self) -> bool:
        return await self._channel.room()

    def _ended(self, done: ResponseDone) -> None:
        self._left.pop(done.response_id, None)
        if self.open is not None and self.open.response_id == done.response_id:
            self.open = None
        waiting = self._waiting.pop(done.response_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None if done.error is None else error_of(done.error))
        if self._catching_up and done.client_msg_id is not None:
            self.answered.add(done.client_msg_id)

    # ── after a move ────────────────────────────────────────────────────────────────

    def lost(self) -> None:
        """The place that it heard from is no more."""
        if self.open is not None:
            self._left[self.open.response_id], self.open = self.open, None

    @property
    def missed(self) -> bool:
        """Something became durable between two places, or a response was left in its middle."""
        return self.head > self.last or bool(self._left)

    def hangs(self, response_id: str) -> bool:
        """This response was left in its middle, and nobody has gone on with it so far."""
        return response_id in self._left

    def goes_on(self, response_id: str) -> bool:
        """Whoever answers now gives this response."""
        return self.open is not None and self.open.response_id == response_id

    async def end_of(self, response_id: str) -> None:
        """Until the client has heard how this response ended. Raises what it failed with."""
        waiting = self._waiting.get(response_id)
        if waiting is None:
            waiting = self._waiting[response_id] = asyncio.get_running_loop().create_future()
        error = await asyncio.shield(waiting)
        if error is not None:
            raise error

    def catching_up(self, now: bool) -> None:
        """What comes is what was missed: told as replays, without a word about the resuming itself."""
        self._catching_up = now
        if now:
            self.answered.clear()

    def give_up(self, error: RolehostError) -> None:
        """End the responses that were left and that nobody goes on with: they are not in the log, and the client must
        hear their end."""
        for opened in tuple(self._left.values()):
            self.send(
                failed(
                    error,
                    session_id=opened.session_id,
                    ts=self._now_ms(),
                    response_id=opened.response_id,
                    client_msg_id=opened.client_msg_id,
                )
            )
