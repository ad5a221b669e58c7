"""Which pod serves a session. Pure."""

import hashlib
from collections.abc import Iterable
from typing import Protocol, TypeVar


class Seat(Protocol):
    """A pod that could take the session."""

    @property
    def pod_uid(self) -> str: ...
    def has(self, session_key: str) -> bool: ...
    def occupied(self) -> int: ...


S = TypeVar("S", bound=Seat)


def ranked(session_key: str, seats: Iterable[S]) -> list[S]:
    """The pods in the session's own order of preference (rendezvous hashing).

    When a pod comes or goes only the sessions that prefer it move: 1/n of them.

    >>> class Pod:
    ...     def __init__(self, uid: str) -> None: self.pod_uid = uid
    ...     def has(self, session_key: str) -> bool: return False
    ...     def occupied(self) -> int: return 0
    >>> three = [Pod("a"), Pod("b"), Pod("c")]
    >>> first = ranked("s1", three)[0]
    >>> ranked("s1", [pod for pod in three if pod is not ranked("s1", three)[2]])[0] is first
    True
    """
    return sorted(seats, key=lambda seat: score(session_key, seat.pod_uid), reverse=True)


def score(chooser: str, chosen: str) -> bytes:
    """How much the one likes the other; the same everywhere and for ever."""
    return hashlib.blake2b(f"{chooser}/{chosen}".encode(), digest_size=8).digest()


def choose(session_key: str, seats: Iterable[S], max_per_pod: int, gateways: int = 1) -> S | None:
    """Where the session sits already, else its most preferred pod with room; None: all are full.

    A gateway counts the sessions that it sent to a pod itself. Of several, each fills pods
    to its share of `max_per_pod` first, and goes on to the whole of it only where no pod
    has room in its share. So the bound holds for a pod (rounded up to a multiple of the
    gateways) as long as sessions are spread evenly over gateways; where they are not, a
    turn is served rather than refused, and a pod may get up to `gateways` times as many.

    >>> class Pod:
    ...     def __init__(self, uid: str, taken: int) -> None: self.pod_uid, self.taken = uid, taken
    ...     def has(self, session_key: str) -> bool: return False
    ...     def occupied(self) -> int: return self.taken
    >>> first = ranked("s1", [Pod("a", 0), Pod("b", 0)])[0].pod_uid
    >>> full, empty = Pod(first, 2), Pod("b" if first == "a" else "a", 0)
    >>> choose("s1", [full, empty], 4) is full, choose("s1", [full, empty], 4, gateways=2) is empty
    (True, True)
    >>> choose("s1", [full], 4, gateways=2) is full, choose("s1", [full], 2, gateways=2)
    (True, None)
    """
    order = ranked(session_key, seats)
    for seat in order:
        if seat.has(session_key):
            return seat
    for most in sorted({-(-max_per_pod // gateways), max_per_pod}):
        for seat in order:
            if seat.occupied() < most:
                return seat
    return None
