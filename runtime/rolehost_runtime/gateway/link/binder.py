"""Which gateway binds a pod, and when another one steps in for it. Pure.

Every gateway knows every pod, and one of them is enough to bind it: a thousand pods must
not be given their bundles once by each. They agree without a word, by rendezvous hash.

The pod's binder, rank 0 in that order, links to it of its own accord and stays linked: it
binds it, notices when it dies, and gives the operator its word on it. The others link
when a turn or a reader of logs needs the pod. If the pod is not Ready long after it
turned up, its binder may be cut off from it, or dead before anybody noticed: the next in
order steps in, then the one after it. A pod says in its Hello if somebody is binding it,
so stepping in, or coming back as its binder, sends nothing twice; and where two Binds do
cross, the pod is bound by one of them, and the other has the same answer.
"""

import hashlib
from collections.abc import Iterable

STEP_IN_SECONDS = 10
"""More than a pod takes from its address to its agent, and little beside what a host takes to come back."""


def score(chooser: str, chosen: str) -> bytes:
    """How much the one likes the other; the same everywhere and for ever."""
    return hashlib.blake2b(f"{chooser}/{chosen}".encode(), digest_size=8).digest()


def order(pod_uid: str, members: Iterable[str]) -> list[str]:
    """The members in this pod's own order; the first is its binder.

    When a member comes or goes, only the pods that it binds change their binder: 1/n of them.

    >>> pods = [f"pod-{number}" for number in range(3000)]
    >>> three = {pod: order(pod, ["a", "b", "c"])[0] for pod in pods}
    >>> four = {pod: order(pod, ["a", "b", "c", "d"])[0] for pod in pods}
    >>> moved = [pod for pod in pods if three[pod] != four[pod]]
    >>> {four[pod] for pod in moved}, 700 < len(moved) < 800
    ({'d'}, True)
    """
    return sorted(members, key=lambda member: score(member, pod_uid), reverse=True)


def rank(pod_uid: str, me: str, members: Iterable[str]) -> int | None:
    """This gateway's place in the pod's order; None where it is no member (it is draining).

    >>> [rank("pod-1", me, ["a", "b", "c"]) for me in order("pod-1", ["a", "b", "c"])], rank("pod-1", "d", ["a"])
    ([0, 1, 2], None)
    """
    ranking = order(pod_uid, members)
    return ranking.index(me) if me in ranking else None


def on_duty(rank: int | None, *, waited_ms: int | None) -> bool:
    """Whether a gateway links to a pod of its own accord, and may bind it.

    `waited_ms` is for how long the pod has waited to be bound, as this gateway sees it;
    None: it is bound. Each rank waits `STEP_IN_SECONDS` more than the one before it.

    >>> on_duty(0, waited_ms=None), on_duty(1, waited_ms=None), on_duty(None, waited_ms=100_000)
    (True, False, False)
    >>> on_duty(1, waited_ms=9_999), on_duty(1, waited_ms=10_000)
    (False, True)
    >>> on_duty(2, waited_ms=10_000), on_duty(2, waited_ms=20_000)
    (False, True)
    """
    if rank is None:
        return False
    return rank == 0 or (waited_ms is not None and waited_ms >= rank * STEP_IN_SECONDS * 1000)
