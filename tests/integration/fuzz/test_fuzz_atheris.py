"""Ten minutes of a fuzzer that watches the branches of every decoder (`make soak`); what it finds is a crasher file."""

import asyncio
import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest
from tests.support.fuzzing import TARGETS, seeds
from tests.support.proof import SOAK, keep

SECONDS = 600 if SOAK else 0
"""Over all targets."""
ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.skipif(not SOAK, reason="ten minutes: with ROLEHOST_PROOF=soak"),
    pytest.mark.timeout(SECONDS + 300),
]


async def test_a_fuzzer_finds_nothing_in_ten_minutes(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        if os.environ.get("CI"):
            pytest.fail("atheris is not installed: pip install 'rolehost[fuzz]'")
        pytest.skip("atheris is not installed: pip install 'rolehost[fuzz]'")
    executions: dict[str, object] = {}
    for name in TARGETS:
        folder = tmp_path / name
        folder.mkdir()
        for number, seed in enumerate(seeds(name)):
            (folder / f"seed-{number}").write_bytes(seed)
        fuzzer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.fuzzer", name),
            *(f"-max_total_time={SECONDS // len(TARGETS)}", "-max_len=4096", "-timeout=5", "-rss_limit_mb=1024"),
            *("-print_final_stats=1", f"-artifact_prefix={tmp_path}/{name}-", str(folder)),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await fuzzer.communicate()
        found = re.search(rb"stat::number_of_executed_units: (\d+)", told)
        executions[name] = int(found[1]) if found else 0
        assert fuzzer.returncode == 0, f"{name}: {told.decode(errors='replace')[-3000:]}"
        assert executions[name]
    keep("fuzz", {"seconds": SECONDS, "executions": executions, "findings": 0})
