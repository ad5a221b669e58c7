"""Records and loads for tests of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import Head

RETRY_SECONDS = 0.05
T = TypeVar("T")


def turn(head: Head, number: int, text: str = "") -> TurnRecord:
    """The record of turn `number`, with one event."""
    return TurnRecord(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=number,
        seq_first=number,
        seq_count=1,
        version=0,
        now_ms=number,
        at_ms=number,
        revision="cat-1",
        response_id=f"r{number}",
        input="",
        reply=text or f"turn {number}",
    )


@dataclass
class Talk:
    """One session that commits turn after turn, each again until it is acknowledged."""

    store: RedisSessionStore
    key: str
    acknowledged: int = 0
    refused: list[str] = field(default_factory=list)
    slowest: float = 0.0

    async def run(self, until: Callable[[], bool]) -> None:
        head, _ = await persistently(lambda: self.store.open(self.key))
        loop = asyncio.get_running_loop()
        while not until():
            record = turn(head, self.acknowledged + 1)
            while True:
                began = loop.time()
                try:
                    await self.store.commit(self.key, record)
                    self.acknowledged += 1
                    break
                except (Unavailable, Overloaded) as away:
                    self.refused.append(away.code)
                    self.slowest = max(self.slowest, loop.time() - began)
                    await asyncio.sleep(RETRY_SECONDS)


async def persistently(operation: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T:
    """What `operation` gives, asked again while the store is away."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await operation()
        except RolehostError as away:
            if not isinstance(away, Unavailable | Overloaded) or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)
