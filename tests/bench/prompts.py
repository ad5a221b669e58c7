"""What it costs the gateway to find the opening words of a prompt that it has written before, and what that saves.

Peers in the same run: a bare dict, functools.lru_cache (bounded by entries, not by bytes), and cachetools' LRUCache
where it is installed. A round is 1,000 lookups, each of another persona.
"""

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
from tests.bench import machine
from tests.bench.recall import installed

from rolehost_runtime.core.models.abilities import Able
from rolehost_runtime.core.models.caching import cache_key, salted
from rolehost_runtime.gateway.broker.models.arranging import arranged
from rolehost_runtime.gateway.broker.models.openings import Openings
from rolehost_runtime.gateway.ports import ModelMessage, ModelRequest

LOOKUPS = 1000


def milliseconds(rounds: int, *works: Callable[[], Any]) -> list[dict[str, float]]:
    """Of one round of each, taken in turns: the best and the median."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for place, work in enumerate(works):
            began = time.perf_counter()
            work()
            took[place].append(1000 * (time.perf_counter() - began))
    return [{"best_ms": round(min(one), 4), "median_ms": round(statistics.median(one), 4)} for one in took]


def lookups(rounds: int, chars: int) -> dict[str, dict[str, float]]:
    personas = [
        (cache_key(f"tenant-{n % 50}", f"revision-{n}"), f"{n} " + "You are a cat. " * (chars // 15))
        for n in range(LOOKUPS)
    ]
    keys = [(key, text, True) for key, text in personas]
    openings = Openings(max_bytes=1 << 30)
    for key, text, _ in keys:
        openings.of(key, text, with_salt=True)
    plain = {key: openings.kept.get(key) for key in keys}
    known = functools.lru_cache(maxsize=4 * LOOKUPS)(salted)
    get, put = openings.kept.get, plain.get

    def ours() -> None:
        for key in keys:
            get(key)

    def a_dict() -> None:
        for key in keys:
            put(key)

    def lru() -> None:
        for key, text, _ in keys:
            known(text, key)

    peers: dict[str, Callable[[], Any]] = {"ours": ours, "dict": a_dict, "functools_lru_cache": lru}
    if (cachetools := installed("cachetools")) is not None:
        cache = cachetools.LRUCache(4 * LOOKUPS)
        cache.update(plain)

        def tools() -> None:
            for key in keys:
                cache.get(key)

        peers["cachetools_lru"] = tools
    found = dict(zip(peers, milliseconds(rounds, *peers.values()), strict=True))
    assert openings.kept.misses == LOOKUPS, "all but the first of each was found"
    return found


def bodies(rounds: int, chars: int) -> dict[str, dict[str, float]]:
    """A request's body, 100 times, with the opening words written before and not."""
    persona = "You are a cat. 你是一只猫。\n" * (chars // 24)
    messages = [ModelMessage("system", persona), *(ModelMessage("user", "Hello there") for _ in range(20))]
    request = ModelRequest("m", messages, {}, None, "uid", stable_chars=len(persona), cache_key=cache_key("t", "r"))
    openings, able, encode = Openings(), Able(), msgspec.json.Encoder().encode

    def body(known: Openings | None) -> None:
        for _ in range(100):
            made = arranged(request, able, known)
            encode({"messages": [{"role": one.role, "content": one.said} for one in made.messages]})

    found = milliseconds(rounds, lambda: body(openings), lambda: body(None))
    return dict(zip(("written_before", "written_each_time"), found, strict=True))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="prompts")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--chars", type=int, default=4000)
    asked = parser.parse_args(arguments)
    result = {
        "name": "prompts",
        "persona_chars": asked.chars,
        "lookups_of_1000": lookups(asked.rounds, asked.chars),
        "bodies_of_100": bodies(asked.rounds // 4, asked.chars),
        "machine": machine.facts(),
    }
    print(json.dumps(result, ensure_ascii=False))
