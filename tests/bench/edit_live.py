"""From an edit to the first answer by the new revision, on the warm cluster.

Ours: a changed Role is applied; people who open a session ask until one is answered by the
new code. Peer: a changed bare Deployment under the same RuntimeClass, until its rollout is
complete and its new pod was asked. What lies between is ours.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from http.client import HTTPConnection

from tests.bench import machine
from tests.bench.cluster import Site, bare_deployment, site, web_server
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report

OURS, PEER = "Role", "bare Deployment under gVisor"
GOAL_SECONDS = 5
PATIENCE_SECONDS = 90
LOGIC = """
from rolehost import Role, Turn
role = Role("edited")

@role.on_message
async def answer(t: Turn) -> None:
    await t.reply("edition {edition}")
"""


def ask(found: Site, key: str) -> str:
    """One reply in a session of its own, past the gateway's front door."""
    host, port = found.gateway
    connection = HTTPConnection(host, port, timeout=10)
    connection.sock = found.dial(host, port)
    try:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", "/role/edited", json.dumps({"message": "which edition?"}), headers)
        return str(json.load(connection.getresponse()).get("message", ""))
    finally:
        connection.close()


def apply(found: Site, edition: int) -> None:
    found.tenant.apply_role("edited", logic=LOGIC.replace("{edition}", str(edition)))


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="edit_live", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    editions = itertools.count(1)
    with site() as found:
        key = found.tenant.key()
        apply(found, 0)
        found.tenant.wait_ready("edited")

        def ours() -> float:
            edition = next(editions)
            began = time.perf_counter()
            apply(found, edition)
            while ask(found, key) != f"edition {edition}":
                if time.perf_counter() - began > PATIENCE_SECONDS:
                    raise TimeoutError(f"edition {edition} was not live after {PATIENCE_SECONDS} s")
                time.sleep(0.05)
            return (time.perf_counter() - began) * 1000

        def peer() -> float:
            edition = str(next(editions))
            bare = bare_deployment("bare", found.tenant.name, found.sandbox_image, web_server(edition), gvisor=True)
            began = time.perf_counter()
            found.cluster.apply(bare)
            found.rollout("bare")
            return (time.perf_counter() - began) * 1000

        async def once(measure: Callable[[], float]) -> Round:
            return Round(units=1, latencies_ms=(measure(),))

        try:
            rounds = await interleaved({OURS: lambda: once(ours), PEER: lambda: once(peer)}, options.rounds)
        finally:
            found.cluster.kubectl(
                "delete", "deployment/bare", "rhr/edited", "-n", found.tenant.name, "--ignore-not-found"
            )
    notes = [f"the goal is {GOAL_SECONDS} s", "inline logic: what is pushed first travels once more"]
    report(compare("edit_live", rounds, ours=OURS, machine=machine.facts(), notes=notes))
