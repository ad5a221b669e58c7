"""Asks for what the operator keeps in tenant namespaces and does not watch.

One Secret, which it may get by its name and in no other way, and the ConfigMap beside it.
Asked when a Role of the namespace is looked after, so at every change there and at every
resync, but not more often than is worth it.
"""

import asyncio
from collections.abc import Callable, Set

from rolehost_api.names import LINK_SECRET, PLATFORM_KEYS
from rolehost_operator.kube.client import Client
from rolehost_operator.kube.world import World
from rolehost_operator.observed import Key

FRESH_SECONDS = 30.0
"""How long an answer stands. However many Roles a namespace has, it is asked about this often at most."""
KEPT = (("Secret", LINK_SECRET), ("ConfigMap", PLATFORM_KEYS))


class Unwatched:
    """Bounded by the tenant namespaces that have Roles."""

    def __init__(self, client: Client, world: World, ring: Callable[[Key], None], now: Callable[[], float]) -> None:
        """`now` is a clock in seconds that never goes back."""
        self._client, self._world, self._ring, self._now = client, world, ring, now
        self._asked: dict[str, tuple[str, float]] = {}
        """By namespace: its UID, and when it was asked for."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def look(self, namespace: str) -> None:
        """After this, what the world does not hold of the two is not there. Raises ApiError.

        What was seen in a namespace of the same name is no news of the one that took its place.
        """
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            uid, now = self._world.namespace_uid(namespace), self._now()
            before_uid, asked = self._asked.get(namespace, (uid, now - FRESH_SECONDS))
            if before_uid == uid and now - asked < FRESH_SECONDS:
                return
            known = namespace in self._asked
            concerned: set[Key] = set()
            for kind, name in KEPT:
                before = self._world.version_of(kind, namespace, name)
                raw = await self._client.get("v1", kind, namespace, name)
                if raw is not None:
                    concerned |= self._world.put({**raw, "apiVersion": "v1", "kind": kind})
                else:
                    concerned |= self._world.gone(kind, namespace, name, before)
            self._asked[namespace] = uid, now
        if known:  # the first answer is no news: its Roles are being looked after anyway
            for key in concerned:
                self._ring(key)

    def keep(self, namespaces: Set[str]) -> None:
        """Forget those without Roles."""
        for namespace in self._asked.keys() - namespaces:
            del self._asked[namespace]
        for namespace in [name for name, lock in self._locks.items() if name not in namespaces and not lock.locked()]:
            del self._locks[namespace]
