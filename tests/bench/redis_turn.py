"""What a durable turn costs the gateway in Redis: our client beside redis.asyncio, in one process and on one Redis.

A unit is one commit by the same script with the same words (a turn's body of `--body`
bytes), awaited until it is acknowledged; so many sessions commit at once, each one turn
after the other. CPU is this process's, client and loop and kernel time together: what
the gateway pays. The peer has a pool of connections, as it is meant to be used, and no
deadline; ours has one. Redis syncs every write (`appendfsync always`). `store` is our
client with encoding the record, as the gateway calls it.
"""

import argparse
import asyncio
import os
import resource
import time
from contextlib import ExitStack
from typing import Any

import uvloop
from redis.asyncio import BlockingConnectionPool, Redis
from tests.bench import machine
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report
from tests.support.redis import running

from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.broker.state.redis_store import COMMIT_SCRIPT, OPEN_SCRIPT, RedisSessionStore
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client

SESSIONS = (1, 16, 256)
PEER_CONNECTIONS = 64
OURS, PEER, STORE = "our client", "redis.asyncio", "our store"


def cpu_us() -> float:
    """Of this process so far, in user and kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1e6


def words(epoch: int, turn: int, body: bytes) -> list[Any]:
    return ["log", "bench", epoch, turn, turn, turn, "cat-1", 1_730_000_000_000, b"1", b"00000000", body]


def keys(arm: str, session: int) -> tuple[str, str]:
    return f"rh:{{{arm}{session}}}:head", f"rh:{{{arm}{session}}}:wal"


class Ours:
    def __init__(self, url: str, body: bytes) -> None:
        self.client, self._body = Client(parse(url), scripts=(OPEN_SCRIPT, COMMIT_SCRIPT)), body
        self._epochs: dict[int, int] = {}

    async def open(self, session: int) -> int:
        head, _ = keys("o", session)
        found = await self.client.call(OPEN_SCRIPT, (head,), ["bench", "log", 3600, 1000, 0], line=head.encode())
        self._epochs[session] = int(found[2])
        return int(found[3])

    async def commit(self, session: int, turn: int) -> None:
        both = keys("o", session)
        said = await self.client.call(
            COMMIT_SCRIPT, both, words(self._epochs[session], turn, self._body), line=both[0].encode()
        )
        assert said == b"ok"


class Peer:
    def __init__(self, url: str, body: bytes) -> None:
        pool = BlockingConnectionPool.from_url(url, max_connections=PEER_CONNECTIONS)
        self.redis, self._body = Redis(connection_pool=pool), body
        self._open = self.redis.register_script(OPEN_SCRIPT.source)
        self._commit = self.redis.register_script(COMMIT_SCRIPT.source)
        self._epochs: dict[int, int] = {}

    async def open(self, session: int) -> int:
        head, _ = keys("p", session)
        found = await self._open(keys=[head], args=["bench", "log", 3600, 1000, 0])
        self._epochs[session] = int(found[2])
        return int(found[3])

    async def commit(self, session: int, turn: int) -> None:
        said = await self._commit(keys=[*keys("p", session)], args=words(self._epochs[session], turn, self._body))
        assert said == b"ok"


class Store:
    """As the gateway does it: a record, encoded."""

    def __init__(self, url: str, body: bytes) -> None:
        self.store, self._text = RedisSessionStore.connect(url, owner="bench"), "x" * (len(body) // 2)
        self._heads: dict[int, Any] = {}

    async def open(self, session: int) -> int:
        self._heads[session], _ = await self.store.open(f"s{session}")
        return int(self._heads[session].turn)

    async def commit(self, session: int, turn: int) -> None:
        head = self._heads[session]
        record = TurnRecord(
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
            input=self._text,
            reply=self._text,
        )
        await self.store.commit(f"s{session}", record)


async def taken(arm: Ours | Peer | Store, sessions: int, commits: int) -> Round:
    """One round: everybody opens, and then only commits are counted."""
    heads = await asyncio.gather(*(arm.open(session) for session in range(sessions)))
    latencies: list[float] = []
    each = max(1, commits // sessions)

    async def talk(session: int, turn: int) -> None:
        for number in range(turn + 1, turn + 1 + each):
            began = time.perf_counter()
            await arm.commit(session, number)
            latencies.append((time.perf_counter() - began) * 1000)

    before = cpu_us()
    await asyncio.gather(*(talk(session, turn) for session, turn in enumerate(heads)))
    return Round(units=each * sessions, latencies_ms=tuple(latencies), cpu_us=cpu_us() - before)


async def measure(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        url, body = stack.enter_context(running()).url, os.urandom(options.body)
        ours, peer, store = Ours(url, body), Peer(url, body), Store(url, body)
        try:
            for sessions in SESSIONS:
                rounds = await interleaved(
                    {
                        OURS: lambda sessions=sessions: taken(ours, sessions, options.commits),  # type: ignore[misc]
                        PEER: lambda sessions=sessions: taken(peer, sessions, options.commits),  # type: ignore[misc]
                        STORE: lambda sessions=sessions: taken(store, sessions, options.commits),  # type: ignore[misc]
                    },
                    options.rounds,
                )
                notes = [f"{sessions} session(s) commit at once, bodies of {options.body} bytes, appendfsync always"]
                notes.append(f"the loop is {type(asyncio.get_running_loop()).__module__}")
                name = f"redis_turn_{sessions}"
                report(compare(name, rounds, ours=OURS, machine=machine.facts(), notes=notes))
        finally:
            await ours.client.close()
            await store.store.close()
            await peer.redis.aclose()
            await peer.redis.connection_pool.disconnect()


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
