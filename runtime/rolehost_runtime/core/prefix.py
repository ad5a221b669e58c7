"""How far one prompt begins as another one did: what a provider's prefix cache can have used again. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from rolehost_runtime.core.parts import JOINT, Part
from rolehost_runtime.core.prompt import estimate


class Shared(NamedTuple):
    segment: int
    """The first one that is not the same to its end; past the last where all are."""
    offset: int
    """So many of its characters are the same."""
    chars: int
    """Of the whole prompt, with what stands between its segments."""
    tokens: int
    """Of these characters, about."""


def length(parts: Sequence[Part]) -> int:
    """Characters of a prompt, with what stands between the parts of one message.

    >>> length([Part("persona", "system", "You"), Part("logic", "system", "are"), Part("input", "user", "Hi", 1)])
    10
    """
    joints = sum(one.message == other.message for one, other in pairwise(parts))
    return sum(len(part.text) for part in parts) + len(JOINT) * joints


def shared(before: Sequence[Part], now: Sequence[Part]) -> Shared:
    """From the beginning on, whoever put it there: what was the message then is history now.

    >>> cat = Part("persona", "system", "You are a cat.")
    >>> one = [cat, Part("input", "user", "Hello there", 1)]
    >>> two = [Part("history", "user", "Hello there", 1), Part("history", "persona", "Meow", 2), Part("input", "user", "?", 3)]
    >>> shared(one, [cat, *two])
    Shared(segment=2, offset=0, chars=25, tokens=7)
    >>> shared(one, [cat, Part("input", "user", "Help", 1)])
    Shared(segment=1, offset=3, chars=17, tokens=5)
    >>> shared([], one)
    Shared(segment=0, offset=0, chars=0, tokens=0)
    """
    chars = tokens = 0
    for place, part in enumerate(now):
        then = before[place] if place < len(before) else None
        is_there = then is not None and (then.speaker, then.message) == (part.speaker, part.message)
        same = common(then.text, part.text) if then is not None and is_there else 0
        is_whole = then is not None and is_there and then.text == part.text
        if place and (same or is_whole):
            chars += len(JOINT) * (now[place - 1].message == part.message)
        chars += same
        tokens += estimate(part.text[:same])
        if not is_whole:
            return Shared(place, same, chars, tokens)
    return Shared(len(now), 0, chars, tokens)


def persona_alone(parts: Sequence[Part]) -> Sequence[Part]:
    """What is the same in every call of the revision."""
    count = next((place for place, part in enumerate(parts) if part.kind != "persona"), len(parts))
    return parts[:count]


def common(one: str, other: str) -> int:
    """Characters with which both begin, found by halves: each look is one comparison of slices.

    >>> common("dragons", "drag"), common("a", "b"), common("same", "same")
    (4, 0, 4)
    """
    if one == other:
        return len(one)
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
