"""A link to every other gateway, kept up, and this gateway's clients relayed over them. Implements ports.Peers."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Protocol

from rolehost_api.errors import ProtocolViolation, RolehostError
from rolehost_api.link.messages import Message
from rolehost_api.link.peer import FORGETS, Attach, Forgotten, ToRelay
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.peers.connection import Connection
from rolehost_runtime.gateway.peers.identity import Prove
from rolehost_runtime.gateway.peers.lease import Lease
from rolehost_runtime.gateway.peers.relay import RemoteSeat
from rolehost_runtime.gateway.ports import Channel, Leases, OwnerLost
from rolehost_runtime.gateway.tables import GatewayEntry, Tables

log = logging.getLogger(__name__)

DIAL_SECONDS = 3.0
ATTACH_SECONDS = 5.0
LOOK_SECONDS = 0.25
"""How often it is looked whether a silent gateway still holds its lease."""
CERTAIN_SECONDS = 2.0
"""For seeing the others again, before it is gone by what is known."""
BACKOFF_SECONDS = (0.1, 0.3, 1.0, 2.0)
MAX_CHANNEL = 2**32 - 1


class PeerDialer(Protocol):
    async def dial(self, peer: GatewayEntry) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to a gateway that has shown the platform's certificate. Raises OSError."""


class _Link:
    """One link that we dialled, and the clients that are relayed over it."""

    def __init__(self, connection: Connection[ToRelay]) -> None:
        self.connection = connection
        self.why = ""
        """It was given up, where that was our decision."""
        self._seats: dict[int, RemoteSeat] = {}
        self._last = 0

    def open(self, asked: Attach, channel: Channel, moved: Callable[[], None]) -> RemoteSeat:
        if self._last == MAX_CHANNEL:
            self.connection.close()
            raise OwnerLost
        self._last += 1
        seat = self._seats[self._last] = RemoteSeat(self.connection, self._last, channel, moved, self._close)
        self.connection.send(self._last, asked)
        return seat

    def forgotten(self, key: str) -> None:
        """Harmless where it cannot be said any more: the other end meets it in the store."""
        if self.connection.protocol >= FORGETS and self._last < MAX_CHANNEL:
            self._last += 1
            self.connection.send(self._last, Forgotten(key=key))

    def _close(self, channel: int) -> None:
        self._seats.pop(channel, None)

    def receive(self, channel: int, message: Message) -> None:
        seat = self._seats.get(channel)
        if seat is not None:
            seat.receive(message)
        elif not 0 < channel <= self._last:
            raise ProtocolViolation("a gateway named a channel that was never opened")
        # else: it crossed with our Detach

    def lose(self) -> None:
        for seat in tuple(self._seats.values()):
            seat.lose()


