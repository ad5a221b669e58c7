"""The lorebook of a persona: what it knows of the world, told to the model only where it is spoken of.

By character cards, V2 and V3: what their `character_book` calls keys, secondary_keys,
insertion_order … is here in our words.
"""

from enum import Enum
from typing import Annotated

from msgspec import Meta

from rolehost_api.crd.common import Spec

MAX_ENTRIES = 1_000
MAX_KEYS = 32
MAX_KEY_CHARS = 256
MAX_CONTENT_CHARS = 8_192
MAX_SCAN_DEPTH = 100
MAX_BOOK_CHARS, MAX_BOOK_KEY_CHARS = 262_144, 65_536
"""Of all texts of a book, and of all its keys. What is behind that is not read, and `rolehost check` says so."""
DEFAULT_SCAN_DEPTH, DEFAULT_BUDGET = 4, 1_024

Key = Annotated[str, Meta(description="A word or phrase.", min_length=1, max_length=MAX_KEY_CHARS)]
Keys = tuple[Key, ...]
TURNS = 10_000


class LoreLogic(Enum):
    """What the second keys of an entry ask for, beside one of its first."""

    AND_ANY = "AndAny"
    AND_ALL = "AndAll"
    NOT_ANY = "NotAny"
    NOT_ALL = "NotAll"


class LorePosition(Enum):
    """Where an entry's text stands in the prompt."""

    BEFORE_PERSONA = "BeforePersona"
    AFTER_PERSONA = "AfterPersona"
    AT_DEPTH = "AtDepth"


class LoreSpeaker(Enum):
    """Who says an entry's text among the messages."""

    USER = "User"
    PERSONA = "Persona"


class LoreSource(Enum):
    """Where an entry's keys are looked for."""

    BOTH = "Both"
    MESSAGES = "Messages"
    ENTRIES = "Entries"


class AfterMatch(Enum):
    """What becomes of an entry once it was told."""

    AGAIN = "Again"
    ALWAYS = "Always"
    NEVER = "Never"


class LoreEntry(Spec, frozen=True, kw_only=True):
    """A text, and when it is told."""

    id: Annotated[
        str,
        Meta(
            description="Unique in the book: records, events and errors name an entry by it.",
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$",
            max_length=64,
        ),
    ]
    content: Annotated[
        str,
        Meta(
            description="The text. It may begin with decorators of V3 cards, a line each, e.g. @@depth 2; they count "
            "above the fields.",
            max_length=MAX_CONTENT_CHARS,
        ),
    ]
    keys: Annotated[Keys, Meta(description="One of them is enough.", max_length=MAX_KEYS)] = ()
    second_keys: Annotated[Keys, Meta(description="What else there must be, see logic.", max_length=MAX_KEYS)] = ()
    logic: Annotated[LoreLogic, Meta(description="Which of secondKeys must be there, or must not.")] = LoreLogic.AND_ANY
    excluded_keys: Annotated[Keys, Meta(description="None of them may be there.", max_length=MAX_KEYS)] = ()
    regex: Annotated[
        bool,
        Meta(
            description="The keys are patterns in the syntax of RE2, which takes linear time; they look at messages only."
        ),
    ] = False
    case_sensitive: Annotated[bool, Meta(description="The keys tell capitals from small letters.")] = False
    whole_words: Annotated[
        bool, Meta(description="`cat` is not in `catch`. Scripts that do not part words have none: 龙 is in 恐龙.")
    ] = True
    constant: Annotated[bool, Meta(description="Told without a key.")] = False
    enabled: Annotated[bool, Meta(description="Looked at, at all.")] = True
    order: Annotated[int, Meta(description="Lower stands further up.", ge=-1_000_000, le=1_000_000)] = 100
    priority: (
        Annotated[
            int,
            Meta(
                description="Over the budget the lowest goes first; without one, order counts as it.",
                ge=-1_000_000,
                le=1_000_000,
            ),
        ]
        | None
    ) = None
    position: Annotated[
        LorePosition,
        Meta(
            description="In front of the persona, behind it, or among the messages. What is not told in every turn never "
            "stands around the persona, which model servers cache: it comes with what goes for this turn."
        ),
    ] = LorePosition.AFTER_PERSONA
    depth: Annotated[int, Meta(description="AtDepth: before the last so many messages.", ge=0, le=1_000)] = 4
    speaker: Annotated[LoreSpeaker, Meta(description="AtDepth: who says it.")] = LoreSpeaker.USER
    scan_depth: Annotated[int, Meta(description="Instead of the book's scanDepth.", ge=0, le=MAX_SCAN_DEPTH)] | None = (
        None
    )
    probability: Annotated[
        int, Meta(description="Percent of the turns that find it in which it is told.", ge=0, le=100)
    ] = 100
    after_replies: Annotated[
        int, Meta(description="Not before the Role has spoken so many times, its greeting counted.", ge=0, le=TURNS)
    ] = 0
    every_replies: Annotated[
        int, Meta(description="Only where that number is a multiple of this one.", ge=1, le=TURNS)
    ] = 1
    sticky_turns: Annotated[
        int, Meta(description="Once told, it is told for so many more turns without a key.", ge=0, le=TURNS)
    ] = 0
    cooldown_turns: Annotated[int, Meta(description="After that it is not told for so many turns.", ge=0, le=TURNS)] = 0
    after_match: Annotated[
        AfterMatch, Meta(description="Once told: told again where it is found, always, or never again.")
    ] = AfterMatch.AGAIN
    greeting: (
        Annotated[
            int,
            Meta(description="Only in sessions that began with this greeting: 0 is the first.", ge=0, le=1_000),
        ]
        | None
    ) = None
    found_in: Annotated[
        LoreSource,
        Meta(
            description="Where its keys are looked for: in messages, in the texts of entries that were found, or both."
        ),
    ] = LoreSource.BOTH
    finds_others: Annotated[bool, Meta(description="Keys of other entries are looked for in its text.")] = True


class Lorebook(Spec, frozen=True, kw_only=True):
    """What a persona knows of the world, told to the model only where it is spoken of."""

    scan_depth: Annotated[
        int, Meta(description="Keys are looked for in the last so many messages.", ge=0, le=MAX_SCAN_DEPTH)
    ] = DEFAULT_SCAN_DEPTH
    token_budget: Annotated[
        int, Meta(description="Most tokens, about, that entries add to a prompt.", ge=0, le=65_536)
    ] = DEFAULT_BUDGET
    recursive: Annotated[
        bool, Meta(description="Keys are also looked for in the texts of entries that were found.")
    ] = False
    entries: Annotated[
        tuple[LoreEntry, ...],
        Meta(
            description="Together at most 262,144 characters of text, and 65,536 of keys.",
            max_length=MAX_ENTRIES,
            extra={"list_map_key": "id"},
        ),
    ] = ()
