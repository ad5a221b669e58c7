"""`POST /v1/roles:check` says what `rolehost check` says."""

from pathlib import Path

import msgspec
import pytest

from rolehost.cli import checkout
from rolehost_api.errors import Finding, InvalidManifest
from rolehost_runtime.gateway.upload.checker import check_manifest

CASES = sorted((Path(__file__).parents[1] / "dsl" / "cases").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_admission_and_the_command_find_the_same(case: Path) -> None:
    there = msgspec.convert(check_manifest(case)["findings"], list[Finding])
    try:
        checkout.read(case)
        here: tuple[Finding, ...] = ()
    except InvalidManifest as invalid:
        here = invalid.findings
    assert tuple(there) == here
    assert bool(here) == bool(case.with_suffix(".txt").read_text())
