"""The lorebook of one session that somebody plays by hand: a test, or a command line. A gateway keeps the same in its log."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rolehost_api.crd.role import Persona
from rolehost_api.persona.resolving import resolved
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.placing import Placed, placed
from rolehost_runtime.core.lorebook.telling import Moment, Told, remembered, tell
from rolehost_runtime.core.prompt import Exchange, estimate


@dataclass(slots=True)
class Played:
    """
    >>> from rolehost_api.crd.lorebook import Lorebook, LoreEntry
    >>> book = Compiled(Lorebook(entries=(LoreEntry(id="gull", content="Gull is a ship.", keys=("ship",)),)), len)
    >>> played = Played(book)
    >>> played.turn("Whose ship?", [], turn=1, seed=7).behind, played.ids
    (('Gull is a ship.',), ('gull',))
    """

    book: Compiled
    greeted: bool = False
    greeting: int = 0
    ids: tuple[str, ...] = ()
    """What the newest turn told, and not every one does."""
    _memory: dict[str, int] = field(default_factory=dict)
    _told: tuple[int, Told] | None = None

    def turn(self, message: str, past: Sequence[Exchange], *, turn: int, seed: int) -> Placed:
        """What the turn tells. The one before is remembered as soon as another number comes."""
        if self._told is not None and self._told[0] != turn:
            self._memory = remembered(self._memory, self._told[1].began, self._told[0])
        now = Moment(turn, seed, len(past) + self.greeted, self.greeting, self._memory)
        told = tell(self.book, newest(message, past, self.book.scan_depth), now)
        self._told, self.ids = (turn, told), tuple(found.rule.entry.id for found in told.found)
        return placed(self.book, told)


def newest(message: str, past: Sequence[Exchange], depth: int) -> list[str]:
    """The last `depth` messages, the newest first; at least the turn's own.

    >>> newest("c", [Exchange("x", "y"), Exchange("a", "b")], 4)
    ['c', 'b', 'a', 'y']
    """
    found = [message]
    for exchange in reversed(past):
        if len(found) >= depth:
            break
        found += [text for text in (exchange.reply, exchange.input) if text]
    return found[: max(depth, 1)]


def examples_text(examples: Sequence[tuple[str, str]]) -> str:
    r"""What somebody said and what the persona answered, as the model reads it.

    >>> examples_text([("Windy?", "That's Marguerite.")])
    "Examples of how you speak:\n\nThe user: Windy?\nYou: That's Marguerite."
    """
    said = [f"The user: {user}\nYou: {persona}" for user, persona in examples]
    return "\n\n".join(("Examples of how you speak:", *said)) if said else ""


def always(persona: Persona) -> str:
    """What the model is told of a persona in every turn: system, examples, and the entries that need no key.

    >>> from rolehost_api.crd.lorebook import Lorebook, LoreEntry
    >>> always(Persona(system="You are Tom.", lorebook=Lorebook(entries=(
    ...     LoreEntry(id="sea", content="The sea is grey.", constant=True),
    ...     LoreEntry(id="cat", content="Bosun.", keys=("cat",)),
    ... ))))
    'You are Tom.\\n\\nThe sea is grey.'
    """
    book = Compiled(persona.lorebook, estimate)
    examples = examples_text([(one.user, one.persona) for one in persona.examples])
    system = resolved(persona)[0].system
    said = (system, examples) if examples else (system,)
    return "\n\n".join(filter(None, placed(book, Told((), (), ())).persona(said)))
