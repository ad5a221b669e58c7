"""The asyncio shell: carries out what the core wants, and gives users something to await."""

import asyncio
import copy
import inspect
import random
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.typing import Subprotocol

from rolehost.client.actions import Close, Connect, Phase, Poll, Send
from rolehost.client.core import Core
from rolehost.client.errors import Unreachable, raised
from rolehost.client.fetching import fetch
from rolehost.client.frames import MAX_FRAME_BYTES, Frame
from rolehost.client.line import CLOSE_SECONDS, Line
from rolehost.client.pending import Pending
from rolehost_api import identity
from rolehost_api.wire import SUBPROTOCOL

DIAL_SECONDS = 10.0
Bearer = str | Callable[[], str | Awaitable[str]]


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
    return Session(
        base_of(url),
        role,
        bearer=token if token is not None else key or "",
        session_id=secrets.token_hex(12) if session_id is None else identity.session_id(session_id),
        user=user,
        after_seq=after_seq,
        patience=patience,
        packed=packed,
        ready=ready,
    )


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
    """One session with one Role, for as long as the block runs. Made by `connect`."""

    def __init__(
        self,
        base: str,
        role: str,
        *,
        bearer: Bearer,
        session_id: str,
        user: str | None,
        after_seq: int | None,
        patience: float,
        packed: bool,
        ready: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self.id = session_id
        self._base, self._role, self._bearer, self._patience, self._ready = base, role, bearer, patience, ready
        self._shown_bearer = ""
        self._as_user = "" if user is None else f"&user={quote(user, safe='')}"
        """The session that is opened is theirs, not the key's own."""
        self._packed = packed
        draw = random.SystemRandom().random
        self._core = Core(session_id, draw, after_seq=after_seq, user=user, renewable=callable(bearer))
        self._pending: dict[str, Pending] = {}
        self._line: Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        """Set when something was told; then a new one is made."""
        self._failures = 0
        """Connections in a row that never opened the session."""
        self.cause: Exception | None = None
        """What the newest of them failed with; None once one opened."""
        self._working = False

    # ── for users ───────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        self._core.start(self._now())
        self._work()
        try:
            async with asyncio.timeout(self._patience):
                while not self._core.greeted:
                    if self._core.phase is Phase.ENDED:
                        raise raised(self._core.error or {}) from self.cause
                    await self._news.wait()
        except TimeoutError:
            await self.close()
            why = "" if self.cause is None else f": {getattr(self.cause, 'strerror', None) or self.cause}"
            raise Unreachable(f"{self._base} does not answer{why}", hint="Check the address") from self.cause
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
    ) -> Pending:
        """Say something. `await` the result for the whole Reply, or iterate it for its pieces.

        It is sent at once, in the order of the calls, and again after every loss until it is answered or `patience`
        (seconds) is over. `busy_policy` says what becomes of it while another answer is given: it waits (queue), is
        refused (reject), ends that one (interrupt; `heard`: characters of it that the user took in), or joins it
        (steer). The same `client_msg_id` again, in another process even, gets the same answer. Awaiting
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
        }
        before = self._pending.get(message_id)
        self._pending[message_id] = pending
        try:
            self._core.say(self._now(), message, message_id, patience_ms=waits, **more)
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
        self._core.cancel(self._now(), heard=_heard(heard, audio_ms))
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
        return self._core.pulse.rtt_ms

    @property
    def about(self) -> Event:
        """The newest `session.created`: role, display_name, greeting, durability, …"""
        return Event(self._core.greeted)

    async def close(self) -> None:
        """What still waits for an answer raises Closed; a turn that runs goes on at the server."""
        self._core.close()
        self._work()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS + 1)

    # ── the core's hands ────────────────────────────────────────────────────────────

    def _work(self) -> None:
        """Carry out what the core wants, then wait for what is due next."""
        if self._working:
            return
        self._working = True
        try:
            while self._core.out:
                actions, self._core.out = self._core.out, []
                for action in actions:
                    match action:
                        case Connect():
                            self._line = Line(self._dial, _LineEar(self))
                            self._keep(self._line.task)
                        case Send(frame):
                            if self._line is not None:
                                packed = self._packed
                                self._line.send(
                                    msgspec.msgpack.encode(frame) if packed else msgspec.json.encode(frame).decode()
                                )
                        case Close():
                            if self._line is not None:
                                self._line.close()
                            self._line = None
                            self._wake()  # it may be the end, of which nothing else is told
                        case Poll(path):
                            self._keep(asyncio.create_task(self._poll(path)))
                        case _:
                            self._told(action.event)
        finally:
            self._working = False
        self._arm()

    def _told(self, event: Frame) -> None:
        if event["type"] == "session.created":
            self._failures, self.cause = 0, None
        message_id = event.get("client_msg_id")
        pending = self._pending.get(message_id) if isinstance(message_id, str) else None
        if pending is not None:
            pending.feed(event)
            if pending.over:
                del self._pending[pending.client_msg_id]
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._core.due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._core.tick(self._now())
        self._work()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time() * 1000

    async def _dial(self) -> ClientConnection:
        if self._ready is not None:
            await self._ready(self._failures)
        self._failures += 1
        self._shown_bearer = await self._fresh_bearer()
        base = self._base.replace("http", "ws", 1)
        return await dial(
            f"{base}/role/{quote(self._role, safe='@:.')}?session_id={quote(self.id, safe='')}{self._as_user}"
            f"{'&fmt=msgpack' if self._packed else ''}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._shown_bearer}"} if self._shown_bearer else {},
            compression=None,
            open_timeout=DIAL_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
            max_size=MAX_FRAME_BYTES,
            proxy=None,
        )

    async def _fresh_bearer(self) -> str:
        if isinstance(self._bearer, str):
            return self._bearer
        try:
            bearer = self._bearer()
            return await bearer if inspect.isawaitable(bearer) else bearer
        except Exception as error:  # whoever makes tokens may be away for a while, as a gateway may
            raise OSError(f"no token could be had: {error}") from error

    async def _poll(self, path: str) -> None:
        answer = await asyncio.to_thread(fetch, f"{self._base}{path}", self._shown_bearer)
        self._core.polled(self._now(), answer)
        self._work()

    def _cancel_one(self, message_id: str, heard: int | None, audio_ms: int | None) -> None:
        if message_id in self._pending:
            self._core.cancel(self._now(), message_id, _heard(heard, audio_ms))
            self._work()

    async def _read(self) -> AsyncIterator[Event]:
        try:
            while True:
                news = self._news
                event = self._core.take(self._now())
                self._work()
                if event is not None:
                    yield Event(event)
                elif self._core.phase is Phase.ENDED:
                    return
                else:
                    await news.wait()
        finally:
            self._core.unlisten(self._now())
            self._work()


class _LineEar:
    """Hears one socket, for as long as it is the session's. Implements line.Ear."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def opened(self) -> None:
        self._do(lambda core, now: core.opened(now))

    def heard(self, text: str | bytes) -> None:
        self._do(lambda core, now: core.heard(now, text))

    def lost(self, code: int, reason: str, status: int, cause: Exception | None) -> None:
        self._session.cause = cause or self._session.cause
        if isinstance(cause, ssl.SSLCertVerificationError) and not self._session._core.greeted:
            self.broken(cause)  # it will not be another one at the next try
            return
        self._do(lambda core, now: core.lost(now, code, reason, status))

    def broken(self, error: Exception) -> None:
        self._session.cause = error
        gone = {"code": "broken", "message": f"cannot connect: {error}", "hint": "", "retryable": False}
        self._do(lambda core, now: core.give_up(gone))

    def _do(self, what: Callable[[Core, float], None]) -> None:
        what(self._session._core, self._session._now())
        self._session._work()


def _heard(chars: int | None, audio_ms: int | None) -> Frame | None:
    if chars is None:
        return None
    return {"chars": chars} if audio_ms is None else {"chars": chars, "audio_ms": audio_ms}