class Mesh:
    def __init__(
        self,
        tables: Tables,
        dialer: PeerDialer,
        *,
        prove: Prove,
        me: str,
        pod: str,
        leases: Leases,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
    ) -> None:
        """`me` is this process's name, `pod` that of its row in the table, `prove` signs as the platform."""
        self.doubted: Callable[[], Awaitable[None]] = _nothing
        """Called when this process may have been taken for dead, once it has seen again who is alive."""
        self.given_up: Callable[[str], None] = lambda why: None
        """Told why a gateway is not among the owners any more: it `ended`, its `lease` did, or it was `silent`."""
        self.changed: Callable[[], None] = lambda: None
        """Called when members came or went."""
        self._tables, self._dialer, self._prove = tables, dialer, prove
        self._me, self._pod = me, pod
        self._backoff = backoff_seconds
        self._links: dict[str, _Link] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._untried: set[str] = set()
        self._standing: set[str] = set()
        """Pods whose links stand."""
        self._doubt: asyncio.Task[None] | None = None
        """Runs while this process, which may have been taken for dead, looks who is alive."""
        self._doorbell, self._tried = asyncio.Event(), asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._looker: asyncio.Task[None] | None = None
        self._leases = leases
        self._lease = Lease(leases, me, self._lapsed)
        self.leaving = False
        """Said to the others with every beat."""

    async def start(self) -> None:
        await self._lease.start()
        self._tables.gateways.listen(lambda _key: self._doorbell.set())
        self._doorbell.set()
        self._watcher = asyncio.create_task(self._watch(), name="peers")
        self._looker = asyncio.create_task(self._look(), name="leases")

    def leave(self) -> None:
        """This gateway is about to stop: it takes on nothing new, and says so with its next beat."""
        self.leaving = True
        self.changed()

    async def stop(self) -> None:
        await self._lease.stop()
        tasks = [*self._keepers.values()] + [
            task for task in (self._watcher, self._looker, self._doubt) if task is not None
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keepers.clear()

    # ── ports.Peers ─────────────────────────────────────────────────────────────────

    def owners(self) -> Collection[str]:
        return tuple(self._links)

    async def certain(self) -> None:
        """Not while the store is away: then nothing is taken from anybody anyway."""
        until = asyncio.get_running_loop().time() + CERTAIN_SECONDS
        while (self._looking_again or not self._lease.sure) and not self._lease.failing:
            if asyncio.get_running_loop().time() >= until:
                return
            await asyncio.sleep(LOOK_SECONDS / 10)

    @property
    def _looking_again(self) -> bool:
        return self._doubt is not None and not self._doubt.done()

    async def attach(self, owner: str, asked: Attach, channel: Channel, moved: Callable[[], None]) -> RemoteSeat | None:
        link = self._links.get(owner)
        if link is None:
            raise OwnerLost
        seat = link.open(asked, channel, moved)
        try:
            async with asyncio.timeout(ATTACH_SECONDS):
                return seat if await asyncio.shield(seat.taken) else None
        except TimeoutError:
            seat.leave()
            raise OwnerLost from None
        except BaseException:
            seat.leave()
            raise

    def forgotten(self, key: str) -> None:
        for link in tuple(self._links.values()):
            link.forgotten(key)

    # ── who is there ────────────────────────────────────────────────────────────────

    @property
    def members(self) -> frozenset[str]:
        """Names of the gateways that take on new work: this one, and every other whose link stands and that stays."""
        here = frozenset() if self.leaving else frozenset({self._me})
        return here | {name for name, link in self._links.items() if not link.connection.peer_leaves}

    @property
    def settled(self) -> bool:
        """Every gateway that is known was reached, or tried in vain: before that, one might be taken for dead."""
        return self._tables.gateways.filled and self._others() <= self._keepers.keys() and not self._untried

    async def until_settled(self) -> None:
        while not self.settled:
            self._tried.clear()
            await self._tried.wait()

    def _lapsed(self) -> None:
        if not self._looking_again:
            self._doubt = asyncio.create_task(self._look_again(), name="doubt")

    async def _look_again(self) -> None:
        """See who is alive before anything is taken from anybody: our links may have ended while we slept."""
        await asyncio.sleep(LOOK_SECONDS)  # what lies in the sockets is read first
        for link in tuple(self._links.values()):
            if link.connection.silent:
                link.connection.give_up()
        await asyncio.sleep(0)
        self._untried |= self._others() - self._standing
        with suppress(TimeoutError):
            async with asyncio.timeout(CERTAIN_SECONDS - LOOK_SECONDS):
                await self.until_settled()
        try:
            await self.doubted()
        except RolehostError as error:  # the store is away again; the next lapse looks again
            log.info("it was not found out who answers what was held here: %s", error.code)
        except Exception as error:
            faults.internal(log, "looking who answers what was held here", error)

    async def _look(self) -> None:
        """Give up the gateways that say nothing and whose leases ended."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name, link in tuple(self._links.items()):
                if link.connection.silent and self._lease.sure and not self._looking_again:
                    await self._judge(name, link)

    async def _judge(self, name: str, link: _Link) -> None:
        """Of one that says nothing. Where it holds its lease, or the store is away, its silence alone ends the link later."""
        try:
            held = await self._leases.held(name)
        except RolehostError as error:
            log.info("gateway %s is silent, and its lease cannot be looked at: %s", name, error.code)
            return
        except Exception as error:
            faults.internal(log, "looking at a lease", error)
            return
        if not held and link.connection.silent:  # still: it may have been we who were slow
            log.info("gateway %s is silent, and holds no lease", name)
            link.why = "lease"
            link.connection.give_up()

    def _others(self) -> set[str]:
        """Pods of the other gateways, linked or not."""
        return {row.name for row in self._tables.gateways.values()} - {self._pod}

    async def _watch(self) -> None:
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()
            known = self._others()
            for gone in self._keepers.keys() - known:
                self._keepers.pop(gone).cancel()
                self._untried.discard(gone)
            for new in known - self._keepers.keys():
                self._untried.add(new)
                self._keepers[new] = asyncio.create_task(self._keep(new), name=f"peer-{new}")
            self._tried.set()

    async def _keep(self, pod: str) -> None:
        attempt = 0
        while (row := self._tables.gateways.get(pod)) is not None:
            try:
                attempt = 0 if await self._serve(row) else attempt + 1
            except (OSError, TimeoutError, RolehostError) as error:
                log.info("gateway %s is not reached: %s", pod, type(error).__name__)
                attempt += 1
            except Exception as error:
                faults.internal(log, "keeping a gateway's link", error)
                attempt += 1
            self._untried.discard(pod)
            self._tried.set()
            pause = self._backoff[min(attempt, len(self._backoff) - 1)]
            await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))

    async def _serve(self, row: GatewayEntry) -> bool:
        """One link's whole life; whether the peer said who it is."""
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await self._dialer.dial(row)
        connection: Connection[ToRelay] = Connection(
            reader, writer, kind=ToRelay, me=self._me, leaving=lambda: self.leaving, prove=self._prove
        )
        link = _Link(connection)

        def news() -> None:
            if connection.peer not in self._links:
                self._links[connection.peer] = link
                self._standing.add(row.name)
                self._untried.discard(row.name)
                self._tried.set()
                log.info("linked to gateway %s", connection.peer)
            self.changed()

        try:
            await connection.run(link.receive, news)
        finally:
            if self._links.get(connection.peer) is link:
                del self._links[connection.peer]
                self._standing.discard(row.name)
                if not connection.peer_leaves:
                    self.given_up(link.why or ("silent" if connection.silent else "ended"))
                log.info("the link to gateway %s ended", connection.peer)
                self.changed()
            link.lose()
        return bool(connection.peer)


async def _nothing() -> None:
    """Nobody has sessions here."""
