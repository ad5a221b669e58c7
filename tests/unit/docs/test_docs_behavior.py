"""docs/behavior.md: its fault is shown as it says, its prompt is explained as it says, and its tables leave nothing out."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rolehost.cli import main
from rolehost_api.manifest import check
from rolehost_runtime.core.dsl import compiling, graphs, holding, reading, states
from rolehost_runtime.core.dsl.expressions import Facts, checking, compile_value, lexing, macros, operations, parsing
from rolehost_runtime.core.dsl.expressions.checking import _TAKES
from rolehost_runtime.core.dsl.manifests import COMPILER

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "behavior.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(MANIFEST,) = (text for language, text in BLOCKS if language == "yaml")
FAULT, PROMPT = (text for language, text in BLOCKS if not language)


def test_the_fault_is_shown_as_the_page_says() -> None:
    (finding,) = check(MANIFEST.replace("message.size() > 8", "mesage.size() > 8"), compiler=COMPILER)
    assert f"{finding.shown('role.yaml')}\n" == FAULT


def test_the_prompt_is_explained_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "role.yaml").write_text(MANIFEST)
    done = CliRunner().invoke(main, ["explain", "--prompt", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, PROMPT)


def test_the_graph_alone_is_mermaid(tmp_path: Path) -> None:
    (tmp_path / "role.yaml").write_text(MANIFEST)
    done = CliRunner().invoke(main, ["explain", "--graph", str(tmp_path)])
    assert done.exit_code == 0
    assert done.output.startswith("stateDiagram-v2\n")


def test_generated_files_are_held_to_the_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "role.yaml"
    manifest.write_text(MANIFEST)
    assert CliRunner().invoke(main, ["generate", "--check", str(tmp_path)]).exit_code == 1
    assert CliRunner().invoke(main, ["generate", str(tmp_path)]).exit_code == 0
    assert {file.name for file in tmp_path.iterdir()} == {"role.yaml", "tutor_behavior.py", "tutor_behavior.pyi"}
    assert CliRunner().invoke(main, ["generate", "--check", str(tmp_path)]).exit_code == 0
    manifest.write_text(MANIFEST.replace("weight: 0.8", "weight: 0.7"))
    done = CliRunner().invoke(main, ["generate", "--check", str(tmp_path)])
    assert done.exit_code == 1
    assert "tutor_behavior.py is not what the manifest says" in done.output


def test_the_schema_is_printed_for_editors() -> None:
    done = CliRunner().invoke(main, ["generate", "--schema"])
    assert done.output == (REPOSITORY / "docs" / "reference" / "role.schema.json").read_text()


def test_a_manifest_with_faults_is_neither_explained_nor_generated(tmp_path: Path) -> None:
    (tmp_path / "role.yaml").write_text(MANIFEST.replace("to: Praise", "to: Prais"))
    for command in ("explain", "generate", "check"):
        done = CliRunner().invoke(main, [command, str(tmp_path)])
        assert done.exit_code == 1
        assert "Did you mean Praise?" in done.output
        assert "^^^^^" in done.output


def test_every_code_is_on_the_page() -> None:
    """Read off the sources: a code that nobody wrote down is found here."""
    modules = (compiling, graphs, holding, reading, states, checking, lexing, macros, parsing)
    words = "|".join(
        ("unknown", "expression", "type", "not", "never", "unreachable", "contradict", "duplicate", "declared",
         "missing", "empty", "wrong", "out", "invalid", "permission", "budget")
    )  # fmt: skip
    found: set[str] = set()
    for module in modules:
        source = Path(str(module.__file__)).read_text()
        found |= set(re.findall(rf'(?:say|_say|_wrong|Problem|return)\(?\s*"((?:{words})[a-z_]*)"', source))
        found |= set(re.findall(r'code: str = "(\w+)"', source))
    assert len(found) > 15
    assert {code for code in found if f"`{code}`" not in PAGE} == set()


def test_every_function_and_operator_is_on_the_page() -> None:
    conditions = PAGE[PAGE.index("## Conditions") : PAGE.index("## State")].replace("\\|", "|")
    assert set(_TAKES) == set(operations.FUNCTIONS)
    for word in (*operations.FUNCTIONS, *operations.BINARY, "exists", "all", "has"):
        assert word in conditions, word


@pytest.mark.parametrize(
    "value", ["true", "null", "3", "0x1F", "2.5", "'text'", '"text"', r"r'\d'", "'''…'''", "['a', 'b']"]
)
def test_values_on_the_page_are_values(value: str) -> None:
    assert f"`{value}`" in PAGE
    compile_value(value).value(Facts())
