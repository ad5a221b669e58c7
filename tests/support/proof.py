"""Two speeds of proof: `make test` runs a seeded slice, `make soak` the full numbers.

A test takes its numbers from here and nowhere else, so that both speeds run the same
code. `ROLEHOST_PROOF=soak` is set by `make soak`, whose results are written to the
folder in `ROLEHOST_EVIDENCE` as JSON and quoted where a claim is made.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Numbers:
    starts: int
    """Sandbox pods whose egress is tried from their first instant."""
    deaths: int
    """Times that a pod is killed under a session."""
    kills: int
    """Processes of one platform that are killed while clients talk: some two seconds each."""
    turns_forged: int
    """Turns into which a hostile pod forges frames."""
    sockets_fuzzed: int
    """Sockets on which a client sends anything."""
    requests_fuzzed: int
    addresses_fuzzed: int
    """Of each kind: URLs of sockets, addresses of Roles, keys of sessions."""
    bundles_fuzzed: int
    manifests_fuzzed: int
    """Texts, and specs."""
    outage_seconds: int
    """How long the apiserver is away."""
    quiet_seconds: int
    """How long a watch brings nothing but bookmarks."""
    flood: int
    """Roles that one tenant creates at once."""
    redis_stopped_seconds: int
    """How long Redis stands still under load."""
    redis_kills: int
    """Times that a Redis, or a primary of several, is killed under load."""
    ticks: int
    """Of a behaviour graph, in a walk that is made again."""
    rollouts: int
    """Simulated ones, for each model of traffic: 0.1 s each."""

    # The slice forges and fuzzes for some 40 seconds of one core: turns 8, sockets 8, requests 3, addresses 7,
    # bundles 8, manifests 6.


SLICE = Numbers(
    starts=10,
    deaths=3,
    kills=50,
    turns_forged=1000,
    sockets_fuzzed=1000,
    requests_fuzzed=200,
    addresses_fuzzed=1000,
    bundles_fuzzed=2000,
    manifests_fuzzed=1000,
    outage_seconds=30,
    quiet_seconds=8,
    flood=200,
    redis_stopped_seconds=5,
    redis_kills=2,
    ticks=20_000,
    rollouts=4,
)
FULL = Numbers(
    starts=100,
    deaths=50,
    kills=1000,
    turns_forged=20_000,
    sockets_fuzzed=20_000,
    requests_fuzzed=5_000,
    addresses_fuzzed=50_000,
    bundles_fuzzed=10_000,
    manifests_fuzzed=10_000,
    outage_seconds=300,
    quiet_seconds=600,
    flood=1000,
    redis_stopped_seconds=30,
    redis_kills=20,
    ticks=1_000_000,
    rollouts=2_000,
)
SOAK = os.environ.get("ROLEHOST_PROOF") == "soak"
NUMBERS = FULL if SOAK else SLICE


def keep(name: str, figures: dict[str, object]) -> None:
    """Write a test's figures beside the others of this run, where a run keeps any."""
    folder = os.environ.get("ROLEHOST_EVIDENCE")
    if folder:
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{name}.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
