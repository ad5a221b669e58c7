"""How much of this process each tenant's sessions take, and who makes room when it is too much. Pure.

Counted are attached sessions and the folds of those that are awake. A fold is only a
copy of what the log says, so a session that is put to sleep loses nothing: its channels
stay, and its next turn reads the log again.
"""

from collections import OrderedDict
from collections.abc import Callable

from rolehost_api.errors import Overloaded

MAX_ATTACHED = 2_000
"""Sessions of one tenant that somebody listens to; a socket itself holds 32 of them at most."""
MAX_OF_USER = 64
"""Of them, sessions of one end user: whoever holds a token must not take all of the tenant's places."""
MAX_FOLD_BYTES = 268_435_456
"""All folds of this process together: 256 MiB."""
TENANT_SHARE = 4
"""One tenant's folds take a quarter of them, 64 MiB: 3,200 sessions of 20 KiB, or 30 that hold 512 Ki characters
of Chinese each (2 MiB)."""


class Room:
    def __init__(self, max_bytes: int = MAX_FOLD_BYTES, max_attached: int = MAX_ATTACHED) -> None:
        self._max_bytes, self._max_attached = max_bytes, max_attached
        self._attached: dict[str, set[str]] = {}
        self._of_user: dict[str, set[str]] = {}
        """By end user: their sessions among these."""
        self._whose: dict[str, str] = {}
        """By session: its end user, where it has one."""
        self._folds: dict[str, OrderedDict[str, int]] = {}
        """By tenant: its sessions that are awake, the longest silent first, and how heavy each is."""
        self._held: dict[str, int] = {}
        """By tenant: the sum of the above."""
        self._total = 0
        self._share = max_bytes // TENANT_SHARE
        self._over: set[str] = set()
        """Tenants over their share, so that nobody looks through all of them after each turn."""

    # ── attached sessions ───────────────────────────────────────────────────────────

    def enter(self, tenant: str, key: str, user: str = "") -> None:
        """Somebody listens to this session from now on; `user` is the end user's principal, empty for the tenant
        itself. Raises Overloaded `too_many_sessions`.
        """
        theirs = self._of_user.get(user, set())
        if user and key not in theirs and len(theirs) >= MAX_OF_USER:
            raise Overloaded(
                f"{MAX_OF_USER} sessions of this user are open on this gateway already",
                hint="Close sockets on which nobody speaks; a session that is closed loses nothing",
                code="too_many_sessions",
            )
        attached = self._attached.get(tenant, set())
        if key not in attached and len(attached) >= self._max_attached:
            raise Overloaded(
                f"{self._max_attached} sessions of this tenant are open on this gateway already",
                hint="Close sockets on which nobody speaks; a session that is closed loses nothing",
                code="too_many_sessions",
            )
        self._attached.setdefault(tenant, attached).add(key)
        if user:
            self._of_user.setdefault(user, theirs).add(key)
            self._whose[key] = user

    def leave(self, tenant: str, key: str) -> None:
        """Nobody does any more. Harmless where nobody did."""
        attached = self._attached.get(tenant, set())
        attached.discard(key)
        if not attached:
            self._attached.pop(tenant, None)
        user = self._whose.pop(key, "")
        theirs = self._of_user.get(user, set())
        theirs.discard(key)
        if not theirs:
            self._of_user.pop(user, None)

    # ── folds ───────────────────────────────────────────────────────────────────────

    def hold(self, tenant: str, key: str, weight: int) -> None:
        """This session is awake, weighs so much, and was heard of just now."""
        self.drop(tenant, key)
        self._folds.setdefault(tenant, OrderedDict())[key] = weight
        self._add(tenant, weight)
        if self._held[tenant] > self._share:
            self._over.add(tenant)

    def drop(self, tenant: str, key: str) -> None:
        """Its fold is gone. Harmless where it had none."""
        folds = self._folds.get(tenant, OrderedDict())
        if key in folds:
            self._add(tenant, -folds.pop(key))
        if not folds:
            self._folds.pop(tenant, None)
            self._held.pop(tenant, None)

    def excess(self, busy: Callable[[str], bool]) -> list[str]:
        """Sessions that must sleep now, already dropped here; those with a turn running are passed over.

        A tenant over its share pays for itself; where all together are over the bound, so does who holds most.
        With 100 bytes in all, thus 25 a tenant:

        >>> room = Room(max_bytes=100)
        >>> for key in ("a1", "a2", "a3"):
        ...     room.hold("a", key, 10)
        >>> room.hold("b", "b1", 20)
        >>> room.excess(busy=lambda key: key == "a1")     # a holds 30
        ['a2']
        """
        asleep: list[str] = []
        for tenant in tuple(self._over):
            asleep += self._sleepers(tenant, self._held.get(tenant, 0) - self._share, busy)
            if self._held.get(tenant, 0) <= self._share:
                self._over.discard(tenant)
        crowded = self._total > self._max_bytes
        for tenant in sorted(self._held, key=self._held.__getitem__, reverse=True) if crowded else ():
            asleep += self._sleepers(tenant, self._total - self._max_bytes, busy)
        return asleep

    def _sleepers(self, tenant: str, over: int, busy: Callable[[str], bool]) -> list[str]:
        """The tenant's longest silent sessions, until `over` bytes are free or all were looked at."""
        asleep: list[str] = []
        folds = self._folds.get(tenant, OrderedDict())
        for key, weight in tuple(folds.items()) if over > 0 else ():
            if over <= 0:
                break
            if busy(key):
                folds.move_to_end(key)  # it is not silent
                continue
            self.drop(tenant, key)
            asleep.append(key)
            over -= weight
        return asleep

    def _add(self, tenant: str, weight: int) -> None:
        self._held[tenant] = self._held.get(tenant, 0) + weight
        self._total += weight
