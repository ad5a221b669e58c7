"""One session, for its user: something to await, to iterate, and to look at."""

import asyncio
import copy
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from rolehost.client.actions import Phase, Tell
from rolehost.client.core import UNREACHABLE, Core
from rolehost.client.errors import Unreachable, raised
from rolehost.client.frames import Frame
from rolehost.client.pending import Pending
from rolehost.client.switchboard import Guest
from rolehost.client.trunk import Bearer, Trunk
from rolehost_api import identity


class Event(dict[str, Any]):
    """Something that happened: a frame of the server's as it came, or one of the library's, `client.*`."""

    @property
    def type(self) -> str:
        return str(self["type"])


class SessionState(NamedTuple):
    version: int
    """Of the state; only grows."""
    values: dict[str, Any] | None
    """None where it was not followed from its start and nobody told it whole."""


def connect(
    url: str,
    role: str,
    *,
    key: str | None = None,
    token: Bearer | None = None,
    session_id: str | None = None,
    user: str | None = None,
    after_seq: int | None = None,
    patience: float = 60.0,
    packed: bool = False,
    ready: Callable[[int], Awaitable[None]] | None = None,
) -> "Session":
    """A session with a Role: `async with connect("http://localhost:8080", "cat") as session: …`

    `url` is the gateway's (http, https, ws or wss). `key` is a tenant's key, `token` an end user's; a function is
    asked for a fresh one at every connection. `session_id` names the session to go on with, else a fresh one is
    made. `user` may be set by a key with scope act-as-user only. `after_seq=0` tells `events()` the whole session,
    None what happens from now on. `patience`: seconds for the first connection, and for each message unless it says
    otherwise. `packed` speaks msgpack in place of JSON. `ready` is awaited before each dialling, with the number of
    tries that failed in a row.

    Raises ValueError for a `url` that is none, or for key and token together; BadRequest for a session_id that
    cannot be one. Entering raises Unreachable, or Refused.
    """
    if key is not None and token is not None:
        raise ValueError("give a key or a token, not both")
    trunk = Trunk(
        base_of(url),
        role,
        bearer=token if token is not None else key or "",
        session_id=secrets.token_hex(12) if session_id is None else identity.session_id(session_id),
        user=user,
        after_seq=after_seq,
        packed=packed,
        ready=ready,
    )
    return Session(trunk, trunk.home, patience)


def base_of(url: str) -> str:
    """The gateway's address for HTTP, without a slash at its end.

    >>> base_of("ws://localhost:8080/"), base_of("https://roles.example.com/base")
    ('http://localhost:8080', 'https://roles.example.com/base')
    """
    base = re.sub(r"^ws(s?)://", r"http\1://", url).rstrip("/")
    if not re.match(r"https?://[^/\s?#@]+(/[^\s?#]*)?$", base):
        raise ValueError("a gateway's url is like https://roles.example.com, without a query and without a key")
    return base


