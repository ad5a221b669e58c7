"""The examples are right as they are committed, and so is what `rolehost new` writes."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rolehost.cli import checkout, main
from rolehost_api.manifest import check
from rolehost_runtime.core.dsl.manifests import COMPILER

EXAMPLES = Path(__file__).parents[3] / "examples"
pytestmark = pytest.mark.timeout(90)


def passes_its_own_tests(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["storyteller", "cat", "lighthouse", "tutor", "diary", "almanac"])
def test_kubectl_could_apply_the_example_as_it_is(name: str) -> None:
    assert check((EXAMPLES / name / "role.yaml").read_text(), compiler=COMPILER) == []


@pytest.mark.parametrize("name", ["storyteller", "diary", "almanac"])
def test_the_digest_in_the_example_is_that_of_its_files(name: str) -> None:
    here = checkout.read(EXAMPLES / name / "role.yaml")
    (role,) = here.roles
    assert role.spec.template.logic is not None
    assert role.spec.template.logic.bundle == checkout.pack(here, role).digest, (
        f"run: rolehost push --no-push --write examples/{name}"
    )


def test_the_lighthouse_is_what_its_card_makes(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["import", str(EXAMPLES / "lighthouse" / "card.png"), str(tmp_path / "again"), "--name", "lighthouse"]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "role.yaml").read_text() == (EXAMPLES / "lighthouse" / "role.yaml").read_text()


def test_the_cat_is_six_lines() -> None:
    assert len((EXAMPLES / "cat" / "role.yaml").read_text().splitlines()) == 6


@pytest.mark.parametrize("name", ["storyteller", "tutor", "diary", "almanac", "lighthouse"])
def test_an_example_passes_its_own_tests(name: str) -> None:
    passes_its_own_tests(EXAMPLES / name)


def test_a_new_role_passes_its_own_test_and_check(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["new", "my-cat", str(tmp_path / "my-cat")]).exit_code == 0
    passes_its_own_tests(tmp_path / "my-cat")
    done = CliRunner().invoke(main, ["check", str(tmp_path / "my-cat")])
    assert (done.exit_code, done.output) == (0, "my-cat: good\n")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("raise ValueError('why')\n", "my_cat.py:1: ValueError: why", id="raises"),
        pytest.param("x = 1\n", "AttributeError", id="no-such-object"),
        pytest.param("my_cat = 5\n", "my_cat:my_cat is int, not a Role", id="not-a-role"),
        pytest.param("import sys\nsys.exit(0)\n", "ends the process", id="exits"),
        pytest.param("import os\nos._exit(3)\n", "exit code 3", id="exits-hard"),
        pytest.param("def f(:\n", "my_cat.py:1: ", id="does-not-parse"),
        pytest.param(
            "from rolehost import Role\nmy_cat = Role('my-cat')\nmy_cat.edge('Idle', 'Explore')\n"
            "@my_cat.enter('Explor')\ndef f(t): ...\n",
            "my_cat.py:4: the graph has no node Explor. Did you mean Explore?",
            id="invented-node",
        ),
    ],
)
def test_check_says_why_logic_does_not_load(code: str, told: str, tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new", "my-cat", str(tmp_path / "my-cat")])
    (tmp_path / "my-cat" / "my_cat.py").write_text(code)
    done = CliRunner().invoke(main, ["check", str(tmp_path / "my-cat")])
    assert done.exit_code == 1
    assert told in done.output


def test_check_refuses_what_the_manifest_does_not_grant(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new", "my-cat", str(tmp_path / "my-cat")])
    code = (
        "from rolehost import Role\nmy_cat = Role('my-cat')\n@my_cat.on_message\n"
        "async def a(t):\n    await t.memory.recall('x')\n    await t.memory.forget('x')\n"
    )
    (tmp_path / "my-cat" / "my_cat.py").write_text(code)
    (tmp_path / "my-cat" / "my_dog.py").write_text(code.replace("cat", "dog"))
    done = CliRunner().invoke(main, ["check", str(tmp_path / "my-cat")])
    assert done.exit_code == 1
    assert "my_dog" not in done.output, "it is another Role's"
    assert "my_cat.py:6:11: t.memory.forget: needs the permission memory.forget [permission_missing]" in done.output
    assert "memory.read" not in done.output


def test_a_command_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    """As on a base install: the packages of the extra cannot be imported."""
    blocked = "import sys\nfor name in ('uvicorn', 'watchfiles', 'kopf'):\n    sys.modules[name] = None\n"
    script = blocked + "from rolehost.cli import main\nmain(['dev'])\n"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'rolehost[dev]'" in done.stderr
    assert "Traceback" not in done.stderr
