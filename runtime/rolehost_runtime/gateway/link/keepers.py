"""A keeper for every pod of the table, each told what this gateway has to do with its pod.

Level-triggered: whatever rang, the pods that it concerns are looked at as they are now,
and every few seconds all of them are, for time passes too.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link.binder import rank
from rolehost_runtime.gateway.link.followers import Followers
from rolehost_runtime.gateway.link.keeper import Keeper, Rows, Serve
from rolehost_runtime.gateway.tables import PodEntry, Tables

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often time itself is looked at: links that fell idle, pods that wait for too long."""


class Keepers(dict[str, Keeper]):
    """By their pods' UIDs. `members` are the gateways that are alive and not draining, `me` this one among them."""

    def __init__(
        self,
        tables: Tables,
        serve: Serve,
        ring: Callable[[], None],
        now_ms: Callable[[], int],
        *,
        me: str,
        members: Callable[[], Collection[str]],
        congested: Callable[[], bool],
        followers: Followers,
        backoff_seconds: Sequence[float],
    ) -> None:
        super().__init__()
        self._tables, self._serve, self._ring, self._now_ms = tables, serve, ring, now_ms
        self._me, self._members, self._congested = me, members, congested
        self._followers = followers
        self._backoff = backoff_seconds
        self._ranks: dict[str, int | None] = {}
        """This gateway's place in the order of each pod, among these members."""
        self._ranked_among: AbstractSet[str] = frozenset()
        self._doorbell = asyncio.Event()
        self._look_at_all = False
        self._stirred: set[str] = set()
        self._stirred_names: set[tuple[str, ...]] = set()
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._tables.pods.listen(self._pod_changed)
        self._tables.revisions.listen(self._name_changed)
        self._tables.roles.listen(self._name_changed)
        self.members_changed()
        self._watcher = asyncio.create_task(self._watch(), name="links")

    async def stop(self) -> None:
        """End every link."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        tasks = [task for keeper in self.values() if (task := keeper.stop()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self.clear()

    def alive(self) -> AbstractSet[str]:
        """The members. None at all are taken for this one alone: a pod that is bound twice is better than never."""
        return frozenset(self._members() or (self._me,))

    def members_changed(self) -> None:
        """Gateways came, went or began to drain: pods may have another binder."""
        self._look_at_all = True
        self._doorbell.set()

    def _pod_changed(self, key: tuple[str, ...]) -> None:
        self._stirred.add(key[0])
        self._doorbell.set()

    def _name_changed(self, key: tuple[str, ...]) -> None:
        """A Role's or a revision's row."""
        self._stirred_names.add(key)
        self._doorbell.set()

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._doorbell.wait()
            rung = self._doorbell.is_set()
            self._doorbell.clear()
            try:
                if rung and not self._look_at_all:
                    self._look_at(self._touched())
                else:
                    self.look()
            except Exception as error:  # a bug of ours: without this task no pod would ever be bound again
                faults.internal(log, "looking after links", error)
            if rung:
                self._ring()

    def look(self) -> None:
        """Make it so that every pod of the table has a keeper and no other has, and that each knows its duty."""
        self._look_at_all = False
        self._stirred.clear()
        self._stirred_names.clear()
        self._look_at({pod.uid for pod in self._tables.pods.values()} | self.keys())

    def _touched(self) -> AbstractSet[str]:
        """Pods whose own rows changed since, or those of their Role or revision: among thousands, mostly one."""
        uids, names = self._stirred, self._stirred_names
        self._stirred, self._stirred_names = set(), set()
        if names:
            for pod in self._tables.pods.values():
                namespace = pod.tenant.name
                if (namespace, pod.role) in names or (namespace, pod.revision) in names:
                    uids.add(pod.uid)
        return uids

    def _look_at(self, uids: AbstractSet[str]) -> None:
        now_ms, congested, members = self._now_ms(), self._congested(), self.alive()
        if members != self._ranked_among:
            self._ranks.clear()
            self._ranked_among = members
        for uid in uids:
            pod, keeper = self._tables.pods.get(uid), self.get(uid)
            if pod is None:
                self._ranks.pop(uid, None)
                if keeper is not None:
                    self.pop(uid).stop()
                continue
            if keeper is None:
                keeper = self[uid] = Keeper(pod, self._serve, self._ring, self._backoff)
            if uid not in self._ranks:
                self._ranks[uid] = rank(uid, self._me, members)
            keeper.look(pod, self.rows(pod), self._ranks[uid], now_ms, congested=congested)
        if self._followers:
            self._followers.seek([self[uid] for uid in uids & self.keys()])

    def rows(self, pod: PodEntry) -> Rows:
        """What a link to this pod is made of; where one of them changes, it is tried again at once."""
        tables, namespace = self._tables, pod.tenant.name
        return (
            tables.pods.get(pod.uid),
            tables.roles.get(namespace, pod.role),
            tables.revisions.get(namespace, pod.revision),
        )
