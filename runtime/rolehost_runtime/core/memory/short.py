"""What a session keeps in mind for minutes: a part of its own state, so it is durable, moved and forgotten with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from rolehost_runtime.core.memory.keywords import Keywords

MIND = "@short"
"""The member of a session's state that holds it."""
TTL_MS = 300_000
MOST, MAX_CHARS = 32, 8_000
"""Texts, and characters of all of them; what was used longest ago goes first."""


class Thought(Struct, frozen=True):
    id: str
    text: str
    at_ms: int
    used_ms: int


def read(state: Mapping[str, Any]) -> list[Thought]:
    """What a stored state holds. What is no thought is none."""
    try:
        return msgspec.convert(state.get(MIND, []), list[Thought])
    except (msgspec.ValidationError, RecursionError):
        return []


def written(thoughts: Sequence[Thought]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(one) for one in thoughts]


def alive(thoughts: Sequence[Thought], now_ms: int, ttl_ms: int = TTL_MS) -> list[Thought]:
    """Those that nobody has to forget yet: used within `ttl_ms`, and the newest used of what is too much.

    >>> old, new = Thought("a", "tea", 0, 0), Thought("b", "dragons", 0, 200_000)
    >>> [one.id for one in alive([old, new], 299_999)], [one.id for one in alive([old, new], 300_000)]
    (['a', 'b'], ['b'])
    """
    fresh = [one for one in thoughts if one.used_ms + ttl_ms > now_ms]
    kept: list[Thought] = []
    room = MAX_CHARS
    for one in sorted(fresh, key=lambda one: (-one.used_ms, -one.at_ms, one.id))[:MOST]:
        room -= len(one.text)
        if room < 0:
            break
        kept.append(one)
    names = {one.id for one in kept}
    return [one for one in fresh if one.id in names]


def found(thoughts: Sequence[Thought], query: str, k: int) -> list[Thought]:
    """Those that share a word with the question, best first; without one, the newest.

    >>> [one.id for one in found([Thought("a", "tea", 0, 0), Thought("b", "two dragons", 1, 1)], "a dragon!", 5)]
    ['b']
    """
    if not query.strip():
        return sorted(thoughts, key=lambda one: (-one.at_ms, one.id))[:k]
    words = Keywords()
    for one in thoughts:
        words.add(one.id, one.text)
    scores = words.scores(query)
    hit = [one for one in thoughts if one.id in scores]
    return sorted(hit, key=lambda one: (-scores[one.id], -one.at_ms, one.id))[:k]


def used(thoughts: Sequence[Thought], names: Sequence[str], now_ms: int) -> list[Thought]:
    """The same, with those of these names used now."""
    return [msgspec.structs.replace(one, used_ms=now_ms) if one.id in names else one for one in thoughts]
