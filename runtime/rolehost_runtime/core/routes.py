"""Where things were found a moment ago: so many of them, each for so long, the least used let go first. Pure.

A route is a guess that saves asking. Whoever follows one learns from the answer whether it still
holds, and drops it where it does not; nothing is ever decided by it.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

TTL_MS = 30_000
MAX_ROUTES = 16_384
"""About 4 MiB."""

V = TypeVar("V")


class Routes(Generic[V]):
    """By key: a value, as of an epoch.

    >>> routes = Routes[str](most=2)
    >>> routes.put("s1", "a", now_ms=0, epoch=5)
    >>> routes.get("s1", now_ms=29_999), routes.get("s1", now_ms=30_000)
    ('a', None)

    What is of an older epoch than what is known is no news:

    >>> routes.put("s1", "b", now_ms=0, epoch=7)
    >>> routes.put("s1", "a", now_ms=1, epoch=6)
    >>> routes.get("s1", now_ms=2), routes.epoch("s1", now_ms=2)
    ('b', 7)

    And it is bounded: what was not asked for longest goes.

    >>> routes.put("s2", "a", now_ms=3)
    >>> _ = routes.get("s1", now_ms=4)
    >>> routes.put("s3", "a", now_ms=5)
    >>> len(routes), routes.get("s2", now_ms=6), routes.get("s1", now_ms=6)
    (2, None, 'b')
    """

    def __init__(self, most: int = MAX_ROUTES, ttl_ms: int = TTL_MS) -> None:
        self._most, self._ttl_ms = most, ttl_ms
        self._kept: OrderedDict[str, tuple[V, int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str, *, now_ms: int) -> V | None:
        found = self._kept.get(key)
        if found is None:
            return None
        value, _, until_ms = found
        if now_ms >= until_ms:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return value

    def epoch(self, key: str, *, now_ms: int) -> int:
        """Of what is known of it; 0 where nothing is."""
        return self._kept[key][1] if self.get(key, now_ms=now_ms) is not None else 0

    def put(self, key: str, value: V, *, now_ms: int, epoch: int = 0) -> None:
        """Nothing where something of a later epoch is known."""
        if self.epoch(key, now_ms=now_ms) > epoch:
            return
        self._kept[key] = (value, epoch, now_ms + self._ttl_ms)
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def drop(self, key: str) -> None:
        self._kept.pop(key, None)
