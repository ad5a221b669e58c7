"""Where sessions are placed, and how many move when a pod joins: our ring beside other ways to do it.

Peers in the same run, over the same keys: rendezvous hashing (every pod is asked), plain modulo, our ring without
bounded load, and uhashring (ketama) where it is installed. Moved is counted twice: of the keys, asked anew of
everybody after the join, and of sessions that sit, which with us stay where they are. The goal is 1/n + 1 point.
"""

import argparse
import gc
import hashlib
import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tests.bench import machine

from rolehost_runtime.core.ring import Ring, bound

try:
    from uhashring import HashRing
except ImportError:
    HashRing = None


class Way(Protocol):
    def __init__(self, pods: Sequence[str]) -> None: ...
    def join(self, pod: str) -> None: ...
    def place(self, key: str) -> str: ...


class Plain:
    """Our ring; whoever comes next."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._ring = Ring(pods)

    def join(self, pod: str) -> None:
        self._ring.add(pod)

    def place(self, key: str) -> str:
        return str(self._ring.choose(key))


class Bounded:
    """As gateways place sessions: who sits stays, who comes goes to the first pod below the bound."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._ring = Ring(pods)
        self._loads = dict.fromkeys(pods, 0)
        self._sits: dict[str, str] = {}

    def join(self, pod: str) -> None:
        self._ring.add(pod)
        self._loads[pod] = 0

    def place(self, key: str) -> str:
        sits = self._sits.get(key)
        if sits is not None:
            return sits
        loads, most = self._loads, bound(len(self._sits), len(self._loads))
        pod = str(self._ring.choose(key, lambda name: loads[name] < most))
        self._sits[key] = pod
        loads[pod] += 1
        return pod


class Rendezvous:
    """Every pod is asked how much it likes the session."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._pods = list(pods)

    def join(self, pod: str) -> None:
        self._pods.append(pod)

    def place(self, key: str) -> str:
        return max(self._pods, key=lambda pod: hashlib.blake2b(f"{key}/{pod}".encode(), digest_size=8).digest())


class Modulo:
    """The hash over the number of pods."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._pods = list(pods)

    def join(self, pod: str) -> None:
        self._pods.append(pod)

    def place(self, key: str) -> str:
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        return self._pods[number % len(self._pods)]


class Rebuilt:
    """The same circle, sorted anew at every join."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._pods = list(pods)
        self._build()

    def _build(self) -> None:
        self._circle = sorted(
            (int.from_bytes(hashlib.blake2b(f"{number}/{pod}".encode(), digest_size=8).digest(), "big"), pod)
            for pod in self._pods
            for number in range(1024)
        )
        self._places = [place for place, _ in self._circle]

    def join(self, pod: str) -> None:
        self._pods.append(pod)
        self._build()

    def place(self, key: str) -> str:
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
        return self._circle[bisect_left(self._places, number) % len(self._circle)][1]


class Uhashring:
    """Ketama, its defaults."""

    def __init__(self, pods: Sequence[str]) -> None:
        self._ring = HashRing(nodes=list(pods))

    def join(self, pod: str) -> None:
        self._ring.add_node(pod)

    def place(self, key: str) -> str:
        return str(self._ring.get_node(key))


WAYS: dict[str, Callable[[Sequence[str]], Way]] = {
    "ours": Bounded,
    "ours, no bound": Plain,
    "ring, rebuilt": Rebuilt,
    "rendezvous": Rendezvous,
    "modulo": Modulo,
}
if HashRing is not None:
    WAYS["uhashring"] = Uhashring


def timed(work: Callable[[], Any]) -> float:
    """Seconds of CPU, the best of three: the machine has others to serve."""
    gc.collect()
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def measure(make: Callable[[Sequence[str]], Way], pods: int, keys: list[str]) -> dict[str, float]:
    way = make([f"pod-{number}" for number in range(pods)])
    before = [way.place(key) for key in keys]
    spread = max(Counter(before).values()) / (len(keys) / pods)
    few = keys[: max(200, min(len(keys), 200_000 // pods))]
    lookup = timed(lambda: [way.place(key) for key in few]) / len(few)
    gc.collect()
    began = time.process_time()
    way.join("one-more")
    join = time.process_time() - began
    after = [way.place(key) for key in keys]
    moved = sum(was != now for was, now in zip(before, after, strict=True)) / len(keys)
    return {
        "moved_percent": round(100 * moved, 2), "goal_percent": round(100 / (pods + 1) + 1, 2),
        "max_over_mean": round(spread, 3), "lookup_ns": round(lookup * 1e9), "join_ms": round(join * 1e3, 2),
    }  # fmt: skip


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="ring", description=__doc__)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--pods", type=int, nargs="+", default=[10, 100], help="before one more joins")
    parser.add_argument("--large", type=int, default=1000, help="pods for the cost of a join alone; 0: not")
    options = parser.parse_args(arguments)
    keys = [f"session-{number}" for number in range(options.keys)]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for pods in options.pods:
        found[f"{pods} → {pods + 1}"] = {name: measure(make, pods, keys) for name, make in WAYS.items()}
    if options.large:
        large: dict[str, Callable[[Sequence[str]], Way]] = {"ours, no bound": Plain, "ring, rebuilt": Rebuilt}
        found[f"{options.large} → {options.large + 1}"] = {
            name: measure(make, options.large, keys[:2000]) for name, make in large.items()
        }
    for title, ways in found.items():
        print(f"{title} pods, goal: ≤{next(iter(ways.values()))['goal_percent']} % moved")
        print(f"  {'way':18}{'moved %':>10}{'max/mean':>10}{'ns/lookup':>12}{'ms/join':>10}")
        for name, one in ways.items():
            print(
                f"  {name:18}{one['moved_percent']:>10.2f}{one['max_over_mean']:>10.3f}"
                f"{one['lookup_ns']:>12.0f}{one['join_ms']:>10.2f}"
            )
    note = "sessions that sit stay with their pod, so with ours none moves; lookups of ours are of sessions that sit"
    print(f"  note: {note}; a place on the circle takes 12 bytes, 12 KiB a pod")
    print(json.dumps({"name": "ring", "found": found, "machine": machine.facts()}, ensure_ascii=False))
