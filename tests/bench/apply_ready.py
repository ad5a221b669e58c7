"""From apply to Ready, cold: a Role that the cluster has never seen.

Ours: `kubectl apply` of a Role until its condition Ready is True: revision, pod under
gVisor, link, proof from inside, Bind. Peer: a bare Deployment of the same image under the
same RuntimeClass with a readiness probe, until it is Available. What lies between is ours.
"""

import argparse
import secrets
import time
from collections.abc import Callable

from tests.bench import machine
from tests.bench.cluster import Site, bare_deployment, site, web_server
from tests.bench.harness import Round, compare
from tests.bench.rounds import interleaved, report

OURS, PEER = "Role", "bare Deployment under gVisor"
GOAL_SECONDS = 15


def ours(found: Site) -> float:
    name = f"cold-{secrets.token_hex(3)}"
    began = time.perf_counter()
    found.tenant.apply_role(name)
    argv = ("wait", "--for=condition=Ready", f"rhr/{name}", "-n", found.tenant.name, "--timeout=90s")
    found.cluster.kubectl(*argv)
    spent = (time.perf_counter() - began) * 1000
    found.cluster.kubectl("delete", "rhr", name, "-n", found.tenant.name)
    return spent


def peer(found: Site) -> float:
    name = f"bare-{secrets.token_hex(3)}"
    began = time.perf_counter()
    found.cluster.apply(bare_deployment(name, found.tenant.name, found.sandbox_image, web_server(), gvisor=True))
    argv = ("wait", "--for=condition=Available", f"deployment/{name}", "-n", found.tenant.name, "--timeout=90s")
    found.cluster.kubectl(*argv)
    spent = (time.perf_counter() - began) * 1000
    found.cluster.kubectl("delete", "deployment", name, "-n", found.tenant.name)
    return spent


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="apply_ready", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    with site() as found:

        async def once(measure: Callable[[Site], float]) -> Round:
            return Round(units=1, latencies_ms=(measure(found),))

        rounds = await interleaved({OURS: lambda: once(ours), PEER: lambda: once(peer)}, options.rounds)
    notes = [f"the goal is {GOAL_SECONDS} s cold", "each round is one object; the image is on the node"]
    report(compare("apply_ready", rounds, ours=OURS, machine=machine.facts(), notes=notes))
