"""What a lorebook costs a turn, beside looking for each key by itself.

Peers in the same run, over the same text. `naive` is what most programs do: for each entry, for each key, a search for
it as a word, by `re` with its patterns compiled beforehand; it must find the same entries. `parts` asks `key in text` of
each, the cheapest loop that there is: it finds `cat` in `catch`, so it finds more.
"""

import argparse
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from functools import partial

from tests.bench import machine

from rolehost_api.crd.lorebook import Lorebook, LoreEntry
from rolehost_runtime.core.lorebook.compiling import MAX_SCANNED_CHARS, Compiled
from rolehost_runtime.core.lorebook.telling import Moment, tell
from rolehost_runtime.core.prompt import estimate

SIZES = (10, 100, 1_000)
KEYS = 3
SYLLABLES = ["ka", "lo", "mi", "ren", "tas", "vor", "eld", "un", "sha", "bri", "go", "fen"]


def word(rng: random.Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 4)))


def book_of(entries: int, rng: random.Random) -> Lorebook:
    return Lorebook(
        scan_depth=20,
        token_budget=4_096,
        entries=tuple(
            LoreEntry(
                id=f"e{number}", content=f"{word(rng)} is {word(rng)}.", keys=tuple(word(rng) for _ in range(KEYS))
            )
            for number in range(entries)
        ),
    )


def messages_of(chars: int, book: Lorebook, rng: random.Random) -> list[str]:
    """Twenty messages of so many characters together; one word in fifty is a key."""
    keys = [key for entry in book.entries for key in entry.keys]
    found = []
    for _ in range(20):
        said: list[str] = []
        while sum(map(len, said)) + len(said) < chars / 20:
            said.append(rng.choice(keys) if rng.random() < 0.02 else word(rng) + "x")
        found.append(" ".join(said)[: chars // 20])
    return found


def naive(book: Lorebook) -> Callable[[list[str]], list[str]]:
    ready = [
        (entry.id, [re.compile(rf"\b{re.escape(key)}\b", re.IGNORECASE) for key in entry.keys])
        for entry in book.entries
    ]

    def find(messages: list[str]) -> list[str]:
        text = "\n".join(messages)
        return [name for name, keys in ready if any(key.search(text) for key in keys)]

    return find


def parts(book: Lorebook) -> Callable[[list[str]], list[str]]:
    ready = [(entry.id, [key.lower() for key in entry.keys]) for entry in book.entries]

    def find(messages: list[str]) -> list[str]:
        text = "\n".join(messages).lower()
        return [name for name, keys in ready if any(key in text for key in keys)]

    return find


def microseconds(act: Callable[[], object], least: float) -> float:
    """The median of single runs, over at least so many seconds of CPU: the machine has others to serve."""
    spent: list[float] = []
    end = time.process_time() + least
    while time.process_time() < end or len(spent) < 5:
        began = time.process_time()
        act()
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1e6


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="make bench NAME=lorebook")
    parser.add_argument("--seconds", type=float, default=1.0, help="For each number.")
    asked = parser.parse_args(arguments)
    rows = []
    for entries in SIZES:
        for chars in (2_000, MAX_SCANNED_CHARS):
            rng = random.Random(entries + chars)
            book = book_of(entries, rng)
            messages = messages_of(chars, book, rng)
            began = time.process_time()
            ready = Compiled(book, estimate)
            compiling = time.process_time() - began
            peer, loose = naive(book), parts(book)
            keys = ready.depths(messages)
            ours = {rule.entry.id for key in keys for rule in ready.by_key[key]}
            assert ours == set(peer(messages)), "both must find the same entries"
            rows.append(
                {
                    "entries": entries,
                    "keys": entries * KEYS,
                    "chars": chars,
                    "found": len(ours),
                    "ready_ms": round(1e3 * compiling, 2),
                    "turn_us": round(microseconds(partial(tell, ready, messages, Moment(1, 7, 0)), asked.seconds)),
                    "naive_us": round(microseconds(partial(peer, messages), asked.seconds)),
                    "parts_us": round(microseconds(partial(loose, messages), asked.seconds)),
                }
            )
    rng = random.Random(1)
    evil = Lorebook(
        scan_depth=1,
        entries=tuple(
            LoreEntry(id=f"e{number}", content="x", keys=("a" * (number % 250 + 1) + "b",), whole_words=False)
            for number in range(250)
        )
        + tuple(
            LoreEntry(id=f"p{number}", content="x", keys=(f"[ab]*a[ab]{{{number + 200}}}c",), regex=True)
            for number in range(4)
        ),
    )
    hostile = Compiled(evil, estimate)
    text = "".join(rng.choices("ab", k=MAX_SCANNED_CHARS))
    for row in rows:
        print(
            f"{row['entries']:5} entries, {row['keys']:5} keys, {row['chars']:6} characters: {row['turn_us']:7} µs a turn, "
            f"each key by itself {row['naive_us']:8} µs, as parts {row['parts_us']:6} µs; ready in {row['ready_ms']} ms"
        )
    print(
        json.dumps(
            {
                "name": "lorebook",
                "machine": machine.facts(),
                "peer": "a compiled `re` for each key, one after the other; no recursion, chance, memory or budget",
                "rows": rows,
                "hostile_us": round(microseconds(lambda: tell(hostile, [text], Moment(1, 7, 0)), asked.seconds)),
            },
            indent=2,
        )
    )
