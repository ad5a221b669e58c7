"""The server that Sentinels call master, if it says so itself."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

from rolehost_runtime.gateway.broker.state.resp.address import Address, Target
from rolehost_runtime.gateway.broker.state.resp.greeting import Greeting, ask
from rolehost_runtime.gateway.broker.state.resp.node import Node
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal
from rolehost_runtime.gateway.broker.state.resp.topology import MANY


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
