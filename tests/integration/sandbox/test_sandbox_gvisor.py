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
from tests.support.pod import End, environment

from rolehost_api.link.messages import Commit, Degraded, Probe

RUNSC = shutil.which("runsc") or str(
    Path(os.environ.get("ROLEHOST_CLUSTER_BIN", "~/.cache/rolehost/cluster/bin")).expanduser() / "runsc"
)
GVISOR = (RUNSC, "--network=none", "--ignore-cgroups", "do", "--")
LOGIC = """
import os, time
from rolehost import Role, Turn
cat = Role("cat")

@cat.on_message
async def obey(t: Turn) -> None:
    if t.message == "loop":
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                time.sleep(600)
        while True: pass
    if t.message == "count":
        await t.reply(str(sum(name.isdigit() for name in os.listdir("/proc"))))
    print("this is not the link")
"""


@asynccontextmanager
async def over_stdio(prefix: Sequence[str], tmp_path: Path) -> AsyncIterator[tuple[End, Probe]]:
    key = Ed25519PrivateKey.generate()
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(sys.executable, "-m", "rolehost_runtime.sandbox", "--stdio"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(key, tmp_path / "logic", ROLEHOST_PROBE_TARGETS="1.1.1.1:443,8.8.8.8:53"),
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
        assert (await end.bind(LOGIC)).error is None
        assert (await end.turn()).said == "<0>"


@pytest.mark.timeout(90)
@pytest.mark.skipif(not os.access(RUNSC, os.X_OK) or os.geteuid() != 0, reason="needs runsc, as root")
async def test_under_gvisor_it_proves_so_and_a_looping_fork_is_killed_whole(tmp_path: Path) -> None:
    async with over_stdio(GVISOR, tmp_path) as (end, probe):
        assert probe.gvisor
        assert not probe.token
        assert probe.reached == ()
        assert probe.tried == ("1.1.1.1:443", "8.8.8.8:53")
        assert (await end.bind(LOGIC, hook_wall_ms=1000)).error is None
        before = int((await end.turn("count")).said)
        told = await end.turn("loop")
        assert told.end == Commit(degraded=(Degraded("on_message:obey", "hook_deadline"),))
        async with asyncio.timeout(20):
            while int((await end.turn("count")).said) > before:
                await asyncio.sleep(0.05)
