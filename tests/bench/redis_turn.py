"""What a durable turn costs the gateway in Redis: our client beside redis.asyncio, in one process and on one Redis.

A unit is one commit by the same script with the same words (a turn's body of `--body`
bytes), awaited until it is acknowledged; so many sessions commit at once, each one turn
after the other. CPU is this process's, client and loop and kernel time together: what
the gateway pays. The peer has a pool of connections, as it is meant to be used, and no
deadline; ours has one. Beside it the peer with everything of one pass of the loop in one
pipeline, made by hand. With one session there is nothing to join: that is a single call. Redis syncs every write (`appendfsync always`). `store` is our
client with encoding the record, as the gateway calls it.
"""

import argparse
import asyncio
import resource
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from tests.bench import machine
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report
from tests.support.redis import running

from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.redis_store import COMMIT_SCRIPT, RedisSessionStore
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.ports import Head

SESSIONS = (1, 16, 256)
PEER_CONNECTIONS = 64
OURS, PEER, PIPED, STORE = "our client", "redis.asyncio", "redis.asyncio, pipelined", "our store"


def cpu_us() -> float:
    """Of this process so far, in user and kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


@dataclass(frozen=True)
class Commit:
    """What the store asks of Redis for one turn, ready to be sent by whoever."""

    keys: Sequence[str]
    arguments: Sequence[Any]


class Recorder:
    """Stands where the store's client stands, and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Commit] = []

    async def call(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], **_: Any) -> bytes:
        assert script is COMMIT_SCRIPT
        self.asked.append(Commit(keys, arguments))
        return b"ok"


def record_of(head: Head, turn: int, text: str) -> TurnRecord:
    return TurnRecord(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=turn,
        seq_first=turn,
        seq_count=1,
        version=0,
        now_ms=turn,
        at_ms=turn,
        revision="cat-1",
        response_id="r0123456789abcdef",
        input=text,
        reply=text,
    )


