"""One server and our sockets to it: one for writes, one for reads, each opened when needed and replaced when broken."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

from rolehost_runtime.gateway.broker.state.resp.address import Address
from rolehost_runtime.gateway.broker.state.resp.call import Call
from rolehost_runtime.gateway.broker.state.resp.connection import Connection, connect
from rolehost_runtime.gateway.broker.state.resp.greeting import OPEN_SECONDS, Demoted, Greeting
from rolehost_runtime.gateway.broker.state.resp.refusals import Refusal, Remedy, meaning

WRITES, READS = 0, 1
"""Lanes: a page of a log may have megabytes, and no turn waits behind one."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


def pause(failures: int, spread: Callable[[], float] = random.random) -> float:
    """Seconds before the next try to connect: none after the first loss, then doubling, half of it by chance.

    >>> [pause(failures, lambda: 1.0) for failures in (0, 1, 2, 3, 9)], pause(1, lambda: 0.0)
    ([0.0, 0.05, 0.1, 0.2, 1.0], 0.025)
    """
    if failures <= 0:
        return 0.0
    whole = float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (min(failures, 16) - 1)))
    return whole * (0.5 + 0.5 * spread())


class Lane:
    __slots__ = ("connection", "failures", "opening", "waiting")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.waiting: deque[Call] = deque()
        self.failures = 0


class Node:
    def __init__(self, address: Address, greeting: Greeting) -> None:
        self.address = address
        self._greeting = greeting
        self._lanes = (Lane(), Lane())
        self._closed = False

    def send(self, call: Call) -> None:
        lane = self._lanes[call.lane]
        connection = lane.connection
        if connection is not None:
            connection.send(call)
            return
        if self._closed:
            call.lost()
            return
        lane.waiting.append(call)
        if lane.opening is None:
            lane.opening = asyncio.create_task(self._open(lane), name="redis connection")

    async def _open(self, lane: Lane) -> None:
        """Connect, and send what waits; or tell what waits that it cannot be."""
        await asyncio.sleep(pause(lane.failures))
        made: list[Connection] = []
        refusal: Refusal | None = None

        def broken(connection: Connection) -> None:
            if lane.connection is connection:
                lane.connection = None

        try:
            async with asyncio.timeout(OPEN_SECONDS):
                made.append(await connect(self.address, self._greeting.tls, self._greeting.replicas, broken))
                await self._greeting.say(made[0])
            if not made[0].usable:
                raise ConnectionResetError("the connection broke")
            lane.connection, lane.failures = made[0], 0
        except (OSError, TimeoutError, Demoted, Refusal) as error:
            lane.failures += 1
            refusal = error if isinstance(error, Refusal) else None
            for connection in made:
                connection.abort()
        except asyncio.CancelledError:
            for connection in made:
                connection.abort()
            raise
        finally:
            lane.opening = None
        waiting, lane.waiting = lane.waiting, deque()
        for call in waiting:
            if lane.connection is not None:
                lane.connection.send(call)
            elif refusal is not None and meaning(refusal).remedy is Remedy.TELL:
                call.desk.hopeless(call, refusal)
            else:
                call.trouble = refusal or call.trouble
                call.lost()

    def break_stalled(self, now: float) -> None:
        for lane in self._lanes:
            if lane.connection is not None and lane.connection.stalled(now):
                self._drop(lane)

    def drop(self) -> None:
        """It is not what it was taken for: what comes next connects, and looks, anew."""
        for lane in self._lanes:
            self._drop(lane)

    @staticmethod
    def _drop(lane: Lane) -> None:
        connection, lane.connection = lane.connection, None
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """For good. What waits is lost; whoever asked may ask elsewhere."""
        self._closed = True
        self.drop()
        for lane in self._lanes:
            if lane.opening is not None:
                lane.opening.cancel()
                lane.opening = None
            waiting, lane.waiting = lane.waiting, deque()
            for call in waiting:
                call.lost()
