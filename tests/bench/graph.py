"""What one tick of a behaviour graph costs, beside the ways that somebody would write it by hand.

Peers in the same run, over the same graph and the same messages: a walk over dicts with `random.choices`, and the same
over a networkx DiGraph where that is installed. They keep no history, know no cooldown, take no override and say
nothing of why; they draw from a generator that is seeded once, so a turn cannot be replayed without all before it.
Then a long walk is made twice, and must come out the same.
"""

import argparse
import gc
import hashlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

from tests.bench import machine

from rolehost_runtime.core.behavior.graph import Graph, Rule, compiled
from rolehost_runtime.core.behavior.place import Place
from rolehost_runtime.core.behavior.tables import Edge, Node, Subgraph
from rolehost_runtime.core.behavior.ticking import tick

try:
    import networkx
except ImportError:
    networkx = None

NODES = 8
OUT = 3
"""Edges out of each node."""
MESSAGES = ("hello", "a dragon", "thank you", "tell me more about it", "why?")
Holds = Callable[[str], bool]


def edges() -> list[tuple[str, str, float, Holds | None]]:
    """A ring with chords: of each node's edges one always holds, one looks at the message, one at its length."""
    tests: tuple[Holds | None, ...] = (None, lambda said: "dragon" in said, lambda said: len(said) > 5)
    return [
        (f"N{number}", f"N{(number + 1 + 2 * way) % NODES}", (0.8, 0.2, 1.5)[way], tests[way])
        for number in range(NODES)
        for way in range(OUT)
    ]


def ours(subgraphs: int = 1, *, cooldown: int = 0) -> Graph:
    nodes = tuple(Node(f"N{number}") for number in range(NODES))
    made = []
    for number in range(subgraphs):
        rules = [
            Rule(Edge(source, target, weight, "test" if holds else "", cooldown_turns=cooldown), holds, "test")
            for source, target, weight, holds in edges()
        ]
        made.append((Subgraph(f"g{number}", "N0", nodes, tuple(rule.edge for rule in rules)), rules))
    return compiled(made)


def walk(graph: Graph, ticks: int, seed: int = 1) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for turn in range(1, ticks + 1):
        ticked = tick(graph, places, MESSAGES[turn % 5], turn=turn, now_ms=1000 * turn, seed=seed + turn)
        places = ticked.places
    return places


def by_hand(ticks: int) -> str:
    out: dict[str, list[tuple[str, float, Holds | None]]] = {}
    for source, target, weight, holds in edges():
        out.setdefault(source, []).append((target, weight, holds))
    rng, node = random.Random(1), "N0"
    for turn in range(1, ticks + 1):
        said = MESSAGES[turn % 5]
        able = [(target, weight) for target, weight, holds in out[node] if holds is None or holds(said)]
        if able:
            node = rng.choices([target for target, _ in able], [weight for _, weight in able])[0]
    return node


def by_networkx(ticks: int) -> str:
    graph = networkx.DiGraph()
    for source, target, weight, holds in edges():
        graph.add_edge(source, target, weight=weight, holds=holds)
    rng, node = random.Random(1), "N0"
    for turn in range(1, ticks + 1):
        said = MESSAGES[turn % 5]
        able = [
            (to, data)
            for _, to, data in graph.out_edges(node, data=True)
            if data["holds"] is None or data["holds"](said)
        ]
        if able:
            node = rng.choices([to for to, _ in able], [data["weight"] for _, data in able])[0]
    return str(node)


def course(ticks: int) -> str:
    """Digest of a long walk's steps, with two subgraphs and cooldowns."""
    graph, seen = ours(2, cooldown=1), hashlib.sha256()
    places: dict[str, Place] = {}
    for turn in range(1, ticks + 1):
        ticked = tick(graph, places, MESSAGES[turn % 5], turn=turn, now_ms=1000 * turn, seed=turn * 7919)
        places = ticked.places
        seen.update(b"".join(place.node.encode() for place in places.values()))
    return seen.hexdigest()[:16]


def timed(work: Callable[[], Any]) -> float:
    """Seconds of CPU, the best of three: the machine has others to serve."""
    gc.collect()
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="graph", description=__doc__)
    parser.add_argument("--ticks", type=int, default=100_000)
    parser.add_argument("--replay", type=int, default=1_000_000, help="ticks of the walk that is made twice; 0: not")
    options = parser.parse_args(arguments)
    ticks = options.ticks
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: walk(ours(), ticks),
        "ours, with cooldowns": lambda: walk(ours(cooldown=1), ticks),
        "ours, 4 subgraphs": lambda: walk(ours(4), ticks),
        "dicts and random.choices": lambda: by_hand(ticks),
    }
    if networkx is not None:
        ways["networkx and random.choices"] = lambda: by_networkx(ticks)
    found = {name: round(timed(work) / ticks * 1e6, 2) for name, work in ways.items()}
    for name, micros in found.items():
        print(f"{name:30} {micros:7.2f} µs a tick")
    result: dict[str, Any] = {"ticks": ticks, "us_per_tick": found}
    if options.replay:
        one, other = course(options.replay), course(options.replay)
        print(f"{options.replay:,} ticks twice: {'the same' if one == other else 'DIFFERENT'} ({one})")
        result["replay"] = {"ticks": options.replay, "same": one == other, "digest": one}
    print(json.dumps({"name": "graph", "machine": machine.facts(), **result}, ensure_ascii=False))
