"""Whose turn it is in a session: one is answered, the others wait in the order in which they came."""

import asyncio
from collections import deque
from contextlib import suppress


class Line:
    """A lock whose order is known: who interrupts goes before who waits, and after who interrupted earlier."""

    def __init__(self) -> None:
        self._taken = False
        self._ahead: deque[asyncio.Future[None]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def taken(self) -> bool:
        return self._taken

    @property
    def waiting(self) -> int:
        return len(self._ahead) + len(self._waiting)

    @property
    def pressed(self) -> bool:
        """Somebody waits who interrupts whatever runs."""
        return bool(self._ahead)

    def take(self) -> bool:
        """The turn, where nobody has it."""
        if self._taken:
            return False
        self._taken = True
        return True

    def join(self, *, ahead: bool = False) -> "asyncio.Future[None] | None":
        """A place in line, to be given to `come`; None: the turn is taken at once."""
        if self.take():
            return None
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._ahead if ahead else self._waiting).append(place)
        return place

    async def come(self, place: "asyncio.Future[None] | None", until: float | None = None) -> None:
        """Until this place's turn has come. Raises TimeoutError where that is after `until`, by the loop's clock."""
        if place is None:
            return
        try:
            async with asyncio.timeout_at(until):
                await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.leave()  # it came, to somebody who is gone
            for queue in (self._ahead, self._waiting):
                with suppress(ValueError):
                    queue.remove(place)
            raise

    def leave(self) -> None:
        """Whoever had the turn is through with it."""
        for queue in (self._ahead, self._waiting):
            while queue:
                place = queue.popleft()
                if not place.done():
                    place.set_result(None)
                    return
        self._taken = False
