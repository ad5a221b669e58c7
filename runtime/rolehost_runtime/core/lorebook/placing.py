"""What is told of a book, put into a prompt."""

from collections.abc import Sequence
from typing import NamedTuple

from rolehost_api.crd.lorebook import LorePosition, LoreSpeaker
from rolehost_api.link.messages import PersonaSegment, Segment, TextSegment
from rolehost_runtime.core.lorebook.compiling import Compiled
from rolehost_runtime.core.lorebook.telling import Told
from rolehost_runtime.core.prompt import Insertion


class Placed(NamedTuple):
    """Texts for a prompt, by where they go."""

    before: str = ""
    after: str = ""
    """Around the persona, in every turn: as stable as it is."""
    behind: tuple[str, ...] = ()
    """Behind it, this turn."""
    among: tuple[Insertion, ...] = ()
    """Among the messages."""

    def persona(self, persona: tuple[str, ...]) -> tuple[str, ...]:
        """
        >>> Placed("It is 1912.", "Gull is a ship.").persona(("You are Tom.", "Tom: Aye."))
        ('It is 1912.\\n\\nYou are Tom.', 'Tom: Aye.\\n\\nGull is a ship.')
        """
        if not persona or not (self.before or self.after):
            return persona
        first, *others = persona
        parts = [_joined(self.before, first), *others]
        parts[-1] = _joined(parts[-1], self.after)
        return tuple(parts)

    def segments(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """With this turn's own texts right behind the persona's last segment."""
        at = max((place for place, one in enumerate(segments, 1) if isinstance(one, PersonaSegment)), default=0)
        if not at or not self.behind:
            return segments
        return (*segments[:at], TextSegment("system", "\n\n".join(self.behind)), *segments[at:])


def _joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def placed(book: Compiled, told: Told) -> Placed:
    """What comes in front of the persona, as cards want it, is told first behind it where other turns do not tell it: what
    model servers cache of a prompt is its beginning."""
    before, after = (
        "\n\n".join(rule.entry.content for rule in book.fixed if rule.entry.position is position)
        for position in (LorePosition.BEFORE_PERSONA, LorePosition.AFTER_PERSONA)
    )
    entries = [one.rule.entry for one in told.found]
    behind = [
        entry.content
        for position in (LorePosition.BEFORE_PERSONA, LorePosition.AFTER_PERSONA)
        for entry in entries
        if entry.position is position
    ]
    among = [
        Insertion(entry.depth, "persona" if entry.speaker is LoreSpeaker.PERSONA else "user", entry.content)
        for entry in entries
        if entry.position is LorePosition.AT_DEPTH
    ]
    return Placed(before, after, tuple(behind), tuple(among))
