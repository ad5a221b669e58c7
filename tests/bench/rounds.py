"""Taking the rounds: arms in turn, stolen rounds again, results to a file and to the reader."""

import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from tests.bench import machine
from tests.bench.harness import Result, Round, table

RESULTS = Path(__file__).parent / "results"
MOST_STOLEN = 0.02
Arm = Callable[[], Awaitable[Round]]


async def interleaved(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[Round]]:
    """A B C A B C …, after one of each that does not count.

    Where the hypervisor took more than 2 % of a whole turn of arms, that turn is taken
    again, at most as often as there are rounds: past that the machine is what it is.
    """
    for arm in arms.values():
        await arm()
    taken: dict[str, list[Round]] = {name: [] for name in arms}
    spare = rounds
    while len(next(iter(taken.values()))) < rounds:
        stolen, ticks = machine.stolen()
        turn = {name: await arm() for name, arm in arms.items()}
        stolen_now, ticks_now = machine.stolen()
        if spare and (stolen_now - stolen) / max(1, ticks_now - ticks) > MOST_STOLEN:
            spare -= 1
            print("  a round was disturbed from outside; taking it again", file=sys.stderr)
            continue
        for name, one in turn.items():
            taken[name].append(one)
        done = len(next(iter(taken.values())))
        print(f"  round {done} of {rounds}", file=sys.stderr)
    return taken


def report(result: Result) -> None:
    """Print the summary; keep everything."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{result.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.json"
    file.write_text(json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n")
    print(table(result))
    print(f"  everything: {file}")
