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
    return sorted(seats, key=lambda seat: _score(session_key, seat.pod_uid), reverse=True)


def _score(session_key: str, pod_uid: str) -> bytes:
    return hashlib.blake2b(f"{session_key}/{pod_uid}".encode(), digest_size=8).digest()


def choose(session_key: str, seats: Iterable[S], max_per_pod: int) -> S | None:
    """Where the session sits already, else its most preferred pod with room; None: all are full."""
    order = ranked(session_key, seats)
    for seat in order:
        if seat.has(session_key):
            return seat
    return next((seat for seat in order if seat.occupied() < max_per_pod), None)
