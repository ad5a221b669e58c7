"""docs/tools.md: its Role does what its test says, its fault is shown as it says, and its table leaves no outcome out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rolehost.cli import main
from rolehost.testing import RoleSession
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.manifest import load
from rolehost_runtime.core.dsl.manifests import COMPILER
from rolehost_runtime.core.tooling import TOLD

PAGE = (Path(__file__).parents[3] / "docs" / "tools.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
LOGIC, TEST = (text for language, text in BLOCKS if language == "python")
PART, BACKEND = (text for language, text in BLOCKS if language == "yaml")
ROLE = f"apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {{name: librarian}}\n{PART}"
(FAULT,) = (text for language, text in BLOCKS if not language)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "librarian.py").write_text(LOGIC)
    (tmp_path / "role.yaml").write_text(ROLE)
    return tmp_path


async def test_the_test_of_the_page_passes(folder: Path, role_session: Callable[..., RoleSession]) -> None:
    names: dict[str, Any] = {}
    exec(TEST, names)
    (test,) = (found for name, found in names.items() if name.startswith("test_"))
    await test(lambda name, **options: role_session(str(folder / name), **options))


def test_the_fault_is_shown_as_the_page_says(folder: Path) -> None:
    (folder / "role.yaml").write_text(ROLE.replace(', "tool:find"', ""))
    done = CliRunner().invoke(main, ["check", str(folder)])
    assert done.exit_code == 1
    assert FAULT in done.output


def test_every_outcome_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(TOLD)


def test_the_scripted_model_of_the_page_is_one() -> None:
    (backend,) = load(BACKEND, "page", local=True, compiler=COMPILER)
    assert isinstance(backend, ModelBackend)
    (line,) = backend.spec.script
    assert (line.calls[0].tool, line.calls[0].arguments) == ("find", {"title": "{message}"})