class Session:
    """One session with one Role, for as long as the block runs. Made by `connect` and by `switch`."""

    def __init__(self, trunk: Trunk, core: Core, patience: float) -> None:
        self.id = core.session_id
        self._trunk, self._core, self._patience = trunk, core, patience
        trunk.listeners[core] = self
        self._pending: dict[str, Pending] = {}
        self._news = asyncio.Event()
        """Set when something was told; then a new one is made."""

    # ── for users ───────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        if self._core is not self._trunk.home:
            return self  # `switch` opened it
        self._core.start(self._trunk.now())
        self._work()
        try:
            async with asyncio.timeout(self._patience):
                while not self._core.greeted:
                    if self._core.phase is Phase.ENDED:
                        raise raised(self._core.error or {}) from self._trunk.cause
                    await self._news.wait()
        except TimeoutError:
            await self.close()
            cause = self._trunk.cause
            why = "" if cause is None else f": {getattr(cause, 'strerror', None) or cause}"
            raise Unreachable(f"{self._trunk.base} does not answer{why}", hint="Check the address") from cause
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def switch(
        self, role: str, *, session_id: str | None = None, after_seq: int | None = None, patience: float | None = None
    ) -> "Session":
        """The session with another Role, over this one's socket: `tutor = await session.switch("tutor")`.

        It is a session of its own, with its own events, state and messages, under the same `session_id` if you give
        none. Both may be used from here on, in any order and at once; what is said goes to whose session it is said
        in. After a loss both go on. Switched to again, by whatever of its names, it is the same object.

        `after_seq=0` tells its `events()` the whole session, from its beginning whenever they are asked for: read them
        then. Raises Refused (`role_not_found` also for a Role that the token is not for), or what it could not be opened
        for until `patience` was over; this session goes on as it was. Closing the session that `connect` made closes
        all of them, closing another one only that one.
        """
        word = self.id if session_id is None else identity.session_id(session_id)
        core = self._trunk.switch(role, word, after_seq)
        known = self._trunk.listeners.get(core)
        if known is None and after_seq is not None:
            core.listen()
        other = known if isinstance(known, Session) else Session(self._trunk, core, self._patience)
        self._work()
        try:
            return await other._switched(self._patience if patience is None else patience)
        finally:
            if known is None and not core.greeted:
                await other.close()

    async def _switched(self, patience: float) -> "Session":
        """Until it is open, or is known to be another one."""
        try:
            async with asyncio.timeout(patience):
                while not self._core.greeted:
                    same = self._core.same_as if isinstance(self._core, Guest) else None
                    if same is not None:
                        known = self._trunk.listeners[same]
                        assert isinstance(known, Session)
                        return await known._switched(patience)
                    if self._core.phase is Phase.ENDED:
                        raise raised(self._core.error or {})
                    await self._news.wait()
        except TimeoutError:
            raise raised(self._core.trouble or UNREACHABLE) from None
        return self

    def say(
        self,
        message: str,
        *,
        patience: float | None = None,
        client_msg_id: str | None = None,
        busy_policy: Literal["queue", "reject", "interrupt", "steer"] | None = None,
        heard: int | None = None,
        deadline_ms: int | None = None,
        revision: str | None = None,
        greeting: int | None = None,
    ) -> Pending:
        """Say something. `await` the result for the whole Reply, or iterate it for its pieces.

        It is sent at once, in the order of the calls, and again after every loss until it is answered or `patience`
        (seconds) is over. `busy_policy` says what becomes of it while another answer is given: it waits (queue), is
        refused (reject), ends that one (interrupt; `heard`: characters of it that the user took in), or joins it
        (steer). `greeting`, with a session's first message: which of the greetings was shown. The same `client_msg_id` again, in another process even, gets the same answer. Awaiting
        raises Refused, TurnFailed, NotAnswered or Closed; `say` itself BadRequest for what no server takes, and
        Overloaded where 64 messages wait already.
        """
        message_id = client_msg_id or secrets.token_hex(8)
        pending = Pending(message_id, self._cancel_one)
        waits = round(1000 * (self._patience if patience is None else patience))
        more = {
            "busy_policy": busy_policy,
            "heard": _heard(heard, None),
            "deadline_ms": deadline_ms,
            "revision": revision,
            "greeting": greeting,
        }
        before = self._pending.get(message_id)
        self._pending[message_id] = pending
        try:
            self._core.say(self._trunk.now(), message, message_id, patience_ms=waits, **more)
        except BaseException:
            self._pending.pop(message_id)
            if before is not None:
                self._pending[message_id] = before
            raise
        self._work()
        return pending

    def cancel(self, heard: int | None = None, audio_ms: int | None = None) -> None:
        """End the answer that is on its way. `heard`: characters that the user took in, and `audio_ms` of it where it
        is spoken; None: all that was sent."""
        self._core.cancel(self._trunk.now(), heard=_heard(heard, audio_ms))
        self._work()

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens from this call on, whoever caused it. For one reader; read on, or the connection
        is let go of at 1,024 unread events and taken up again when half of them are read."""
        self._core.listen()
        return self._read()

    @property
    def state(self) -> SessionState:
        """The Role's state of this session, as far as it is known here."""
        return SessionState(self._core.known.version, copy.deepcopy(self._core.known.values))

    @property
    def user_state(self) -> SessionState:
        """The Role's state of this person, which their other sessions share and change, as far as it is known here."""
        return SessionState(self._core.shared.version, copy.deepcopy(self._core.shared.values))

    @property
    def connected(self) -> bool:
        return self._core.phase in (Phase.READY, Phase.RESUMING)

    @property
    def rtt_ms(self) -> float | None:
        """Running mean of what a ping takes; None before the first."""
        return self._trunk.home.pulse.rtt_ms

    @property
    def cause(self) -> Exception | None:
        """What the newest connection failed with; None once one opened."""
        return self._trunk.cause

    @property
    def about(self) -> Event:
        """The newest `session.created`: role, display_name, greeting, durability, …"""
        return Event(self._core.greeted)

    async def close(self) -> None:
        """What still waits for an answer raises Closed; a turn that runs goes on at the server."""
        self._core.close()
        self._work()
        if self._core is self._trunk.home:
            await self._trunk.ended()
        else:
            self._trunk.listeners.pop(self._core, None)

    # ── from the trunk ──────────────────────────────────────────────────────────────

    def told(self, event: Frame) -> None:
        """Implements trunk.Listener."""
        message_id = event.get("client_msg_id")
        pending = self._pending.get(message_id) if isinstance(message_id, str) else None
        if pending is not None:
            pending.feed(event)
            if pending.over:
                del self._pending[pending.client_msg_id]
        self.wake()

    def _work(self) -> None:
        self._trunk.work()
        if self._core.phase is Phase.ENDED:  # and off the trunk, which asks it no more
            actions, self._core.out = self._core.out, []
            for action in actions:
                if isinstance(action, Tell):
                    self.told(action.event)

    def wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _cancel_one(self, message_id: str, heard: int | None, audio_ms: int | None) -> None:
        if message_id in self._pending:
            self._core.cancel(self._trunk.now(), message_id, _heard(heard, audio_ms))
            self._work()

    async def _read(self) -> AsyncIterator[Event]:
        try:
            while True:
                news = self._news
                event = self._core.take(self._trunk.now())
                self._work()
                if event is not None:
                    yield Event(event)
                elif self._core.phase is Phase.ENDED:
                    return
                else:
                    await news.wait()
        finally:
            self._core.unlisten(self._trunk.now())
            self._work()


def _heard(chars: int | None, audio_ms: int | None) -> Frame | None:
    if chars is None:
        return None
    return {"chars": chars} if audio_ms is None else {"chars": chars, "audio_ms": audio_ms}