class Arm:
    """Opens sessions of its own; how a commit is sent is what arms differ in."""

    def __init__(self, url: str, name: str, body: int) -> None:
        self.store, self._name = RedisSessionStore.connect(url, owner="bench"), name
        self._text = "x" * (body // 2)
        self._heads: dict[int, Head] = {}

    def key(self, session: int) -> str:
        return f"{self._name}{session}"

    async def open(self, session: int) -> int:
        self._heads[session], _ = await self.store.open(self.key(session))
        return self._heads[session].turn

    async def prepare(self, session: int, turn: int) -> Any:
        """Outside of what is timed: the store's own words for this turn, its record encoded."""
        recorder = Recorder()
        await RedisSessionStore(recorder, "bench").commit(  # type: ignore[arg-type]
            self.key(session), record_of(self._heads[session], turn, self._text)
        )
        return recorder.asked[0]

    async def commit(self, session: int, prepared: Any) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self.store.close()


class Ours(Arm):
    def __init__(self, url: str, body: int) -> None:
        super().__init__(url, "o", body)
        self._client = Client(parse(url), scripts=(COMMIT_SCRIPT,))

    async def commit(self, session: int, prepared: Commit) -> None:
        line = prepared.keys[0].encode()
        assert await self._client.call(COMMIT_SCRIPT, prepared.keys, prepared.arguments, line=line) == b"ok"

    async def close(self) -> None:
        await self._client.close()
        await super().close()


class Peer(Arm):
    def __init__(self, url: str, body: int, name: str = "p") -> None:
        super().__init__(url, name, body)
        pool = BlockingConnectionPool.from_url(url, max_connections=PEER_CONNECTIONS)
        self.redis = Redis(connection_pool=pool)
        self._script = self.redis.register_script(COMMIT_SCRIPT.source)

    async def commit(self, session: int, prepared: Commit) -> None:
        assert await self._script(keys=list(prepared.keys), args=list(prepared.arguments)) == b"ok"

    async def close(self) -> None:
        await self.redis.aclose()
        await self.redis.connection_pool.disconnect()
        await super().close()


class Piped(Peer):
    """The peer at its best: whoever commits within one pass of the loop goes out in one pipeline, made by hand."""

    def __init__(self, url: str, body: int) -> None:
        super().__init__(url, body, "q")
        self._waiting: list[tuple[Commit, asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def commit(self, session: int, prepared: Commit) -> None:
        loop = asyncio.get_running_loop()
        said: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((prepared, said))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        assert await said == b"ok"

    async def _flush(self) -> None:
        try:
            await self.redis.script_load(self._script.script)
            while self._waiting:
                batch, self._waiting = self._waiting, []
                pipe = self.redis.pipeline(transaction=False)
                for asked, _ in batch:
                    pipe.evalsha(self._script.sha, len(asked.keys), *asked.keys, *asked.arguments)
                for (_, said), answer in zip(batch, await pipe.execute(), strict=True):
                    said.set_result(answer)
                await asyncio.sleep(0)
        finally:
            self._flushing = None


class Store(Arm):
    """As the gateway does it: a record, encoded."""

    def __init__(self, url: str, body: int) -> None:
        super().__init__(url, "s", body)

    async def prepare(self, session: int, turn: int) -> TurnRecord:
        return record_of(self._heads[session], turn, self._text)

    async def commit(self, session: int, prepared: TurnRecord) -> None:
        await self.store.commit(self.key(session), prepared)


async def taken(arm: Arm, sessions: int, commits: int) -> Round:
    """One round: everybody opens, and then only commits are counted."""
    heads = await asyncio.gather(*(arm.open(session) for session in range(sessions)))
    latencies: list[float] = []
    each = max(1, commits // sessions)

    turns = [
        [await arm.prepare(session, number) for number in range(turn + 1, turn + 1 + each)]
        for session, turn in enumerate(heads)
    ]

    async def talk(session: int) -> None:
        for prepared in turns[session]:
            began = time.perf_counter()
            await arm.commit(session, prepared)
            latencies.append((time.perf_counter() - began) * 1000)

    before = cpu_us()
    await asyncio.gather(*map(talk, range(sessions)))
    return Round(units=each * sessions, latencies_ms=tuple(latencies), cpu_us=cpu_us() - before)


async def measure(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(running()).url
        ours, peer = Ours(url, options.body), Peer(url, options.body)
        piped, store = Piped(url, options.body), Store(url, options.body)
        try:
            for sessions in SESSIONS:
                rounds = await interleaved(
                    {
                        OURS: lambda sessions=sessions: taken(ours, sessions, options.commits),  # type: ignore[misc]
                        PEER: lambda sessions=sessions: taken(peer, sessions, options.commits),  # type: ignore[misc]
                        PIPED: lambda sessions=sessions: taken(piped, sessions, options.commits),  # type: ignore[misc]
                        STORE: lambda sessions=sessions: taken(store, sessions, options.commits),  # type: ignore[misc]
                    },
                    options.rounds,
                )
                notes = [f"{sessions} session(s) commit at once, bodies of {options.body} bytes, appendfsync always"]
                notes.append(f"the loop is {type(asyncio.get_running_loop()).__module__}")
                name = f"redis_turn_{sessions}"
                report(compare(name, rounds, ours=OURS, machine=machine.facts(), notes=notes))
        finally:
            for arm in (ours, peer, piped, store):
                await arm.close()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="redis_turn", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--commits", type=int, default=4096, help="of one arm in one round")
    parser.add_argument("--body", type=int, default=600, help="bytes of a turn")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop", help="the gateway runs on uvloop")
    return parser.parse_args(arguments)


async def main(arguments: list[str]) -> None:
    """In a thread of its own, on the loop that the gateway has."""
    options = _options(arguments)
    run = uvloop.run if options.loop == "uvloop" else asyncio.run
    await asyncio.to_thread(lambda: run(measure(options)))
