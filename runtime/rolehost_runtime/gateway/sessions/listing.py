"""A session's row in the register: there before its first turn is durable, and made anew where it was lost."""

import asyncio

from rolehost_runtime.gateway.kept import Register, Whose


class Listing:
    """The row is written while the first turn is being answered; only that turn's commit waits for it."""

    def __init__(self, register: Register, whose: Whose, session_id: str) -> None:
        self._register, self._whose, self._session_id = register, whose, session_id
        self._writing: asyncio.Task[None] | None = None
        self._listed = False

    def begin(self, at_ms: int) -> None:
        """Write it, without being waited for. Nothing where that is done, or under way."""
        if not self._listed and self._writing is None:
            self._writing = asyncio.create_task(self._write(at_ms), name="listing")
            self._writing.add_done_callback(_seen)

    async def listed(self, at_ms: int) -> None:
        """Until it is there. Raises what the store refuses it with; it may be tried again."""
        self.begin(at_ms)
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def forgotten(self) -> None:
        """The row is gone with its session: what is said from now on needs another one."""
        self._listed = False

    async def _write(self, at_ms: int) -> None:
        try:
            await self._register.enlist(self._whose, self._session_id, at_ms)
            self._listed = True
        finally:
            self._writing = None


def _seen(writing: asyncio.Task[None]) -> None:
    """Whoever waited has the error; where nobody did, the first turn's commit will try once more."""
    if not writing.cancelled():
        writing.exception()
