"""What a guard is: it is shown a text and says what it has against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from msgspec import Struct

from rolehost_api.crd.safety import Category

Stage = Literal["input", "output"]
Action = Literal["block", "replace", "flag", "crisis"]
"""`crisis`: a message was not let in, and the Role's crisis reply was said."""

CATEGORIES = frozenset(one.value for one in Category)
UNJUDGED = "Unjudged"
"""In place of a category: the guard failed, and its policy is Closed."""
PLATFORM = "platform"
"""Name of the guard that holds the platform's own rules. No Role's guard can have it: `compiling` refuses it."""
MAX_DECISIONS = 16
"""Of one turn, as its record keeps them."""


class Decision(Struct, frozen=True, omit_defaults=True):
    """What was decided of a text, without a word of it."""

    guard: str
    stage: Stage
    category: str
    action: Action


@dataclass(frozen=True, slots=True)
class Objection:
    """What a guard has against a part of a text."""

    category: str
    """One of CATEGORIES."""
    action: Literal["block", "replace", "flag"]
    start: int = 0
    end: int = 0
    """Code points of the text; only `replace` looks at them."""
    text: str = ""
    """For `replace`: what is written instead."""


def invalid(objections: Sequence[Objection], text: str) -> str:
    """What is wrong with what a guard said of `text`; empty where nothing is.

    >>> invalid([Objection("Other", "replace", 0, 3, "***")], "abc"), invalid([Objection("Rude", "flag")], "abc")
    ('', 'it names a category that there is not')
    """
    for one in objections:
        if one.category not in CATEGORIES:
            return "it names a category that there is not"
        if one.action not in ("block", "replace", "flag"):
            return "it wants what is no action"
        if one.action == "replace" and not 0 <= one.start < one.end <= len(text):
            return "it replaces a part that is not there"
    return ""


def rewritten(text: str, objections: Sequence[Objection]) -> str:
    """With what is replaced, from the first on; a part that overlaps an earlier one goes with it.

    >>> rewritten("call 1 or 2", [Objection("Other", "replace", 10, 11, "y"), Objection("Other", "replace", 5, 6, "x")])
    'call x or y'
    """
    out, at = [], 0
    for one in sorted((one for one in objections if one.action == "replace"), key=lambda one: (one.start, -one.end)):
        if one.start >= at:
            out += [text[at : one.start], one.text]
        at = max(at, one.end)
    return "".join([*out, text[at:]])


class Guard(Protocol):
    """Whoever judges whole texts: a model that is asked, or a plugin.

    `core.safety.conformance` says what holds for every one of them.
    """

    @property
    def name(self) -> str:
        """As the turn's record names it: a DNS label."""

    async def judge(self, stage: Stage, text: str) -> Sequence[Objection]:
        """All that it has against `text`; empty: nothing. The same text, the same answer, as far as it can.

        It keeps nothing of the text, and neither logs nor raises any of it. What it raises, and taking longer than it is
        given, is its failure: the Role's policy says what counts then.
        """
