"""A process of many clients that lose their server at one instant and come back.

    python -m tests.bench.herd '{"key": …, "roles": […], "first": 0, "count": 2500, "after_seq": 40}'

Told what to do by lines of JSON on its standard input, it answers each by one on its output:

    {"do": "come", "port": 1, "rate": 500}                          → {"here": 2500, …}
    {"do": "lose", "port": 2, "jitter": 5, "after_seq": 36, …}      → {"armed": true}, and once all are back the figures
    {"do": "say", "count": 20, "message": "…"}                      → {"said": ["…", …], "wrong": 0}
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop
from tests.bench.heard import Heard
from tests.bench.lean import Lean, head, text

from rolehost.client.pauses import LOAD_MS, LOSS_MS, next_pause

CONNECT_SECONDS = 10.0
"""For one try, as the client library gives it."""
TURN_SECONDS = 30.0


class Frame(msgspec.Struct):
    type: str
    seq: int | None = None
    to_seq: int = 0
    gap: bool = False
    message: str = ""
    done: bool = False


decode = msgspec.json.Decoder(Frame).decode


@dataclass(slots=True)
class Orders:
    """Where to go after a loss, and how."""

    port: int
    jitter: float
    after_seq: int
    seed: int


@dataclass(slots=True)
class Account:
    """What happened to one client since the loss; times are seconds of this machine's monotonic clock."""

    lost_at: float
    delay: float
    tries: int = 0
    refused: int = 0
    back_at: float | None = None
    heard: Heard = field(default_factory=lambda: Heard(0))


class Client(Lean):
    """One socket at a time of one session."""

    def __init__(self, herd: "Herd", number: int) -> None:
        super().__init__()
        self.herd, self.number = herd, number
        self.heard = Heard(0)
        self.account: Account | None = None
        self.saying: asyncio.Future[Frame] | None = None
        self._pause = 0
        self._try: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ── lean.Lean ───────────────────────────────────────────────────────────────────

    def request(self) -> bytes:
        return self.herd.request(self.number, self.heard.after_seq)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.saying is not None and not self.saying.done():
            self.saying.set_exception(ConnectionError("lost in mid-turn"))
        if self.herd.orders is not None:
            self._lost(self.herd.orders)
        else:
            self.herd.broken += 1

    # ── what it hears ───────────────────────────────────────────────────────────────

    def told(self, body: bytes) -> None:
        frame = decode(body)
        if frame.type == "session.resumed":
            self.herd.gaps += frame.gap
            self.heard.promised(frame.to_seq)
        elif frame.type == "error":
            self.refused()
            return
        elif frame.seq is not None:
            self.heard.event(frame.seq)
        if frame.done and self.saying is not None and not self.saying.done():
            self.saying.set_result(frame)
        if self.heard.whole and (self.account is None or self.account.back_at is None):
            self._is_back()

    def _is_back(self) -> None:
        self._disarm()
        self._pause = 0
        if self.account is not None:
            self.account.back_at = time.monotonic()
            self.account.heard = self.heard
        self.herd.is_back(self)

    def refused(self) -> None:
        if self.account is not None:
            self.account.refused += 1
        self._pause = max(self._pause, LOAD_MS)
        if self.transport is not None:
            self.transport.abort()

    # ── coming, and coming back ─────────────────────────────────────────────────────

    def come(self, port: int, after_seq: int) -> None:
        self.heard = Heard(after_seq)
        self._try = asyncio.get_running_loop().create_task(self._connect(port))

    async def _connect(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: self, "127.0.0.1", port)
        except (OSError, TimeoutError):
            if self.transport is not None:  # it was there in the very moment: its loss tells the rest
                self.transport.abort()
            elif self.herd.orders is not None:
                self._lost(self.herd.orders)
            else:
                self.herd.broken += 1
        else:
            if not self.heard.whole:  # a quick server has said all before this task has its turn again
                self._timer = loop.call_later(CONNECT_SECONDS, self.refused)

    def _lost(self, orders: Orders) -> None:
        """The first time by the jitter that was told, and then as the client library pauses."""
        self._disarm()
        draw = self.herd.random.random()
        if self.account is None or self.account.back_at is not None:
            wait = draw * orders.jitter
            self.account = Account(time.monotonic(), wait)
        else:
            self._pause = next_pause(draw, self._pause, LOAD_MS if self._pause >= LOAD_MS else LOSS_MS)
            wait = self._pause / 1000
        asyncio.get_running_loop().call_later(wait, self._again, orders)

    def _again(self, orders: Orders) -> None:
        if self.account is not None:
            self.account.tries += 1
        self.come(orders.port, orders.after_seq)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def say(self, message: str) -> "asyncio.Future[Frame]":
        assert self.transport is not None
        self.saying = asyncio.get_running_loop().create_future()
        self.transport.write(text(json.dumps({"message": message}).encode()))
        return self.saying


