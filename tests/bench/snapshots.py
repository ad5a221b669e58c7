"""What a turn writes and what opening a session reads, at 500 and at 5,000 turns, beside a store that writes all of it.

Bytes are what Redis was sent (`total_net_input_bytes`), over the last turns before each size: ours is a record each and
now and then a snapshot, the peer's one value with the whole session, as a store does that keeps sessions as documents.
A unit is one opening, until the session could take its next turn: with snapshots, without any (the whole log is
folded), and the peer's (one value is read and decoded).
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import msgspec
import uvloop
from tests.bench import machine
from tests.bench.harness import Round, compare
from tests.bench.redis_turn import cpu_us
from tests.bench.rounds import interleaved, report
from tests.support.conversing import Conversing, Counted
from tests.support.redis import running

from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.core.snapshot import EVERY_TURNS
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.sessions.live import folded

SIZES = (500, 5000)
COUNTED = 4 * EVERY_TURNS
"""Turns over which ours are counted, so that snapshots are in it as often as they are."""
PEER_COUNTED = 16
OURS, PEER, WHOLE = "snapshot and tail", "whole session, one value", "whole log"
INPUT, REPLY = "And then, what did the dragon say? " * 3, "Once upon a time there was a dragon. " * 16
NAMES = [f"name{number}" for number in range(32)]


def patch(turn: int) -> tuple[PatchOp, ...]:
    if turn == 1:
        return (PatchOp("add", "/names", dict.fromkeys(NAMES, "a dragon")), PatchOp("add", "/turns", 1))
    return (PatchOp("incr", "/turns", 1), PatchOp("add", f"/names/{NAMES[turn % 32]}", f"of turn {turn}"))


class Document:
    """The peer: history and state in one value, written whole with each turn."""

    def __init__(self, url: str, turns: int) -> None:
        self.client, self.key = Client(parse(url)), f"whole{turns}"
        said = [{"user": INPUT, "reply": REPLY, "id": f"c{turn}", "at": turn} for turn in range(turns - PEER_COUNTED)]
        self.session = {"state": {"names": dict.fromkeys(NAMES, "a dragon"), "turns": turns}, "said": said}

    async def talk(self) -> None:
        for _ in range(PEER_COUNTED):
            self.session["said"].append({"user": INPUT, "reply": REPLY, "id": "c", "at": 1})  # type: ignore[attr-defined]
            data = msgspec.msgpack.encode(self.session)
            assert await self.client.run("SET", self.key, data, key=self.key.encode()) == b"OK"

    async def open(self) -> None:
        data = await self.client.run("GET", self.key, key=self.key.encode())
        assert len(msgspec.msgpack.decode(data)["said"]) == len(self.session["said"])


async def sent(store: Counted) -> int:
    """Bytes that Redis was sent so far."""
    info = (await store._redis.everywhere("INFO", "stats"))[0].decode()
    return int(info.split("total_net_input_bytes:")[1].split()[0])


async def per_turn(store: Counted, work: Awaitable[None], turns: int) -> float:
    before = await sent(store)
    await work
    return (await sent(store) - before) / turns


async def opened(work: Callable[[], Awaitable[object]], times: int) -> Round:
    latencies, before = [], cpu_us()
    for _ in range(times):
        began = time.perf_counter()
        await work()
        latencies.append((time.perf_counter() - began) * 1000)
    return Round(units=times, latencies_ms=tuple(latencies), cpu_us=cpu_us() - before)


async def measure(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(running()).url
        store = Counted.connect(url)
        assert isinstance(store, Counted)
        try:
            for turns in SIZES:
                await one_size(options, store, url, turns)
        finally:
            await store.close()


async def one_size(options: argparse.Namespace, store: Counted, url: str, turns: int) -> None:
    ours = Conversing(store, f"s{turns}", INPUT, REPLY, patch)
    whole = Conversing(store, f"w{turns}", INPUT, REPLY, patch, snapshots=False)
    peer = Document(url, turns)
    for talk in (ours, whole):
        await talk.open()
        await talk.talk(turns - COUNTED)
    written = {
        OURS: await per_turn(store, ours.talk(COUNTED), COUNTED),
        WHOLE: await per_turn(store, whole.talk(COUNTED), COUNTED),
        PEER: await per_turn(store, peer.talk(), PEER_COUNTED),
    }

    async def open_it(talk: Conversing) -> SessionFold:
        fold = await folded(*await store.open(talk.key))
        assert fold.turn == turns
        return fold

    read = []
    for talk in (ours, whole):
        before = store.records
        await open_it(talk)
        read.append(store.records - before)
    rounds = await interleaved(
        {
            OURS: lambda: opened(lambda: open_it(ours), options.opens),
            PEER: lambda: opened(peer.open, options.opens),
            WHOLE: lambda: opened(lambda: open_it(whole), options.opens),
        },
        options.rounds,
    )
    await peer.client.close()
    notes = [f"{turns} turns of {len(INPUT) + len(REPLY)} characters, appendfsync always"]
    notes += [f"bytes written per turn: {arm} {count:,.0f}" for arm, count in written.items()]
    notes.append(f"records read by one opening: {read[0]} with snapshots, {read[1]} without")
    report(compare(f"snapshots_{turns}", rounds, ours=OURS, machine=machine.facts(), notes=notes))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="snapshots", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--opens", type=int, default=8, help="of one arm in one round")
    return parser.parse_args(arguments)


async def main(arguments: list[str]) -> None:
    """In a thread of its own, on the loop that the gateway has."""
    options = _options(arguments)
    await asyncio.to_thread(lambda: uvloop.run(measure(options)))
