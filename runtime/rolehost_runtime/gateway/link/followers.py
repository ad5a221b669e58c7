"""Readers of what a Role's logic printed: they hear every pod of the Role, also those that nobody links to otherwise."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from rolehost_api.errors import Overloaded, Unavailable
from rolehost_runtime.gateway.link.keeper import Keeper
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.logs import LogReader
from rolehost_runtime.gateway.tables import PodEntry, RoleEntry

MAX_SOUGHT = 64
"""Pods that one reader may have links made to at a time; those that are linked anyway are read as well."""
DIALS = 8
"""Of those, how many at once."""


@dataclass(eq=False, slots=True)
class Follower:
    """One reader of a Role's logs and what it asked of which link; both grow with the pods that come."""

    role: RoleEntry
    reader: LogReader
    after: int
    follow: bool
    asked: list[tuple[Link, int]] = field(default_factory=list)
    _heard: set[str] = field(default_factory=set)
    """Pods that were asked; one that does not follow asks each of them once."""
    _sought: dict[str, Keeper] = field(default_factory=dict)
    """Pods whose links are made, or were made, for this reader."""
    _seeking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _dials: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DIALS))

    def concerns(self, pod: PodEntry) -> bool:
        return (pod.tenant, pod.role) == (self.role.tenant, self.role.name)

    def ask(self, link: Link) -> None:
        """Read this link's pod too, if it is the Role's. Raises Overloaded where it has too many readers."""
        uid = link.pod_uid
        if not self.concerns(link.pod) or link.closed or (uid in self._heard and not self.follow):
            return
        self.asked = [(asked, request) for asked, request in self.asked if not asked.closed]
        self.asked.append((link, link.read_logs(self.reader, after=self.after, follow=self.follow)))
        self._heard.add(uid)

    def seek(self, keepers: Iterable[Keeper]) -> None:
        """Have links made to the Role's pods that have none, as many as one reader may."""
        gone = [uid for uid, keeper in self._sought.items() if uid not in self._seeking and keeper.usable is None]
        for uid in gone:
            del self._sought[uid]
        for keeper in keepers:
            uid = keeper.pod_uid
            if len(self._sought) >= MAX_SOUGHT:
                return
            if keeper.usable is not None or uid in self._seeking or not self.concerns(keeper.pod):
                continue
            self.reader.add(uid)
            self._sought[uid] = keeper
            task = self._seeking[uid] = asyncio.create_task(self._reach(keeper), name=f"logs-{uid}")
            task.add_done_callback(lambda _, uid=uid: self._found(uid))  # type: ignore[misc]

    async def _reach(self, keeper: Keeper) -> None:
        """Whoever makes the link stand asks on it for every reader."""
        with suppress(Unavailable):
            async with self._dials:
                await keeper.reach()

    def _found(self, uid: str) -> None:
        del self._seeking[uid]
        self.reader.end(uid)

    def end(self) -> None:
        for task in self._seeking.values():
            task.cancel()
        for link, request in self.asked:
            link.stop_logs(request)


class Followers(set[Follower]):
    """All readers of this gateway."""

    def ask(self, link: Link) -> None:
        """A link stands: whoever reads its Role's logs reads this pod's too."""
        for follower in self:
            with suppress(Overloaded):  # more readers than a link takes; the pod serves all the same
                follower.ask(link)

    def seek(self, keepers: Iterable[Keeper]) -> None:
        """Pods came or were lost: those who follow want to hear them."""
        for follower in self:
            if follower.follow:
                follower.seek(keepers)
