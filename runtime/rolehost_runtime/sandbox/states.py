"""States of sessions that this pod remembers, so that the gateway need not send them each turn. Sans-IO."""

from collections import OrderedDict
from collections.abc import Hashable

MAX_SESSIONS = 4096
MAX_BYTES = 64 * 1_048_576

Key = tuple[Hashable, str]
"""A link and its own name for a session or a person: names of different links have nothing to do with each other."""
Version = int | str


class States:
    """Newest version of each session's state, encoded; the least recently used go first.

    >>> states = States(max_sessions=1)
    >>> states.put((1, "a"), 3, b"x"), states.put((1, "b"), 1, b"y")
    ([], [(1, 'a')])
    >>> states.get((1, "b"), 1), states.get((1, "b"), 2), states.get((1, "a"), 3)
    (b'y', None, None)
    """

    def __init__(self, max_sessions: int = MAX_SESSIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._held: OrderedDict[Key, tuple[Version, bytes]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, version: Version) -> bytes | None:
        held = self._held.get(key)
        if held is None or held[0] != version:
            return None
        self._held.move_to_end(key)
        return held[1]

    def put(self, key: Key, version: Version, state: bytes) -> list[Key]:
        """Remember a state; returns the sessions that were let go for it."""
        self.drop(key)
        self._held[key] = (version, state)
        self._bytes += len(state)
        evicted: list[Key] = []
        while len(self._held) > self._max_sessions or self._bytes > self._max_bytes:
            oldest = next(iter(self._held))
            self.drop(oldest)
            evicted.append(oldest)
        return evicted

    def drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        self._bytes -= len(held[1]) if held else 0

    def drop_link(self, link: Hashable) -> None:
        for key in [key for key in self._held if key[0] == link]:
            self.drop(key)
