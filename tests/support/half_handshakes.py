"""Many connections that begin a handshake and never end it, each kind in a process of its own: one holds 20,000 files at most.

python -m tests.support.half_handshakes serve ROOM          an edge; prints its port, then its counts once its input ends
python -m tests.support.half_handshakes halves PORT COUNT   begins so many, and prints how each was let go of
"""

import asyncio
import json
import sys
import time
from collections import Counter

import uvloop
from tests.support.edge import start_edge, upgrade

from rolehost_runtime.gateway import heap
from rolehost_runtime.gateway.edge.policy import Policy

AT_ONCE = 200
"""Connections that are being made: more would wait in the listener's queue, and none of them begins there."""
PATIENCE_SECONDS = 60


async def serve(room: int) -> None:
    edge = await start_edge(policy=Policy(), max_connections=room)
    heap.settle()
    print(edge.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    counted = {why: edge.metrics.refused.labels(why)._value.get() for why in ("head_too_slow", "overloaded")}
    print(json.dumps(counted), flush=True)
    await edge.hub.drain(0, 0)
    await edge.server.stop()


async def halves(port: int, count: int) -> None:
    gate, half, began = asyncio.Semaphore(AT_ONCE), upgrade()[:60], time.monotonic()
    statuses, took, begun = Counter[str](), list[float](), list[float]()

    async def one() -> None:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(half)
            at = time.monotonic()
            begun.append(at - began)
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE_SECONDS)
        took.append(time.monotonic() - at)
        statuses[answer.split(b" ", 2)[1].decode() if answer else "closed"] += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(count)))
    took.sort()
    print(
        json.dumps(
            {
                "statuses": statuses,
                "begun_s": round(max(begun), 2),
                "median_s": round(took[count // 2], 2),
                "slowest_s": round(took[-1], 2),
            }
        )
    )


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `rolehost gateway` does
        runner.run(serve(*map(int, numbers)) if what == "serve" else halves(*map(int, numbers)))
