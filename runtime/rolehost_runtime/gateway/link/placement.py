"""Which pod serves a session. Pure."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from rolehost_runtime.core.ring import Ring, bound


class Seat(Protocol):
    """A pod that could take the session."""

    def has(self, session_key: str) -> bool: ...
    def occupied(self) -> int: ...


S = TypeVar("S", bound=Seat)


def choose(session_key: str, ring: Ring, seats: Mapping[str, S], max_per_pod: int, gateways: int = 1) -> S | None:
    """Where the session sits already, else the first pod on its way round the ring with room; None: all are full.

    `seats` are the pods that may take it, by UID; who is on the ring and not among them (it is draining, or cannot
    be reached) is passed over, and its sessions are spread over all others.

    A session stays where it sits, for its pod has its state: a pod that joins takes what is new, and what another
    lets go. Room is a quarter more than the mean of the pods (`core.ring.bound`), so a pod that just came fills first.

    A gateway counts the sessions that it sent to a pod itself. Of several, each fills pods to its share of
    `max_per_pod` first, and goes on to the whole of it only where no pod has room in its share. So the bound holds for
    a pod (rounded up to a multiple of the gateways) as long as sessions are spread evenly over gateways; where they
    are not, a turn is served rather than refused, and a pod may get up to `gateways` times as many.

    >>> class Pod:
    ...     def __init__(self, taken: int, *keys: str) -> None: self.taken, self.keys = taken, keys
    ...     def has(self, session_key: str) -> bool: return session_key in self.keys
    ...     def occupied(self) -> int: return self.taken
    >>> ring = Ring(["a", "b"])
    >>> mine, other = ring.walk("s1")
    >>> def seated(mine_has: Pod, other_has: Pod, *more: int) -> str | None:
    ...     seats = {mine: mine_has, other: other_has}
    ...     seat = choose("s1", ring, seats, *more)
    ...     return next((("mine", "other")[uid != mine] for uid, pod in seats.items() if pod is seat), None)
    >>> seated(Pod(4), Pod(4), 64), seated(Pod(7), Pod(3), 64), seated(Pod(7), Pod(9, "s1"), 64)
    ('mine', 'other', 'other')
    >>> seated(Pod(2), Pod(1), 4, 2), seated(Pod(2), Pod(2), 4, 2), seated(Pod(4), Pod(4), 4, 2) is None
    ('other', 'mine', True)
    """
    for seat in seats.values():
        if seat.has(session_key):
            return seat
    if not seats:
        return None
    taken = {uid: seat.occupied() for uid, seat in seats.items()}
    share = -(-max_per_pod // gateways)
    for most in (min(share, bound(sum(taken.values()), len(taken))), max_per_pod):
        uid = ring.choose(session_key, lambda uid, most=most: taken.get(uid, most) < most)  # type: ignore[misc]
        if uid is not None:
            return seats[uid]
    return None
