"""The asyncio shell of one socket: carries out what the sessions on it want, one socket after the other."""

import asyncio
import inspect
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as dial
from websockets.typing import Subprotocol

from rolehost.client.actions import Close, Connect, Phase, Poll, Send
from rolehost.client.core import Core
from rolehost.client.fetching import fetch
from rolehost.client.frames import MAX_FRAME_BYTES, Frame
from rolehost.client.line import CLOSE_SECONDS, Line
from rolehost.client.switchboard import Switchboard
from rolehost_api.wire import SUBPROTOCOL

DIAL_SECONDS = 10.0
Bearer = str | Callable[[], str | Awaitable[str]]


class Listener(Protocol):
    """The shell of one session."""

    def told(self, event: Frame) -> None: ...

    def wake(self) -> None:
        """Something changed of which nothing is told."""


class Trunk:
    def __init__(
        self,
        base: str,
        role: str,
        *,
        bearer: Bearer,
        session_id: str,
        user: str | None,
        after_seq: int | None,
        packed: bool,
        ready: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self.base = base
        self._role, self._bearer, self._packed, self._ready = role, bearer, packed, ready
        self._shown_bearer = ""
        self._as_user = "" if user is None else f"&user={quote(user, safe='')}"
        """The session that is opened is theirs, not the key's own."""
        draw = random.SystemRandom().random
        self.home = Core(session_id, draw, after_seq=after_seq, user=user, renewable=callable(bearer))
        self._board = Switchboard(self.home, role, draw)
        self.listeners: dict[Core, Listener] = {}
        self._line: Line | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        """Connections in a row that never opened the session."""
        self.cause: Exception | None = None
        """What the newest of them failed with; None once one opened."""
        self._working = False

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time() * 1000

    def switch(self, role: str, session_id: str, after_seq: int | None) -> Core:
        """As Switchboard.switch. Whoever ended meanwhile is not listened for any more."""
        over = [core for core in self.listeners if core.phase is Phase.ENDED and core is not self.home]
        for core in over:
            del self.listeners[core]
        return self._board.switch(self.now(), role, session_id, after_seq=after_seq)

    async def ended(self) -> None:
        """Until nothing of it runs any more, for a bounded time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS + 1)

    def work(self) -> None:
        """Carry out what the cores want, then wait for what is due next."""
        if self._working:
            return
        self._working = True
        try:
            while actions := self._board.collect(self.now()):
                for core, action in actions:
                    self._act(core, action)
        finally:
            self._working = False
        self._arm()

    def _act(self, core: Core, action: object) -> None:
        listener = self.listeners.get(core)
        match action:
            case Connect():
                self._line = Line(self._dial, _LineEar(self))
                self._keep(self._line.task)
            case Send(frame):
                if self._line is not None:
                    encoded = msgspec.msgpack.encode(frame) if self._packed else msgspec.json.encode(frame).decode()
                    self._line.send(encoded)
            case Close():
                if core is self.home:
                    if self._line is not None:
                        self._line.close()
                    self._line = None
                if listener is not None:
                    listener.wake()  # it may be the end, of which nothing else is told
            case Poll(path):
                self._keep(asyncio.create_task(self._poll(core, path)))
            case _:
                self._told(core, action.event)  # type: ignore[attr-defined]

    def _told(self, core: Core, event: Frame) -> None:
        if event["type"] == "session.created" and core is self.home:
            self._failures, self.cause = 0, None
        listener = self.listeners.get(core)
        if listener is not None:
            listener.told(event)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._board.due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._board.tick(self.now())
        self.work()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self) -> ClientConnection:
        if self._ready is not None:
            await self._ready(self._failures)
        self._failures += 1
        self._shown_bearer = await self._fresh_bearer()
        base = self.base.replace("http", "ws", 1)
        return await dial(
            f"{base}/role/{quote(self._role, safe='@:.')}?session_id={quote(self.home.session_id, safe='')}"
            f"{self._as_user}{'&fmt=msgpack' if self._packed else ''}",
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

    async def _poll(self, core: Core, path: str) -> None:
        answer = await asyncio.to_thread(fetch, f"{self.base}{path}", self._shown_bearer)
        core.polled(self.now(), answer)
        self.work()


class _LineEar:
    """Hears one socket, for as long as it is the trunk's. Implements line.Ear."""

    def __init__(self, trunk: Trunk) -> None:
        self._trunk, self._board = trunk, trunk._board

    def opened(self) -> None:
        self._board.opened(self._trunk.now())
        self._trunk.work()

    def heard(self, text: str | bytes) -> None:
        self._board.heard(self._trunk.now(), text)
        self._trunk.work()

    def lost(self, code: int, reason: str, status: int, cause: Exception | None) -> None:
        self._trunk.cause = cause or self._trunk.cause
        if isinstance(cause, ssl.SSLCertVerificationError) and not self._trunk.home.greeted:
            self.broken(cause)  # it will not be another one at the next try
            return
        self._board.lost(self._trunk.now(), code, reason, status)
        self._trunk.work()

    def broken(self, error: Exception) -> None:
        self._trunk.cause = error
        gone = {"code": "broken", "message": f"cannot connect: {error}", "hint": "", "retryable": False}
        self._trunk.home.give_up(gone)
        self._trunk.work()
