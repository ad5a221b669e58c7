"""Which server a key is at. One server; the one that Sentinels call master; or many, by slot."""

import asyncio
import random
from collections.abc import Collection, Iterable
from typing import Any, Protocol

from rolehost_runtime.gateway.broker.state.resp.address import Address, Kind, Target
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, ask
from rolehost_runtime.gateway.broker.state.resp.node import Node
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal
from rolehost_runtime.gateway.broker.state.resp.slots import SLOTS, ranges, slot_of

MANY = 1_000


class Topology(Protocol):
    losses: int
    """How often one call may lose its connection before it is given up; its deadline may come first."""
    fixed: bool
    """There is nothing to look for."""

    def node(self, key: bytes) -> Node | None:
        """Where the key is, as far as is known; None: nobody knows, look."""

    def nodes(self) -> Collection[Node]:
        """Every server that takes writes, as far as is known."""

    async def look(self) -> bool:
        """Ask who is where. False: nobody said, or nothing that could be."""

    def moved(self, slot: int, address: Address) -> None:
        """A node said that another one has this slot now."""

    def at(self, address: Address) -> Node:
        """The node at an address that another one named."""

    def close(self) -> None: ...


class Single:
    losses = 4
    """Three pauses, a third of a second in all: a server that is away says so by refusing, and is told of soon."""
    fixed = True

    def __init__(self, address: Address, greeting: Greeting) -> None:
        self._node = Node(address, greeting)

    def node(self, key: bytes) -> Node | None:
        return self._node

    def nodes(self) -> Collection[Node]:
        return (self._node,)

    async def look(self) -> bool:
        return True

    def moved(self, slot: int, address: Address) -> None:
        pass

    def at(self, address: Address) -> Node:
        return self._node

    def close(self) -> None:
        self._node.close()


class Sentinels:
    """The master is whom the newest epoch names, and only if it says so itself."""

    losses = MANY
    fixed = False

    def __init__(self, target: Target, greeting: Greeting, sentinel: Greeting) -> None:
        self._target, self._greeting, self._sentinel = target, greeting, sentinel
        self._master: Node | None = None

    def node(self, key: bytes) -> Node | None:
        return self._master

    def nodes(self) -> Collection[Node]:
        return () if self._master is None else (self._master,)

    async def look(self) -> bool:
        found = newest(await self._said())
        if found is None:
            return False
        if self._master is None or self._master.address != found:
            before, self._master = self._master, Node(found, self._greeting)
            if before is not None:
                before.close()
        return True

    async def _said(self) -> list[tuple[int, Address]]:
        """What Sentinels answer until most of them have: one that is cut off may tell of old times."""
        addresses = self._target.addresses
        asked = [asyncio.ensure_future(self._ask(address)) for address in addresses]
        said: list[tuple[int, Address]] = []
        try:
            for answer in asyncio.as_completed(asked):
                found = await answer
                said += [found] if found else []
                if len(said) > len(addresses) // 2:
                    break
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return said

    async def _ask(self, sentinel: Address) -> tuple[int, Address] | None:
        words = ("SENTINEL", "MASTER", self._target.master)
        try:
            try:
                answer = await ask(sentinel, self._sentinel, *words)
            except Refusal as refusal:
                if refusal.word != "NOAUTH":
                    return None
                answer = await ask(sentinel, self._greeting_for_sentinels(), *words)
            return master_of(answer)
        except (OSError, TimeoutError, Refusal, ValueError):
            return None

    def _greeting_for_sentinels(self) -> Greeting:
        """A Sentinel that asks for a password gets the one that we have."""
        return Greeting(password=self._greeting.password, tls=self._sentinel.tls, name=self._sentinel.name)

    def moved(self, slot: int, address: Address) -> None:
        pass

    def at(self, address: Address) -> Node:
        raise KeyError("no Sentinel names slots")

    def close(self) -> None:
        if self._master is not None:
            self._master.close()


def master_of(answer: Any) -> tuple[int, Address]:
    """Configuration epoch and address in an answer to SENTINEL MASTER. Raises ValueError.

    >>> master_of([b"name", b"m", b"ip", b"10.0.0.1", b"port", b"6379", b"config-epoch", b"3", b"flags", b"master"])
    (3, Address(host='10.0.0.1', port=6379, path=''))
    """
    try:
        words = [word.decode() for word in answer]
        found = dict(zip(words[::2], words[1::2], strict=True))
        return int(found["config-epoch"]), Address(found["ip"], int(found["port"]))
    except (AttributeError, KeyError, TypeError, UnicodeDecodeError):
        raise ValueError("no answer of a Sentinel") from None


def newest(said: Iterable[tuple[int, Address]]) -> Address | None:
    """Whom the newest configuration names.

    >>> newest([(3, Address("old", 1)), (4, Address("new", 1)), (3, Address("old", 1))]), newest([])
    (Address(host='new', port=1, path=''), None)
    """
    best = max(said, key=lambda one: one[0], default=None)
    return None if best is None else best[1]


class Cluster:
    losses = MANY
    fixed = False

    def __init__(self, target: Target, greeting: Greeting, question: Greeting) -> None:
        self._target, self._greeting, self._question = target, greeting, question
        self._slots: list[Node | None] = [None] * SLOTS
        self._nodes: dict[Address, Node] = {}
        self._primaries: tuple[Node, ...] = ()

    def node(self, key: bytes) -> Node | None:
        return self._slots[slot_of(key)]

    def nodes(self) -> Collection[Node]:
        return self._primaries

    async def look(self) -> bool:
        """The map, from whoever answers first of those that are known, by chance: one that is cut off knows an old one."""
        known = list({*self._nodes, *self._target.addresses})
        random.shuffle(known)
        for address in known:
            try:
                answer = await ask(address, self._question, "CLUSTER", "SLOTS")
                found = list(ranges(answer, address))
            except (OSError, TimeoutError, Refusal, ValueError):
                continue
            if found:
                self._take(found)
                return True
        return False

    def _take(self, found: Iterable[tuple[int, int, Address]]) -> None:
        slots: list[Node | None] = [None] * SLOTS
        for first, last, address in found:
            slots[first : last + 1] = [self.at(address)] * (last + 1 - first)
        self._slots = slots
        self._primaries = tuple({id(node): node for node in slots if node is not None}.values())
        for address, node in tuple(self._nodes.items()):
            if node not in self._primaries:
                del self._nodes[address]
                node.close()

    def moved(self, slot: int, address: Address) -> None:
        if 0 <= slot < SLOTS:
            self._slots[slot] = node = self.at(address)
            if node not in self._primaries:
                self._primaries += (node,)

    def at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(address, self._greeting)
        return node

    def close(self) -> None:
        for node in self._nodes.values():
            node.close()


def topology_of(target: Target, greeting: Greeting) -> Topology:
    """`greeting` is what servers of data hear; questions about them need less."""
    if target.kind is Kind.CLUSTER:
        question = Greeting(user=greeting.user, password=greeting.password, tls=greeting.tls, name=greeting.name)
        return Cluster(target, greeting, question)
    if target.kind is Kind.SENTINEL:
        return Sentinels(target, greeting, Greeting(tls=greeting.tls, name=greeting.name))
    return Single(target.addresses[0], greeting)
