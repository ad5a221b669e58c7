"""What recalling a memory costs the gateway: by words, by meaning, by relation against how many relations there are.

Peers in the same run, over the same texts: rank_bm25 and bm25s for words where they are installed; for meaning numpy on
whole numbers (one product of a matrix and a vector), and usearch's exact search where it is installed. Also what it
takes to read a full partition word by word, which happens once until it is hot.
"""

import argparse
import gc
import importlib
import json
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.bench import machine

from rolehost_api.link.messages import Recall
from rolehost_runtime.core.memory.atoms import Atom, Changes, kept
from rolehost_runtime.core.memory.recalling import Indexed
from rolehost_runtime.core.memory.words import tokens
from rolehost_runtime.gateway.sessions.arena import HOT, Arena

WORDS = [f"word{number}" for number in range(3000)]
DIMENSIONS = 384


def micros(work: Callable[[], Any], times: int) -> float:
    """Of one, the best of five rounds."""
    gc.collect()
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - began) / times)
    return round(best * 1e6, 1)


def installed(name: str) -> Any:
    """A peer's module; None where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def texts(count: int, seed: int = 7) -> list[str]:
    order = random.Random(seed)
    return [" ".join(order.choices(WORDS, weights=range(len(WORDS), 0, -1), k=12)) for _ in range(count)]


def by_words(count: int) -> dict[str, float]:
    said = texts(count)
    stored = kept({}, Changes(added=tuple(Atom(id=f"a{n}", text=text, at_ms=n) for n, text in enumerate(said))), "m")
    indexed = Indexed.of(stored)
    questions = iter(texts(10_000, 8) * 5)
    found: dict[str, float] = {
        "reading_a_partition_us": micros(lambda: Indexed.of(stored), 3),
        "ours_us": micros(lambda: indexed.found(Recall(index=0, query=next(questions)), 0), 200),
    }
    if (rank_bm25 := installed("rank_bm25")) is not None:
        peer = rank_bm25.BM25Okapi([tokens(text) for text in said])
        found["rank_bm25_us"] = micros(lambda: peer.get_top_n(tokens(next(questions)), said, 5), 20)
    if (bm25s := installed("bm25s")) is not None:
        retriever = bm25s.BM25()
        retriever.index([tokens(text) for text in said], show_progress=False)
        found["bm25s_us"] = micros(lambda: retriever.retrieve([tokens(next(questions))], k=5, show_progress=False), 20)
    return found


def by_meaning(count: int) -> dict[str, float]:
    numbers = np.random.default_rng(7)
    rows = numbers.normal(size=(count, DIMENSIONS)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows[numbers.integers(0, count, 1000)] + 0.9 / DIMENSIONS**0.5 * numbers.normal(size=(1000, DIMENSIONS))
    asked = asked.astype(np.float32)
    arena = Arena()
    arena.add([str(n) for n in range(count)], list(rows))
    exact = (rows @ asked.T).argmax(axis=0)
    hits = sum(str(best) in arena.nearest(one, 1) for best, one in zip(exact, asked, strict=True))
    whole: list[Any] = []

    def raw() -> None:
        apart = -(rows @ asked[len(whole) % 1000])
        best = apart.argpartition(5)[:5]
        whole.append(best[apart[best].argsort()])

    def cold() -> None:
        HOT.drop(arena)
        arena.nearest(asked[next(place) % 1000], 5)

    place = iter(range(1_000_000))
    found = {
        "ours_us": micros(lambda: arena.nearest(asked[next(place) % 1000], 5), 50),
        "ours_not_searched_lately_us": micros(cold, 50),
        "numpy_float32_us": micros(raw, 50),
        "recall_at_1": hits / 1000,
        "bytes_a_memory": arena.nbytes / count,
        "numpy_bytes_a_memory": rows.nbytes / count,
    }
    if (usearch := installed("usearch.index")) is not None:
        found["usearch_exact_us"] = micros(lambda: usearch.search(rows, asked[next(place) % 1000], 5, exact=True), 50)
    return found


def by_relation(degree: int, count: int = 1000) -> float:
    """A hop from one of them, in a partition of `count`."""
    atoms = [
        Atom(id=f"a{n}", kind="rel", subject="Ann" if n < degree else f"s{n}", predicate="met", object=f"o{n}",
             many=True, at_ms=n)
        for n in range(count)
    ]  # fmt: skip
    indexed = Indexed.of(kept({}, Changes(added=tuple(atoms)), "m"))
    asked = Recall(index=0, subject="Ann", kinds=("rel",), k=32)
    assert len(indexed.found(asked, count)) == min(degree, 32)
    return micros(lambda: indexed.found(asked, count), 200)


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="recall")
    parser.add_argument("--counts", type=int, nargs="*", default=[100, 1000])
    asked = parser.parse_args(arguments)
    result = {
        "name": "recall",
        "words": {count: by_words(count) for count in asked.counts},
        "meaning": {count: by_meaning(count) for count in asked.counts},
        "relation_hop_us_by_degree": {degree: by_relation(degree) for degree in (1, 10, 100, 1000)},
        "machine": machine.facts(),
    }
    print(json.dumps(result, ensure_ascii=False))
