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
        self._words: dict[asyncio.Future[None], str | None] = {}
        """By place: the client's id of the message that waits there."""

    @property
    def taken(self) -> bool:
        return self._taken

    @property
    def waiting(self) -> int:
        return len(self._ahead) + len(self._waiting)

    def pressed(self, word: str | None) -> bool:
        """Some other message waits that interrupts whatever runs; said again, one does not interrupt itself."""
        others = [self._words.get(place) for place in self._ahead]
        return any(other is None or other != word for other in others)

    def take(self) -> bool:
        """The turn, where nobody has it."""
        if self._taken:
            return False
        self._taken = True
        return True

    def join(self, word: str | None = None, *, ahead: bool = False) -> "asyncio.Future[None] | None":
        """A place in line, to be given to `come`; None: the turn is taken at once."""
        if self.take():
            return None
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._ahead if ahead else self._waiting).append(place)
        self._words[place] = word
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
        finally:
            self._words.pop(place, None)

    def leave(self) -> None:
        """Whoever had the turn is through with it."""
        for queue in (self._ahead, self._waiting):
            while queue:
                place = queue.popleft()
                if not place.done():
                    place.set_result(None)
                    return
        self._taken = False
