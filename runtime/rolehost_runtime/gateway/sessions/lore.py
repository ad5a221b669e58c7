"""The lorebook of a turn: told where the prompt is made, for the gateway has what was said, and nothing goes over a link.

A book is made ready once for a revision, in a thread where it is large; a turn then takes time by what is found and by
the text that is looked at, which is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rolehost_api.crd.lorebook import Lorebook
from rolehost_api.wire import ToldLore
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.placing import Placed, placed
from rolehost_runtime.core.lorebook.playing import newest
from rolehost_runtime.core.lorebook.telling import MAX_TOLD, Moment, tell
from rolehost_runtime.core.prompt import Exchange, Told, estimate
from rolehost_runtime.gateway.tables import RevisionEntry

MAX_BOOKS = 64
"""Books that are ready at once; the least used goes first."""
SMALL_ENTRIES = 50
"""A book with more is made ready in a thread."""
NOTHING = Placed()


class Books:
    """Books of revisions, ready to be told."""

    def __init__(self) -> None:
        self._ready: OrderedDict[tuple[str, str], tuple[Lorebook, asyncio.Future[Compiled]]] = OrderedDict()

    async def of(self, revision: RevisionEntry) -> Compiled:
        """Rows are replaced and never edited: the same book is the same object. Whoever asks meanwhile waits for it."""
        book, key = revision.spec.template.persona.lorebook, (revision.tenant.uid, revision.name)
        known = self._ready.get(key)
        if known is None or known[0] is not book or known[1].cancelled():
            known = self._ready[key] = book, asyncio.ensure_future(_made(book))
            while len(self._ready) > MAX_BOOKS:
                self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return await asyncio.shield(known[1])


async def _made(book: Lorebook) -> Compiled:
    if len(book.entries) <= SMALL_ENTRIES:
        return Compiled(book, estimate)
    return await asyncio.to_thread(Compiled, book, estimate)


@dataclass(slots=True)
class Telling:
    """Of one turn, however often it runs and asks a model."""

    books: Books
    revision: RevisionEntry
    past: Sequence[Exchange] | Told
    now: Moment
    told: OrderedDict[str, ToldLore] = field(default_factory=OrderedDict)
    """By id: what models were told."""
    began: OrderedDict[str, None] = field(default_factory=OrderedDict)
    left_out: set[str] = field(default_factory=set)
    """Ids of what was found and did not fit."""
    _last: tuple[str, Placed] | None = None

    async def placed(self, message: str) -> Placed:
        """What the model is told where the user said this last: the turn's message, and what joined it meanwhile."""
        if self._last is None or self._last[0] != message:
            self._last = message, await self._placed(message)
        return self._last[1]

    async def _placed(self, message: str) -> Placed:
        book = await self.books.of(self.revision)
        if book.empty:
            return NOTHING
        said = newest(message, _exchanges(self.past), book.scan_depth)
        if book.has_patterns:  # RE2 lets other threads run meanwhile
            told = await asyncio.to_thread(tell, book, said, self.now)
        else:
            told = tell(book, said, self.now)
        for found in told.found:
            if len(self.told) < MAX_TOLD:
                self.told.setdefault(found.rule.entry.id, ToldLore(id=found.rule.entry.id, by=found.by))
        self.began.update(dict.fromkeys(told.began))
        self.left_out.update(told.left_out)
        return placed(book, told)


def telling(books: Books, revision: RevisionEntry, past: Sequence[Exchange] | Told, now: Moment) -> Telling | None:
    """None where the persona has no lorebook."""
    template = revision.spec.template
    if template.persona_from is not None or not template.persona.lorebook.entries:
        return None
    return Telling(books, revision, past, now)


def _exchanges(past: Sequence[Exchange] | Told) -> Sequence[Exchange]:
    return past.past if isinstance(past, Told) else past
