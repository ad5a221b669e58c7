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
    "model_stream": "what reading a model's stream costs, and how much later the first token comes through the platform",
    "frame": "what the gateway adds to each streamed token, beside nginx",
    "resume": "thousands of clients whose gateway is killed come back at once",
    "graph": "what one tick of a behaviour graph costs, and whether a long walk replays the same",
    "lorebook": "what a lorebook of up to 1,000 entries costs a turn, beside looking for each key by itself",
    "ring": "where sessions are placed, and how many move when a pod joins",
    "role_switch": "from asking for another Role to its session being open",
    "impaired": "an urgent change over 80 ms and lost packets; how soon a dead channel is noticed (root)",
    "recall": "what it takes to recall a memory: by words, by meaning, by relation",
    "prompts": "what it takes to find a prompt's opening words that were written before",
    "prefix": "the first token of a real llama.cpp server with and without a beginning that it has seen",
    "roles": "thousands of Roles on a real apiserver: writes, time beside bare ones, a restart, edits, memory",
    "scoring": "what it costs to hold a turn against its objectives and to count it, beside prometheus_client",
    "telemetry": "what tracing costs a gateway, a turn and a streamed token",
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
