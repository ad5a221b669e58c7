"""Which server a key is at: the port, and its simplest case."""

from collections.abc import Collection
from typing import Protocol

from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting
from rolehost_runtime.gateway.broker.state.resp.node import Node

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
