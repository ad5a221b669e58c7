"""A behaviour beside Python: what only importing the logic shows, and what a type checker says of what is generated."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rolehost.cli import main

REPOSITORY = Path(__file__).parents[3]
CASES = REPOSITORY / "tests" / "unit" / "dsl" / "cases"
pytestmark = pytest.mark.timeout(120)

MANIFEST = """\
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: story}
spec:
  template:
    persona: {system: You tell stories.}
    permissions: [model.call]
    logic: {entrypoint: "story:story"}
    behavior:
      initial: Idle
      nodes: {Idle: {}, Explore: {prompt: Explore.}}
      edges:
      - {from: Idle, to: Explore, when: state.dragons > 3}
      - {from: Explore, to: Idle, when: "user_state.mood == 'calm'"}
"""
LOGIC = """\
from rolehost import Role, State, Turn

class Tale(State):
    dragons: int = 0

class Bond(State, scope="user"):
    mood: str = "calm"

story = Role("story", state=Tale, user_state=Bond)

@story.on_message
async def answer(t: Turn[Tale]) -> None:
    await t.reply(t.ask())
"""


def checked(folder: Path, manifest: str = MANIFEST, logic: str = LOGIC) -> tuple[int, str]:
    (folder / "role.yaml").write_text(manifest)
    (folder / "story.py").write_text(logic)
    done = CliRunner().invoke(main, ["check", str(folder)])
    return done.exit_code, done.output


def test_conditions_that_fit_the_state_of_the_logic_are_good(tmp_path: Path) -> None:
    assert checked(tmp_path) == (0, "story: good\n")


def test_conditions_are_checked_against_the_state_of_the_logic(tmp_path: Path) -> None:
    status, said = checked(tmp_path, MANIFEST.replace("state.dragons", "state.dragns").replace("'calm'", "3"))
    assert status == 1
    assert "role.yaml:13:47: spec.template.behavior.edges[0].when: state has no field dragns [unknown_field]" in said
    assert "Did you mean dragons?" in said
    assert "role.yaml:14:42: spec.template.behavior.edges[1].when: a string never equals an int [type_mismatch]" in said
    assert [line.count("^") for line in said.splitlines() if "^" in line] == [6, 20]


def test_what_the_logic_asks_for_and_nothing_grants_is_underlined(tmp_path: Path) -> None:
    status, said = checked(tmp_path, MANIFEST.replace("[model.call]", "[memory.read]"))
    assert status == 1
    assert "story.py:13:19: t.ask: needs the permission model.call [permission_missing]" in said
    assert "    await t.reply(t.ask())\n" in said
    assert " " * 22 + "^^^^^" in said


def test_a_type_checker_finds_nothing_in_what_is_generated_and_completes_the_state(tmp_path: Path) -> None:
    for case in ("good", "strange-names"):
        (tmp_path / f"{case}.yaml").write_text(
            (CASES / f"{case}.yaml").read_text().replace("name: tutor", f"name: {case}")
        )
    assert CliRunner().invoke(main, ["generate", str(tmp_path)]).exit_code == 0
    (tmp_path / "hooks.py").write_text(
        "from typing import assert_type\n\nfrom good_behavior import GoodState, GoodUserState, Turn\nfrom rolehost import Role\n\n"
        'good = Role("good", state=GoodState, user_state=GoodUserState)\n\n\n'
        "@good.on_message\nasync def answer(t: Turn) -> None:\n"
        "    assert_type(t.state.score, int)\n    assert_type(t.user_state.mood, str)\n    t.state.scor\n"
    )
    with_stubs = typed(tmp_path, "hooks.py")
    assert with_stubs.splitlines() == [
        'hooks.py:13: error: "GoodState" has no attribute "scor"; maybe "score"?  [attr-defined]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]
    for stub in tmp_path.glob("*.pyi"):
        stub.unlink()
    assert typed(tmp_path, "good_behavior.py", "strange_names_behavior.py").startswith("Success: ")
    assert '"scor"' in typed(tmp_path, "hooks.py")


def typed(folder: Path, *files: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            str(REPOSITORY / ".mypy_cache" / "generated"),
            *files,
        ],
        cwd=folder,
        env={"MYPYPATH": str(REPOSITORY / "runtime"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr
