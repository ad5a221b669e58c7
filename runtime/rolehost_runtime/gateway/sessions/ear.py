"""What one client heard of its session, so that the session may be answered by another gateway in between.

Whoever answers greets every newcomer and numbers every durable event. Out of that follows
what a client missed while its session moved: it hears neither a second greeting nor an
event twice, and a response that nobody will go on with is ended.
"""

from collections.abc import Callable

from rolehost_api.errors import RolehostError
from rolehost_api.wire import ResponseCreated, ResponseDone, Resumed, ServerFrame, SessionCreated, error_body
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
        self.answered: set[str] = set()
        """Its messages whose answers came while it caught up."""
        self._greeted = False
        self._catching_up = False

    def send(self, event: ServerFrame) -> None:
        match event:
            case SessionCreated():
                self.head = event.head
                if self._greeted:
                    return
                self._greeted, self.last = True, event.head
            case ResponseCreated():
                self.open = event
            case Resumed() if event.gap:
                self.last = event.from_seq - 1
            case Resumed() if self._catching_up:
                return
            case ResponseDone():
                self._ended(event)
        if event.seq is not None:
            if self._catching_up and event.seq <= self.last:
                return
            self.last = max(self.last, event.seq)
        self._channel.send(event)

    async def room(self) -> bool:
        return await self._channel.room()

    def _ended(self, done: ResponseDone) -> None:
        if self.open is not None and self.open.response_id == done.response_id:
            self.open = None
        if self._catching_up and done.client_msg_id is not None:
            self.answered.add(done.client_msg_id)

    # ── after a move ────────────────────────────────────────────────────────────────

    @property
    def missed(self) -> bool:
        """Something became durable between two places."""
        return self.head > self.last

    def catching_up(self, now: bool) -> None:
        """What comes is what was missed: told as replays, without a word about the resuming itself."""
        self._catching_up = now
        if now:
            self.answered.clear()

    def give_up(self, error: RolehostError) -> None:
        """Nobody goes on with the response that was open; it is not in the log, so the client must hear its end."""
        opened, self.open = self.open, None
        if opened is not None:
            self._channel.send(
                ResponseDone(
                    session_id=opened.session_id,
                    seq=None,
                    ts=self._now_ms(),
                    response_id=opened.response_id,
                    status="failed",
                    message="",
                    client_msg_id=opened.client_msg_id,
                    error=error_body(error),
                )
            )
