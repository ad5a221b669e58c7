"""A session's row in the register: there before its first turn is durable, and made anew where it was lost."""

import asyncio
from collections.abc import Callable

from rolehost_runtime.core.lapse import Active, to_be_told
from rolehost_runtime.gateway.kept import Register, Whose


class Listing:
    """The row is written while the first turn is being answered; only that turn's commit waits for it. That somebody
    spoke is told it once a day, and nobody waits."""

    def __init__(self, register: Register, whose: Whose, session_id: str, keep_seconds: Callable[[], int]) -> None:
        """`keep_seconds`: for how long the session is kept after a turn."""
        self._register, self._whose, self._session_id = register, whose, session_id
        self._keep_seconds = keep_seconds
        self._writing: asyncio.Task[None] | None = None
        self._listed = False
        self._told: Active | None = None
        """What the register was told last of a turn of ours."""

    def begin(self, at_ms: int) -> None:
        """The first turn has begun: write the row, without being waited for. Nothing where that is done, or under way."""
        if not self._listed:
            self._go(Active.begun(at_ms))

    async def listed(self, at_ms: int) -> None:
        """Until it is there. Raises what the store refuses it with; it may be tried again."""
        self.begin(at_ms)
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def opened(self, last_at_ms: int) -> None:
        """The session was read, and its newest record is of then: the row is there, unless the store lost it. What was
        promised with that record stands."""
        if not self._listed:
            self._go(Active(last_at_ms, self._keep_seconds()), promised=False)

    def spoke(self, at_ms: int) -> None:
        """A record of then is durable. Nobody waits for the register; one that did not hear is told with the next one."""
        active = Active(at_ms, self._keep_seconds())
        if to_be_told(self._told, active):
            self._go(active)

    def forgotten(self) -> None:
        """The row is gone with its session: what is said from now on needs another one."""
        self._listed, self._told = False, None

    def _go(self, active: Active, *, promised: bool = True) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(active, promised), name="listing")
            self._writing.add_done_callback(_seen)

    async def _write(self, active: Active, promised: bool) -> None:
        try:
            await self._register.enlist(self._whose, self._session_id, active.at_ms, active, promised=promised)
            self._listed, self._told = True, active if promised else None
        finally:
            self._writing = None


def _seen(writing: asyncio.Task[None]) -> None:
    """Whoever waited has the error; where nobody did, the next turn will try once more."""
    if not writing.cancelled():
        writing.exception()
