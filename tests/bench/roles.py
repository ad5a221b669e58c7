"""Thousands of Roles on a real etcd and apiserver, without kubelet or controllers.

Ours: the operator comes to Roles that were declared while it was away, and writes of each a revision, a Deployment and a
status. Peer: a bare client with as many connections makes the same writes, with the same content, in the same run. Then an
operator begins anew, which must write nothing, and Roles are edited at a steady pace. Nothing here is a Deployment that
runs: the figures are the control plane's.
"""

import argparse
import asyncio
import json
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from tests.bench import machine
from tests.bench.harness import percentile
from tests.bench.rounds import RESULTS
from tests.integration.operator.conftest import ACCOUNT, ROOT, Cluster, Operator, installed
from tests.support.apiserver import ApiServer, Processes, start
from tests.support.plenty import Bare, Crowd, Written, at_rest, per_role, written

from rolehost_api.crd.kinds import KINDS
from rolehost_api.crd.render import crds
from rolehost_api.names import GROUP

RULES = ROOT / "dashboards/generated/rules/rolehost.yaml"
PATIENCE_SECONDS = 3600.0
QUIET_SECONDS = 5.0


async def until(check: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.5)


async def converged(crowd: Crowd) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (there := await crowd.converged()) < crowd.count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{there} of {crowd.count} converged")
        await asyncio.sleep(2.0)


def looks(operator: Operator) -> float:
    return operator.metric('rolehost_operator_reconciles_total{outcome="done"}')


def span(writes: list[Written]) -> float:
    return writes[-1].at - writes[0].at


async def measure(
    api: ApiServer, folder: Path, count: int, edits_per_second: int, edit_seconds: float
) -> dict[str, Any]:
    gateway = installed(api)
    cluster = Cluster(api, gateway, folder)
    try:
        async with Bare(api.kubeconfig) as bare:
            # What an operator weighs without Roles.
            idle = cluster.operator()
            await until(lambda: idle.says("this operator leads"), "an operator leads")
            await asyncio.sleep(QUIET_SECONDS)
            empty_mib = idle.memory_mib()
            idle.stop()

            crowd = Crowd(bare, count, cluster.rights, f"plenty-{secrets.token_hex(2)}")
            await crowd.tenants()
            began = time.monotonic()
            await crowd.declare()
            declared = time.monotonic() - began
            first = cluster.operator()
            await converged(crowd)
            await until(lambda: at_rest(first, count), "it is at rest")
            await asyncio.sleep(QUIET_SECONDS)
            full_mib = first.memory_mib()
            ours = written(api, ACCOUNT, crowd.namespaces)
            print(f"  {count} Roles: {len(ours)} writes in {span(ours):.1f} s", flush=True)

            bare_seconds = await crowd.bare_writes(f"bare-{secrets.token_hex(2)}")
            print(f"  {3 * count} bare writes in {bare_seconds:.1f} s", flush=True)

            first.stop()
            before = len(written(api, ACCOUNT, crowd.namespaces))
            began = time.monotonic()
            second = cluster.operator()
            await until(lambda: at_rest(second, count), "the next operator is at rest")
            restart_seconds = time.monotonic() - began
            await asyncio.sleep(QUIET_SECONDS)
            again = len(written(api, ACCOUNT, crowd.namespaces)) - before

            looked, spent = looks(second), second.cpu_seconds()
            delays = await crowd.edit(edits_per_second, edit_seconds, PATIENCE_SECONDS)
            await asyncio.sleep(QUIET_SECONDS)
            await until(lambda: at_rest(second, 0), "the edits are done")
            looked, spent = looks(second) - looked, second.cpu_seconds() - spent
    finally:
        cluster.stop_all()
        gateway.close()
    groups = yaml.safe_load(RULES.read_text())["groups"]
    ours_rate, bare_rate = len(ours) / span(ours), 3 * count / bare_seconds
    return {
        "roles": count,
        "tenants": len(crowd.namespaces),
        "declared_seconds": declared,
        "writes": len(ours),
        "writes_per_role": per_role(ours),
        "seconds": span(ours),
        "bare_writes": 3 * count,
        "bare_seconds": bare_seconds,
        "ratio_of_the_same_number": bare_rate / ours_rate,
        "restart_writes": again,
        "restart_seconds": restart_seconds,
        "edits": len(delays),
        "edits_per_second": edits_per_second,
        "looks_per_edit": looked / len(delays),
        "cpu_ms_per_edit": 1000 * spent / len(delays),
        "edit_to_plan_p50_ms": percentile(delays, 50) * 1000,
        "edit_to_plan_p99_ms": percentile(delays, 99) * 1000,
        "memory_empty_mib": empty_mib,
        "memory_mib": full_mib,
        "memory_kib_per_role": (full_mib - empty_mib) * 1024 / count,
        "rules": sum(len(group["rules"]) for group in groups),
    }


async def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="roles", description=__doc__)
    parser.add_argument("--roles", type=int, default=10_000)
    parser.add_argument("--edits-per-second", type=int, default=50)
    parser.add_argument("--edit-seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        processes = Processes(folder)
        try:
            api = start(folder, processes)
            api.apply(*crds())
            names = [f"crd/{kind.plural}.{GROUP}" for kind in KINDS]
            api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
            figures = await measure(api, folder, options.roles, options.edits_per_second, options.edit_seconds)
        finally:
            processes.stop()
    told = {**figures, "machine": machine.facts()}
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"roles_{options.roles}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.json"
    file.write_text(json.dumps(told, indent=1) + "\n")
    print(
        f"roles: {figures['roles']} of {figures['tenants']} tenants\n"
        f"  writes each          {figures['writes_per_role']:.3f}  (at most 3)\n"
        f"  same number, bare    {figures['ratio_of_the_same_number']:.2f}×  (at most 1.5×)\n"
        f"  written by a restart {figures['restart_writes']}  (none)\n"
        f"  edit to revision     p50 {figures['edit_to_plan_p50_ms']:.0f} ms, p99 {figures['edit_to_plan_p99_ms']:.0f} ms"
        f" at {figures['edits_per_second']}/s  (at most 500 ms),"
        f" {figures['looks_per_edit']:.1f} looks and {figures['cpu_ms_per_edit']:.1f} ms of CPU each\n"
        f"  operator's memory    {figures['memory_kib_per_role']:.1f} KiB a Role  (at most 20)\n"
        f"  rules                {figures['rules']}, whatever the Roles\n"
        f"  everything: {file}"
    )
