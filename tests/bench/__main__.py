"""python -m tests.bench NAME [--rounds N …]"""

import asyncio
import importlib
import sys

QUESTIONS = {
    "first_frame": "from a message to the first frame of its answer, on a warm Role",
    "link_rtt": "a round trip over the link: under gVisor, under runc, as a plain process (cluster)",
    "apply_ready": "from apply to Ready (cluster)",
    "edit_live": "from an edit to the first answer by the new revision (cluster)",
    "redis_turn": "what a durable turn costs the gateway in Redis, beside redis.asyncio",
    "snapshots": "what a turn writes and opening a session reads, at 500 and at 5,000 turns",
    "frame": "what the gateway adds to each streamed token, beside nginx",
    "resume": "thousands of clients whose gateway is killed come back at once",
    "ring": "where sessions are placed, and how many move when a pod joins",
    "role_switch": "from asking for another Role to its session being open",
    "impaired": "an urgent change over 80 ms and lost packets; how soon a dead channel is noticed (root)",
    "memory": "what sockets and sessions cost the gateway and a sandbox in memory",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in QUESTIONS:
        print(
            "make bench NAME=…", *(f"  {name:14}{what}" for name, what in QUESTIONS.items()), sep="\n", file=sys.stderr
        )
        return 2
    question = importlib.import_module(f"tests.bench.{arguments[0]}")
    asyncio.run(question.main(arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