class Herd:
    def __init__(self, key: str, roles: list[list[str]], first: int, count: int, after_seq: int) -> None:
        """`roles`: [key, path] by turns, as one tenant has no room for so many. `after_seq`: the logs' end."""
        self._after_seq, self._roles = after_seq, roles
        self._word = key
        self.clients = [Client(self, number) for number in range(first, first + count)]
        self.orders: Orders | None = None
        self.random = random.Random(first)
        self.broken = self.gaps = self._back = 0
        self._all_back = asyncio.Event()

    def request(self, number: int, after_seq: int) -> bytes:
        key, path = self._roles[number % len(self._roles)]
        return head(
            f"{path}?session_id={self._word}{number}&after_seq={after_seq}",
            "Sec-WebSocket-Protocol: role.v1",
            f"Authorization: Bearer {key}",
        )

    def is_back(self, client: Client) -> None:
        self._back += 1
        if self._back == len(self.clients):
            self._all_back.set()

    async def come(self, port: int, rate: float, seconds: float) -> dict[str, Any]:
        """Everybody connects, so many a second, and has heard all."""
        began = time.monotonic()
        self.orders = Orders(port, 1.0, self._after_seq, 0)  # a machine that is busy may refuse some at first
        for number, client in enumerate(self.clients):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            client.come(port, self._after_seq)
        await self._until_back(seconds)
        self.orders = None
        for client in self.clients:
            client.account = None
        return {"here": self._back, "broken": self.broken, "gaps": self.gaps}

    def lose(self, **orders: Any) -> dict[str, Any]:
        self._back = self.gaps = self.broken = 0
        self._all_back.clear()
        self.orders = Orders(**orders)
        return {"armed": True}

    async def back(self, seconds: float) -> dict[str, Any]:
        """Once everybody is back, or the time is over: what happened to each."""
        await self._until_back(seconds)
        accounts = [client.account for client in self.clients if client.account is not None]
        done = [one for one in accounts if one.back_at is not None]
        self.orders = None
        return {
            "lost": len(self.clients) - len(done),
            "took_ms": [round((one.back_at - one.lost_at) * 1000, 2) for one in done if one.back_at],
            "delay_ms": [round(one.delay * 1000, 2) for one in done],
            "tries": sum(one.tries for one in accounts),
            "refused": sum(one.refused for one in accounts),
            "doubled": sum(one.heard.doubled for one in done),
            "skipped": sum(one.heard.skipped for one in done),
            "gaps": self.gaps,
        }

    async def say(self, count: int, message: str) -> dict[str, Any]:
        """The first `count` clients of the first Role say a word, one after the other."""
        said, wrong = [], 0
        for client in [one for one in self.clients if one.number % len(self._roles) == 0][:count]:
            before = client.heard.last
            async with asyncio.timeout(TURN_SECONDS):
                frame = await client.say(message)
            said.append(frame.message)
            wrong += client.heard.doubled + client.heard.skipped + (client.heard.last <= before)
        return {"said": said, "wrong": wrong}

    async def _until_back(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._all_back.wait()
        except TimeoutError:
            return


async def main(told: dict[str, Any]) -> None:
    herd = Herd(**told)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        match order.pop("do"):
            case "come":
                answer = await herd.come(**order)
            case "lose":
                answer = herd.lose(**order)
            case "back":
                answer = await herd.back(**order)
            case "say":
                answer = await herd.say(**order)
            case unknown:
                raise ValueError(unknown)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
