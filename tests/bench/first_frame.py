"""From a message to the first frame of its answer, on a warm Role, at a fixed rate.

Ours: the whole path (key, session, link, hooks in the sandbox, a model that answers at
once, first delta back). Peer: a bare server of the same WebSocket library that answers at once. By default
`rolehost dev`, which needs no cluster; with --cluster the Role runs under gVisor there.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

from tests.bench import machine
from tests.bench.cluster import Warm, warm_role
from tests.bench.harness import Round, compare
from tests.bench.load import Talker, talk, talkers
from tests.bench.rounds import interleaved, report
from tests.bench.servers import python, server
from tests.support.ports import free_port

OURS, PEER = "rolehost", "bare websockets server"
GOAL_P99_MS = 50


@contextmanager
def local() -> Iterator[Warm]:
    """`rolehost dev` on this machine, with a model that answers at once."""
    port, model_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as data:
        model = f"instant@http://127.0.0.1:{model_port}/v1"
        argv = python("rolehost.cli", "dev", "examples/storyteller")
        argv += ["--port", str(port), "--data", data, "--model", model]
        with (
            server("model", python("tests.bench.model", str(model_port)), f"127.0.0.1:{model_port}"),
            server("rolehost dev", argv, f"http://127.0.0.1:{port}/readyz") as pid,
        ):
            yield Warm(f"ws://127.0.0.1:{port}/role/storyteller", "", lambda: machine.family(pid), None)


@contextmanager
def echo() -> Iterator[tuple[str, Callable[[], set[int]]]]:
    port = free_port()
    with server("echo", python("tests.bench.echo", str(port)), f"127.0.0.1:{port}") as pid:
        yield f"ws://127.0.0.1:{port}/", lambda: machine.family(pid)


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="first_frame", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one round of one arm")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    parser.add_argument("--people", type=int, default=10, help="sockets, each with a session")
    parser.add_argument("--cluster", action="store_true", help="against the running test cluster (make cluster)")
    options = parser.parse_args(arguments)
    async with AsyncExitStack() as stack:
        warm = stack.enter_context(warm_role() if options.cluster else local())
        peer_url, peer_pids = stack.enter_context(echo())
        ours = await stack.enter_async_context(talkers(warm.url, options.people, warm.key, warm.dial))
        peer = await stack.enter_async_context(talkers(peer_url, options.people))

        async def round_of(people: list[Talker], servers: Callable[[], set[int]]) -> Round:
            return await talk(people, rate=options.rate, seconds=options.seconds, servers=servers)

        print(f"{options.rounds} rounds of {options.seconds:.0f} s, two arms in turn", file=sys.stderr)
        arms = {OURS: lambda: round_of(ours, warm.servers), PEER: lambda: round_of(peer, peer_pids)}
        rounds = await interleaved(arms, options.rounds)
    notes = [
        f"{options.rate:g} messages/s over {options.people} sockets; timed from when a message was due",
        f"the goal is a p99 of {GOAL_P99_MS} ms on a warm Role",
        "the Role runs under gVisor on the test cluster" if options.cluster else "`rolehost dev`: no cluster",
        "CPU is that of gateway, worker and Redis together" if not options.cluster else "CPU is the gateway's alone",
    ]
    name = "first_frame_cluster" if options.cluster else "first_frame"
    report(compare(name, rounds, ours=OURS, machine=machine.facts(), notes=notes))
