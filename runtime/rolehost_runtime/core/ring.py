"""A consistent-hash ring: who of several takes what, agreed on without a word. Pure.

Every member stands at `POINTS` places of a circle of 2**64, which follow from its name alone; a
key belongs to the member whose place comes next after the key's own. When a member comes or goes
only what lies right before its places moves: 1/n of all keys, from everybody alike. A thousand
places make the shares even: with ten members the largest is about 1.07 times the mean.

Shares of keys are not loads. `choose` takes the first member on the key's way round that still
has room, and `bound` says how much room that should be: a quarter more than the mean. What finds
its member full goes on to the next one, so what a full or a leaving member cannot take is spread
over all others, not put on one neighbour.

A place takes 12 bytes: 12 KiB a member, 12 MiB for a thousand. A member is added or removed by
copying the circle once, in pieces (a few milliseconds at a thousand members); its places are
computed again to remove it, not kept.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Set
from hashlib import blake2b

POINTS = 1024
"""Of one member."""
SLACK_PERCENT = 25
"""By how much a member's load may be above the mean."""
_A_HASH = 8
"""Places that one hash of 64 bytes makes."""


def place_of(key: str) -> int:
    """Where a key lies on the circle; the same everywhere and for ever.

    >>> place_of("s1") == place_of("s1") != place_of("s2"), 0 <= place_of("s1") < 2**64
    (True, True)
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")


def places_of(member: str, count: int = POINTS) -> list[int]:
    """Where a member stands, in order. One with fewer places stands at the first of them.

    >>> len(places_of("pod-1")), set(places_of("pod-1", 8)) <= set(places_of("pod-1"))
    (1024, True)
    """
    found: list[int] = []
    for number in range(-(-count // _A_HASH)):
        digest = blake2b(f"{number}/{member}".encode(), digest_size=64).digest()
        found.extend(int.from_bytes(digest[start : start + 8], "big") for start in range(0, 64, 8))
    return sorted(found[:count])


def bound(load: int, members: int, slack_percent: int = SLACK_PERCENT) -> int:
    """How much one of so many members may hold once what comes now is placed: the mean and a quarter, rounded up.

    There is always one below it: n members that all held so much would hold more than all.

    >>> bound(0, 3), bound(3, 3), bound(99, 10), bound(999, 10)
    (1, 2, 13, 125)
    """
    return -(-(load + 1) * (100 + slack_percent) // (100 * members))


class Ring:
    """Members by name.

    >>> ring = Ring(["a", "b", "c"])
    >>> first, *others = ring.walk("s1")
    >>> sorted([first, *others]), ring.choose("s1") == first, ring.choose("s1", lambda name: name != first) == others[0]
    (['a', 'b', 'c'], True, True)
    >>> ring.remove(first)
    >>> ring.choose("s1") == others[0], len(ring), ring.choose("s1", lambda name: False) is None
    (True, 2, True)
    """

    def __init__(self, members: Iterable[str] = (), points: int = POINTS) -> None:
        self._count = points
        self._places = array("Q")
        self._holders = array("I")
        """Who stands at each place: a number into `_names`."""
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []
        """Numbers of members that went."""
        self._build(dict.fromkeys(members))

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def members(self) -> Set[str]:
        return self._numbers.keys()

    @property
    def nbytes(self) -> int:
        """What the circle takes in memory."""
        return len(self._places) * (self._places.itemsize + self._holders.itemsize)

    def add(self, member: str) -> None:
        """Nothing where it is there already."""
        if member in self._numbers:
            return
        number = self._number(member)
        old_places, old_holders = self._places, self._holders
        places, holders, done = array("Q"), array("I"), 0
        for place in places_of(member, self._count):
            at = self._after(place, member, done)
            places.extend(old_places[done:at])
            holders.extend(old_holders[done:at])
            places.append(place)
            holders.append(number)
            done = at
        places.extend(old_places[done:])
        holders.extend(old_holders[done:])
        self._places, self._holders = places, holders

    def remove(self, member: str) -> None:
        """Nothing where it is not there."""
        number = self._numbers.get(member)
        if number is None:
            return
        old_places, old_holders = self._places, self._holders
        places, holders, done = array("Q"), array("I"), 0
        for place in places_of(member, self._count):
            at = bisect_left(old_places, place, done)
            while old_holders[at] != number:
                at += 1
            places.extend(old_places[done:at])
            holders.extend(old_holders[done:at])
            done = at + 1
        places.extend(old_places[done:])
        holders.extend(old_holders[done:])
        self._places, self._holders = places, holders
        del self._numbers[member]
        self._names[number] = ""
        self._free.append(number)

    def become(self, members: Set[str]) -> None:
        """Have just these members, by as little work as that takes."""
        gone, new = self.members - members, members - self.members
        if len(gone) + len(new) > 1 + len(members) // 8:
            self._build(dict.fromkeys(members))
            return
        for member in gone:
            self.remove(member)
        for member in new:
            self.add(member)

    def walk(self, key: str) -> Iterator[str]:
        """All members, each once, in this key's own order."""
        places, holders, names = self._places, self._holders, self._names
        if not places:
            return
        start, seen, left = bisect_left(places, place_of(key)), set(), len(self._numbers)
        for at in range(start, start + len(places)):
            number = holders[at % len(places)]
            if number not in seen:
                seen.add(number)
                yield names[number]
                left -= 1
                if not left:
                    return

    def choose(self, key: str, fits: Callable[[str], bool] | None = None) -> str | None:
        """The first member in the key's order that `fits`; None where none does."""
        for member in self.walk(key):
            if fits is None or fits(member):
                return member
        return None

    def _number(self, member: str) -> int:
        if self._free:
            number = self._free.pop()
            self._names[number] = member
        else:
            number = len(self._names)
            self._names.append(member)
        self._numbers[member] = number
        return number

    def _after(self, place: int, member: str, start: int) -> int:
        """Where it is put among those that are there; of two at one place the name decides, not who came first."""
        at = bisect_left(self._places, place, start)
        while at < len(self._places) and self._places[at] == place and self._names[self._holders[at]] < member:
            at += 1
        return at

    def _build(self, members: Iterable[str]) -> None:
        """All at once: sorted as (place, who in the order of names)."""
        self._names = sorted(members)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._free = []
        packed = [
            place << 32 | number for number, name in enumerate(self._names) for place in places_of(name, self._count)
        ]
        packed.sort()
        self._places = array("Q", [one >> 32 for one in packed])
        self._holders = array("I", [one & 0xFFFFFFFF for one in packed])
