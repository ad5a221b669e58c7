"""The note in a session's head of the turn that is open, written behind the turn's back."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from rolehost_api.errors import Unavailable
from rolehost_runtime.core.session import OpenTurn, SessionFold
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.ports import SessionStore

log = logging.getLogger(__name__)

PAUSES: Sequence[float] = (0.2, 1.0, 3.0)
"""Seconds between the tries of one note, while nothing newer is to be noted."""


class Notes:
    """No turn waits for its note. Only the newest is worth writing, and never two at once, so that none overtakes
    another; one that its turn's commit has overtaken is refused by the store."""

    def __init__(self, store: SessionStore, key: str, over: Callable[[], None]) -> None:
        """`over` is called whenever nothing is left to write."""
        self._store, self._key, self._over = store, key, over
        self._next: tuple[str, int, int, OpenTurn | None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._known = ""
        """The response whose turn the store knows to be open."""

    @property
    def pending(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def opened(self, fold: SessionFold, opened: OpenTurn) -> None:
        """This turn is open from now on."""
        self._put((fold.log_id, fold.epoch, opened.turn, opened))

    def given_up(self, fold: SessionFold, turn: int) -> None:
        """This turn has failed, and whoever listens was told so."""
        self._put((fold.log_id, fold.epoch, turn, None))

    def committed(self) -> None:
        """The turn is durable, and its note went with its commit."""
        self._next = None

    async def written(self) -> None:
        """Until nothing is left to write, or it was tried often enough."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    def found(self, opened: OpenTurn) -> None:
        """The store itself told us of it."""
        self._known = opened.response_id

    async def knows(self, opened: OpenTurn) -> bool:
        """Whether the store knows that this turn is open, once nothing is left to write: should this gateway die, the
        next one finds it."""
        await self.written()
        return self._known == opened.response_id

    def _put(self, note: tuple[str, int, int, OpenTurn | None]) -> None:
        self._next = note
        if not self.pending:
            self._writing = asyncio.create_task(self._write(), name="note")
            self._writing.add_done_callback(lambda _: self._over())

    async def _write(self) -> None:
        while self._next is not None:
            note, self._next = self._next, None
            for pause in (*PAUSES, None):
                try:
                    noted = await self._store.note(self._key, *note)
                    self._known = note[3].response_id if noted and note[3] is not None else ""
                    break
                except Unavailable:
                    if pause is None:
                        break  # the turn itself meets the same store
                    await asyncio.sleep(pause)
                    if self._next is not None:
                        break
                except Exception as error:
                    faults.internal(log, "noting an open turn", error)
                    break
