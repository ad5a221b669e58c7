"""The agent over its standard streams, as local mode runs it: plain, and under gVisor where runsc is to be had."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.abuse import LOGIC, ON_ANY_DISK, Neighbour, percentile, turns
from tests.support.pod import End, environment
from tests.support.proof import keep

from rolehost_api.link.messages import Commit, PatchOp, Probe

RUNSC = shutil.which("runsc") or str(
    Path(os.environ.get("ROLEHOST_CLUSTER_BIN", "~/.cache/rolehost/cluster/bin")).expanduser() / "runsc"
)
GVISOR = (RUNSC, "--network=none", "--ignore-cgroups", "do", "--")
needs_runsc = pytest.mark.skipif(not os.access(RUNSC, os.X_OK) or os.geteuid() != 0, reason="needs runsc, as root")
PRINTS = """
from rolehost import Role, Turn
cat = Role("cat")

@cat.on_message
async def obey(t: Turn) -> None:
    print("this is not the link")
"""
ALLOCATES = """
from rolehost import Role, Turn
cat = Role("cat")

@cat.on_message
async def obey(t: Turn) -> None:
    got = []
    try:
        while True: got.append(bytearray(1 << 20))
    except MemoryError:
        mebibytes = len(got)
        got.clear()
        t.say(f"{mebibytes}")
"""
EACH = 10
MEMORY_MIB = 87
"""Of a worker in a pod of 512 MiB."""


@asynccontextmanager
async def over_stdio(prefix: Sequence[str], tmp_path: Path, **more: str) -> AsyncIterator[tuple[End, Probe]]:
    key = Ed25519PrivateKey.generate()
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(sys.executable, "-m", "rolehost_runtime.sandbox", "--stdio"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(key, tmp_path / "logic", ROLEHOST_PROBE_TARGETS="1.1.1.1:443,8.8.8.8:53", **more),
    )
    assert process.stdin
    assert process.stdout
    end = End(process.stdout, process.stdin)
    try:
        yield end, (await end.prove(key)).probe
        await end.close()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_ends_when_its_link_hangs_up_and_prints_nothing_into_it(tmp_path: Path) -> None:
    async with over_stdio((), tmp_path) as (end, probe):
        assert not probe.gvisor
        assert (await end.bind(PRINTS)).error is None
        assert (await end.turn()).said == "<0>"


@needs_runsc
@pytest.mark.timeout(90)
async def test_under_gvisor_it_proves_so(tmp_path: Path) -> None:
    async with over_stdio(GVISOR, tmp_path) as (end, probe):
        assert probe.gvisor
        assert not probe.token
        assert probe.reached == ()
        assert probe.tried == ("1.1.1.1:443", "8.8.8.8:53")
        assert (await end.bind(PRINTS)).error is None
        assert (await end.turn()).said == "<0>"


@needs_runsc
@pytest.mark.timeout(90)
async def test_under_gvisor_a_hook_that_allocates_without_end_meets_a_memory_error(tmp_path: Path) -> None:
    """Long before the pod would: no more than its worker's address space."""
    async with over_stdio(GVISOR, tmp_path, ROLEHOST_WORKER_MEMORY_MIB=str(MEMORY_MIB)) as (end, _):
        assert (await end.bind(ALLOCATES, hook_wall_ms=20_000)).error is None
        for _ in range(3):
            told = await end.turn(deadline_ms=60_000)
            assert told.end == Commit(), told
            assert 16 < int(told.said) < MEMORY_MIB


@needs_runsc
@pytest.mark.timeout(240)
async def test_under_gvisor_neighbours_of_every_abuser_get_every_answer_whole(tmp_path: Path) -> None:
    """The same as on the host's kernel, in the kernel that it will be: the filters, the limits, /proc, all of it."""
    figures: dict[str, object] = {}
    async with over_stdio(GVISOR, tmp_path, ROLEHOST_WORKER_MEMORY_MIB=str(MEMORY_MIB)) as (end, probe):
        assert probe.gvisor
        assert (await end.bind(LOGIC, hook_wall_ms=500)).error is None
        for deed in ("", *ON_ANY_DISK):
            neighbours = [Neighbour(end, f"{deed}-{number}") for number in range(4)]
            async with asyncio.TaskGroup() as group:
                group.create_task(turns(neighbours, EACH))
                for _ in range(3 if deed else 0):
                    told = await end.turn(deed, session=f"bully-{deed}", deadline_ms=60_000)
                    assert isinstance(told.end, Commit), (deed, told)
            seconds = [one for neighbour in neighbours for one in neighbour.seconds]
            assert len(seconds) == 4 * EACH
            figures[deed or "nobody"] = {"p50_ms": percentile(seconds, 0.5), "p99_ms": percentile(seconds, 0.99)}
    keep("worker-abuse-gvisor", {"turns_each": 4 * EACH, "turns_failed": 0, "kernel": "gVisor", **figures})


@needs_runsc
@pytest.mark.timeout(90)
@pytest.mark.parametrize("deed", ["signal", "trace", "squeeze"])
async def test_under_gvisor_no_other_process_can_be_reached(tmp_path: Path, deed: str) -> None:
    async with over_stdio(GVISOR, tmp_path) as (end, _):
        assert (await end.bind(LOGIC)).error is None
        assert (await end.turn(deed)).end == Commit(patch=(PatchOp("incr", "/turns", 1),))
