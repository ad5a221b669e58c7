"""The rings of revisions: made when a session is placed among several pods, kept while they are asked for."""

from collections import OrderedDict
from collections.abc import Set

from rolehost_runtime.core.ring import Ring

MAX_PODS = 4096
"""On all rings together: 48 MiB. What was not asked for longest is made again when it is."""


class Rings:
    """By revision: (its tenant's UID, its name).

    >>> rings = Rings(most=3)
    >>> rings.of(("acme", "cat-1"), {"p1", "p2"}) is rings.of(("acme", "cat-1"), {"p1", "p2"})
    True
    >>> sorted(rings.of(("acme", "cat-1"), {"p2", "p3"}).members)
    ['p2', 'p3']
    >>> _ = rings.of(("acme", "cat-2"), {"p4", "p5"})
    >>> len(rings), rings.pods
    (1, 2)
    """

    def __init__(self, most: int = MAX_PODS) -> None:
        self._most = most
        self._rings: OrderedDict[tuple[str, str], Ring] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rings)

    @property
    def pods(self) -> int:
        return sum(len(ring) for ring in self._rings.values())

    def of(self, revision: tuple[str, str], pods: Set[str]) -> Ring:
        """The ring of just these pods."""
        ring = self._rings.get(revision)
        if ring is None:
            ring = self._rings[revision] = Ring(pods)
        elif ring.members != pods:
            ring.become(pods)
        else:
            self._rings.move_to_end(revision)
            return ring
        self._rings.move_to_end(revision)
        pods_in_all = self.pods
        while pods_in_all > self._most and len(self._rings) > 1:
            pods_in_all -= len(self._rings.popitem(last=False)[1])
        return ring
