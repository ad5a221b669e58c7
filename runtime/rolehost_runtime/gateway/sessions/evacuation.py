"""Moves the sessions of revisions that are left: who speaks moves by itself, everybody else is gone through here.

    a Role's row says that a revision is left ──▶ its sessions here, PART at a time, a pause between two
    a drain ends ──▶ the same once more

What a part costs is a frame for each channel and a pin; no pod, model or store is asked, unless the state may have to
begin anew, which only the log says. A revision's 20,000 sockets are told within EVACUATED_SECONDS.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Protocol

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.departing import Fate, next_change_ms
from rolehost_runtime.gateway.ports import Links
from rolehost_runtime.gateway.tables import RoleEntry, Tables, Tenant

PART = 64
PAUSE_SECONDS = 0.02
EVACUATED_SECONDS = 10.0
LONGEST_WAIT_SECONDS = 3_600.0
"""Between two looks at the clock: wall time may be set."""


class Moving(Protocol):
    """A session, as it is moved."""

    key: str
    tenant: Tenant
    role_name: str

    @property
    def pinned(self) -> str: ...

    async def evacuate(self) -> None:
        """Go where it is to go, at once or when its turn is over. Raises RolehostError where its log cannot be read."""


class Evacuation:
    def __init__(
        self,
        tables: Tables,
        links: Links,
        sessions: Callable[[], Iterable[Moving]],
        now_ms: Callable[[], int],
        go: Callable[[Coroutine[Any, Any, None]], None],
        *,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._tables, self._links, self._sessions = tables, links, sessions
        self._now_ms, self._go, self._pause = now_ms, go, pause
        self._going: dict[tuple[str, ...], asyncio.Event] = {}
        """By Role: rung where its row changed while its sessions are gone through."""
        tables.roles.listen(self._role_changed)

    def _role_changed(self, key: tuple[str, ...]) -> None:
        role = self._tables.roles.get(*key)
        if (again := self._going.get(key)) is not None:
            again.set()
        elif role is not None and role.leaving:
            self._going[key] = asyncio.Event()
            self._go(self._evacuated(key))

    async def _evacuated(self, key: tuple[str, ...]) -> None:
        again = self._going[key]
        try:
            while (role := self._tables.roles.get(*key)) is not None and role.leaving:
                again.clear()
                ends = next_change_ms(role.leaving, self._now_ms())  # one that ends while they are gone through counts
                await self._pass_through(role)
                await self._until_more(ends, again)
        finally:
            del self._going[key]

    async def _pass_through(self, role: RoleEntry) -> None:
        left = [live for live in self._sessions() if any(_is_on(live, role, one.revision) for one in role.leaving)]
        for start in range(0, len(left), PART):
            for live in left[start : start + PART]:
                with suppress(RolehostError):  # it moves when it next speaks
                    await live.evacuate()
            await asyncio.sleep(self._pause)
        self._forget_silent(role)

    def _forget_silent(self, role: RoleEntry) -> None:
        """Whoever is not here is counted there no more: their next word begins elsewhere."""
        for leaves in role.leaving:
            if leaves.fate(self._now_ms()) is not Fate.STAYS:
                here = {live.key for live in self._sessions() if _is_on(live, role, leaves.revision)}
                self._links.leave(role, leaves.revision, here)

    async def _until_more(self, ends: int | None, again: asyncio.Event) -> None:
        """Until the row has changed, or the drain that ends next has ended."""
        wait = LONGEST_WAIT_SECONDS if ends is None else min((ends - self._now_ms()) / 1000, LONGEST_WAIT_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await again.wait()


def _is_on(live: Moving, role: RoleEntry, revision: str) -> bool:
    return live.pinned == revision and (live.tenant, live.role_name) == (role.tenant, role.name)
