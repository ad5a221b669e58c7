"""A cache bounded by bytes whose hits cost no more than a look into a dict.

SIEVE: a hit only marks its entry, and a hand that walks from the oldest on takes out the first without a mark. What is
asked for once, however much of it, pushes out nothing that is asked for again.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class _Entry(Generic[Value]):
    __slots__ = ("size", "value", "visited")

    def __init__(self, value: Value, size: int) -> None:
        self.value, self.size, self.visited = value, size, False


class Sieve(Generic[Key, Value]):
    """
    >>> cache = Sieve[str, int](max_bytes=30)
    >>> for name in "abc":
    ...     cache.put(name, 1, size=10)
    >>> cache.get("a"), cache.get("x")
    (1, None)
    >>> cache.put("d", 1, size=10)                                # `a` was asked for: it is `b` that goes
    >>> [name for name in "abcd" if cache.get(name)], cache.nbytes
    (['a', 'c', 'd'], 30)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[Key, _Entry[Value]] = {}
        """The oldest first."""
        self.nbytes = 0
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        entry.visited = True
        self.hits += 1
        return entry.value

    def put(self, key: Key, value: Value, size: int) -> None:
        """One that is larger than all may be is not kept."""
        self.drop(key)
        if size > self._max_bytes:
            return
        while self.nbytes + size > self._max_bytes:
            self._evict()
        self._entries[key] = _Entry(value, size)
        self.nbytes += size

    def drop(self, key: Key) -> None:
        gone = self._entries.pop(key, None)
        if gone is not None:
            self.nbytes -= gone.size

    def _evict(self) -> None:
        """The oldest that nobody asked for since the hand came by; those before it get to the end, without their mark."""
        while True:
            key, entry = next(iter(self._entries.items()))
            del self._entries[key]
            if not entry.visited:
                self.nbytes -= entry.size
                return
            entry.visited = False
            self._entries[key] = entry
