"""A session that nobody keeps: its client tells the past itself, and its turns are in no log."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from rolehost_api.wire import Said
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.ports import Channel, Head, Principal
from rolehost_runtime.gateway.sessions.live import LiveSession, Place
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RoleEntry

DURABILITY = "none"
"""What session.created says of such a session."""


class NoLog:
    """Implements ports.SessionStore: takes everything and keeps nothing. A key is opened once."""

    async def open(self, key: str, yield_to: Collection[str] = ()) -> tuple[Head, list[TurnRecord]]:
        return Head(secrets.token_hex(16), epoch=1, turn=0, seq=0, version=0, revision=""), []

    async def head(self, key: str) -> Head | None:
        return None

    async def read(self, key: str) -> list[TurnRecord]:
        return []

    async def page(self, key: str, after_turn: int, count: int) -> list[TurnRecord]:
        return []

    async def commit(self, key: str, record: TurnRecord) -> None:
        """Nothing is kept."""


class PassingSeat:
    """Its one place. Implements ports.Seat."""

    def __init__(
        self, live: LiveSession, channel: Channel, run: Callable[[LiveSession, Accepted], Awaitable[None]]
    ) -> None:
        self._live, self._channel, self._run = live, channel, run

    async def say(self, said: Said) -> None:
        await self._run(self._live, Accepted(said, self._channel, asyncio.get_running_loop().time()))

    async def resume(self, after_seq: int) -> None:
        await self._live.resume(self._channel, after_seq)

    def leave(self) -> None:
        self._live.leave(self._channel)


@dataclass(frozen=True, slots=True)
class Passing:
    """Implements handle.Seating for one handle: always here, whatever the other gateways do."""

    world: World
    """With NoLog for its store."""
    principal: Principal
    role: RoleEntry
    session_id: str
    key: str
    told: Told
    wanted: str
    run: Callable[[LiveSession, Accepted], Awaitable[None]]
    errand: Callable[[Coroutine[Any, Any, None]], None]

    async def place(self, channel: Channel, moved: Callable[[], None]) -> PassingSeat:
        self.world.room.enter(self.role.tenant.uid, self.key)
        live = LiveSession(self.world, self.principal, self.role, self.session_id, self.key, told=self.told)
        live.wanted = self.wanted
        await live.join(Place(channel, moved, guest=False), ())
        return PassingSeat(live, channel, self.run)

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        self.errand(work)
