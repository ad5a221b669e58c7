"""Many servers, each with some of the slots."""

import random
from collections.abc import Collection, Iterable

from rolehost_runtime.gateway.broker.state.resp.address import Address, Target
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, ask
from rolehost_runtime.gateway.broker.state.resp.node import Node
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal
from rolehost_runtime.gateway.broker.state.resp.slots import SLOTS, ranges, slot_of
from rolehost_runtime.gateway.broker.state.resp.topology import MANY


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
