"""The page on faults says what is so: its tests exist, and its metrics are counted by the code."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "reference" / "faults.md"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if re.match(r"\| F\d\d", line)
]
SOURCES = "".join(file.read_text() for root in ("runtime", "operator") for file in (REPOSITORY / root).rglob("*.py"))  # fmt: skip


def counted(metric: str) -> bool:
    """The code has that name, or makes it of two parts."""
    cuts = [found.end() for found in re.finditer("_", metric)]
    parts = [(f"{metric[:cut]}{{", f'"{metric[cut:]}"') for cut in cuts]
    return metric in SOURCES or any(begin in SOURCES and rest in SOURCES for begin, rest in parts)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_fault_names_tests_and_signals_that_are_there(row: list[str]) -> None:
    _, _, outcome, signal, tests = row
    assert outcome
    named = re.findall(r"`(test_\w+)`", tests)
    assert named
    for name in named:
        assert list((REPOSITORY / "tests").rglob(f"{name}.py")), name
    for metric in re.findall(r"`(rolehost_\w+)", signal):
        assert counted(metric.removesuffix("_total")), metric


def test_no_fault_has_two_rows() -> None:
    ids = [row[0] for row in ROWS]
    assert len(ids) == len(set(ids)) > 15
