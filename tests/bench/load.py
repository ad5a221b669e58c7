"""People who talk at a fixed rate, whatever the server does about it."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from tests.bench import machine
from tests.bench.harness import Round
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

FIRST = {"response.output_text.delta", "response.done"}
TURN_SECONDS = 30


class Talker:
    """One socket with one session; one turn at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._session = f"bench-{uuid.uuid4().hex}"
        self._turn = asyncio.Lock()

    async def say(self, message: str, due: float) -> float | None:
        """Milliseconds from when the message was due to the first frame of its answer; None where it failed.

        From when it was *due*: a message that had to wait for its turn has waited.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    return await self._say(message, due)
            except (TimeoutError, WebSocketException):
                return None

    async def _say(self, message: str, due: float) -> float | None:
        await self._socket.send(json.dumps({"message": message, "session_id": self._session}))
        first: float | None = None
        while True:
            frame = json.loads(await self._socket.recv())
            if frame["type"] == "error" or frame.get("status") == "failed":
                return None
            if first is None and frame["type"] in FIRST:
                first = (time.perf_counter() - due) * 1000
            if frame.get("done"):
                return first


@asynccontextmanager
async def talkers(
    url: str, count: int, key: str = "", dial: Callable[[], socket.socket] | None = None
) -> AsyncIterator[list[Talker]]:
    """`count` sockets, open and warm: each has had a first turn. `dial` connects where we cannot by ourselves."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            opened = connect(
                url, additional_headers=headers, compression=None, proxy=None, sock=dial() if dial else None
            )
            found.append(Talker(await stack.enter_async_context(opened)))
        for talker in found:
            await _warm(talker, url)
        yield found


async def _warm(talker: Talker, url: str) -> None:
    """A first turn; a server that is just starting may refuse some."""
    deadline = time.perf_counter() + TURN_SECONDS
    while await talker.say("hello", time.perf_counter()) is None:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{url} does not answer")
        await asyncio.sleep(0.2)


async def talk(people: list[Talker], *, rate: float, seconds: float, servers: Callable[[], Iterable[int]]) -> Round:
    """An open loop: message i is due at i/rate, by the next person in turn, answered or not."""
    began = time.perf_counter()
    pids = set(servers())
    cpu = machine.cpu_us(pids)
    count = int(rate * seconds)
    waiting = []
    for number in range(count):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        waiting.append(asyncio.create_task(people[number % len(people)].say(f"message {number}", due)))
    answers = await asyncio.gather(*waiting)
    spent = machine.cpu_us(pids) - cpu
    timed = tuple(one for one in answers if one is not None)
    return Round(units=len(timed), latencies_ms=timed, cpu_us=spent if pids else None, failures=count - len(timed))
