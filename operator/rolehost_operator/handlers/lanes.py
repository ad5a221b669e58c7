"""Who is next: lanes take turns, so a lane with a thousand waiting holds up no other."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Lanes(Generic[K]):
    """First come, first served within a lane; one of each lane, round and round.

    >>> lanes = Lanes[str]()
    >>> for key in ("a1", "a2", "a3", "b1"):
    ...     lanes.push(key[0], key)
    >>> len(lanes), [lanes.pop() for _ in range(4)]
    (4, ['a1', 'b1', 'a2', 'a3'])
    """

    def __init__(self) -> None:
        self._lanes: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, lane: Hashable, key: K) -> None:
        self._lanes.setdefault(lane, deque()).append(key)
        self._length += 1

    def pop(self) -> K:
        """Raises LookupError where nobody waits."""
        if not self._lanes:
            raise LookupError("nobody waits")
        lane, waiting = self._lanes.popitem(last=False)
        key = waiting.popleft()
        if waiting:
            self._lanes[lane] = waiting
        self._length -= 1
        return key
