"""`rolehost new` writes a Role that the check accepts, whatever its name."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rolehost.cli import checkout, main
from rolehost.cli.check import faults_of
from rolehost.cli.new import contents, identifier
from rolehost_api import bundle
from rolehost_api.manifest import check


@pytest.mark.parametrize(
    "name", ["cat", "my-cat", "y", "1e3", "7up", "class", "json", "true", "null", "123", "test", "x" * 63]
)
def test_every_name_gives_files_that_are_right(name: str) -> None:
    files = contents(name)
    assert check(files["role.yaml"], local=True) == []
    word = identifier(name)
    assert word.isidentifier()
    compile(files[f"{word}.py"], word, "exec")
    assert f"test_{word}.py" in files


def test_a_new_role_passes_its_own_check(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["new", "my-cat", str(tmp_path / "cat")])
    assert done.exit_code == 0, done.output
    here = checkout.read(tmp_path / "cat" / "role.yaml")
    assert checkout.pack(here, here.roles[0]).digest.startswith("sha256:")
    assert checkout.syntax_faults(here.folder) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "role.yaml").write_text("mine")
    done = CliRunner().invoke(main, ["new", "cat", str(tmp_path)])
    assert done.exit_code == 1
    assert "already there" in done.output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["role.yaml"]


@pytest.mark.parametrize("name", ["Cat", "ca t", "", "../x", "-", "a.b", "x" * 64])
def test_a_name_that_kubernetes_would_refuse_is_refused_here(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["new", "--", name, str(tmp_path / "x")])
    assert done.exit_code == 1
    assert "Error:" in done.output
    assert not (tmp_path / "x").exists()


def test_the_manifest_is_not_part_of_its_own_bundle(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new", "cat", str(tmp_path)])
    here = checkout.read(tmp_path / "role.yaml")
    packed = checkout.pack(here, here.roles[0])
    assert bundle.inspect(packed.archive).files == ("cat.py", "test_cat.py")


def test_a_file_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new", "cat", str(tmp_path)])
    (tmp_path / "cat.py").write_text("x = 1\ndef f(:\n")
    here = checkout.read(tmp_path / "role.yaml")
    (fault,) = faults_of(here, here.roles[0])
    assert fault.startswith("cat.py:2: ")


def test_an_entrypoint_without_a_file_names_the_file(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["new", "cat", str(tmp_path)])
    (tmp_path / "cat.py").unlink()
    here = checkout.read(tmp_path / "role.yaml")
    (fault,) = faults_of(here, here.roles[0])
    assert "there is no cat.py beside the manifest" in fault


def test_a_folder_without_a_manifest_says_how_to_start(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert done.exit_code == 1
    assert "rolehost new NAME" in done.output


def test_the_help_lists_commands_of_other_rooms_without_importing_them() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    for command in ("new", "deploy", "dev", "operator", "gateway"):
        assert f"\n  {command} " in done.output
