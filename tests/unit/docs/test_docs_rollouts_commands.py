"""The page for whoever is woken: its commands are there, and what it shows is what they say."""

import re
from pathlib import Path

import click
import pytest
from tests.unit.rollout.test_rollout_telling import NOON, TRAFFIC, role

from rolehost.cli.gating import FAILED, PASSED
from rolehost_api.names import ABORT, GATE, PROMOTE
from rolehost_operator.rollout_commands import rollout, telling
from rolehost_operator.rollout_commands.reading import Exit

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "rollouts-commands.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (REPOSITORY / "operator" / "rolehost_operator").rglob("*.py"))
SHOWN = re.findall(r"^rolehost rollout (.+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_takes_what_is_shown(line: str) -> None:
    name, *arguments = line.split()
    command = rollout.commands[name]
    with click.Context(command) as context:
        command.parse_args(context, arguments)


def test_every_command_is_shown() -> None:
    assert {line.split()[0] for line in SHOWN} == set(rollout.commands)


def test_status_says_what_is_shown() -> None:
    shown = re.findall(r"<!-- test: status -->\n```text\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown == ["\n".join(telling.status(role({}, traffic=TRAFFIC), NOON))]


def test_every_exit_code_and_annotation_is_there() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)}
    assert rows == {*(int(code) for code in Exit), 1, 2}
    assert PROMOTE in PAGE
    assert ABORT in PAGE
    evals = (REPOSITORY / "docs" / "evals.md").read_text()
    assert f"{GATE}/evals: {PASSED}" in evals
    assert f"`{FAILED}`" in evals


def test_every_reason_why_nothing_is_known_is_there_and_nothing_else() -> None:
    told = set(
        re.findall(
            r"`([A-Z][A-Za-z]+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
        )
    )
    counting = (REPOSITORY / "operator/rolehost_operator/rollout/counting.py").read_text()
    evidence = "\n".join(path.read_text() for path in (REPOSITORY / "operator/rolehost_operator/evidence").glob("*.py"))
    known = set(re.findall(r'Trouble\(\s*"([A-Z]\w+)"', counting))
    known |= set(re.findall(r'(?:code=|code = |else )"([A-Z]\w+)"', evidence))
    known |= set(re.findall(r'(?:missing=|_nothing\(kept, )"([A-Z]\w+)"', evidence))
    assert told == known
