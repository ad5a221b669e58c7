"""The page of faults says what is so: it names tests that there are, and metrics and codes that the code has."""

import re

import pytest
from tests.support.sources import REPOSITORY, SOURCE, exported

ROWS = [
    [cell.strip() for cell in re.split(r"(?<= )\|(?= )", line.strip("|"))]
    for line in (REPOSITORY / "docs" / "reference" / "faults.md").read_text().splitlines()
    if re.match(r"\| F\d+ ", line)
]
FILES = {path.stem for path in (REPOSITORY / "tests").rglob("test_*.py")}


def test_every_fault_stands_there_once() -> None:
    ids = [row[0].split()[-1] for row in ROWS]
    assert len(ids) == len(set(ids))
    assert {f"F{number:02}" for number in range(1, 50)} <= set(ids)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_its_tests_are_there_and_its_metrics_are_exported(row: list[str]) -> None:
    assert len(row) == 5, "id, fault, outcome, signal, test"
    assert row[2]
    tests = re.findall(r"`(test_\w+)`", row[4])
    assert tests
    assert set(tests) <= FILES
    for metric in re.findall(r"`(rolehost_\w+)", row[3]):
        assert exported(metric), metric
    for code in re.findall(r"code `(\w+)`", row[3]):
        assert f'"{code}"' in SOURCE, code
