"""The package as a tenant has it: a wheel in a fresh environment, an empty folder, no repository."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.integration.package.venvs import REPOSITORY, Environment, environment, wheel
from tests.support.talk import talk

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def dev(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """After `pip install 'rolehost[dev]'`."""
    return environment(tmp_path_factory.mktemp("dev"), built, "dev")


@pytest.fixture(scope="module")
def base(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """After `pip install rolehost`."""
    return environment(tmp_path_factory.mktemp("base"), built)


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(built: Path) -> None:
    held = set(ZipFile(built).namelist())
    sources = {
        str(below)
        for room in (REPOSITORY / "runtime", REPOSITORY / "operator")
        for file in room.rglob("*")
        if file.is_file() and not _left_out(below := file.relative_to(room))
    }
    packaged = {name for name in held if ".dist-info/" not in name}
    assert packaged == sources
    assert {name.split("/")[0] for name in packaged} == {
        "rolehost",
        "rolehost_api",
        "rolehost_operator",
        "rolehost_runtime",
    }
    page = "rolehost_runtime/gateway/edge/page"
    assert packaged >= {
        f"{page}/index.html",
        f"{page}/app.js",
        f"{page}/panes.js",
        f"{page}/underneath.js",
        f"{page}/style.css",
        f"{page}/rolehost.js",
        "rolehost/py.typed",
    }
    assert any(name.endswith("/licenses/LICENSE") for name in held)


def _left_out(file: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in file.parts)


def test_from_new_to_an_answer_in_an_empty_folder(dev: Environment, tmp_path: Path) -> None:
    where = dev.run("python", "-c", "import rolehost_runtime; print(rolehost_runtime.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(dev.site)), where.stdout + where.stderr
    new = dev.run("rolehost", "new", "cat", cwd=tmp_path)
    assert new.returncode == 0, new.stderr
    cat = tmp_path / "cat"
    assert dev.run("rolehost", "check", ".", cwd=cat).stdout == "cat: good\n"
    for command in (("pytest",), ("rolehost", "test")):
        tested = dev.run(*command, cwd=cat)
        assert tested.returncode == 0, tested.stdout + tested.stderr
        assert "1 passed" in tested.stdout
    with _serving(dev, cat) as port, talk(f"ws://127.0.0.1:{port}/role/Cat", session_id="abc123") as person:
        done = person.say("hello from an empty folder")
        assert "hello from an empty folder" in done["message"]
        assert done["status"] == "completed"


@contextmanager
def _serving(installed: Environment, folder: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [str(installed.folder / "bin/rolehost"), "dev", "--port", "0", "--model", "scripted"],
        cwd=folder,
        env={**installed.variables, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"page +http://localhost:(\d+)", line):
                yield int(found.group(1))
                break
        else:
            raise AssertionError("".join(said))
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_the_base_install_is_light_and_says_what_is_missing(base: Environment, tmp_path: Path) -> None:
    assert base.run("rolehost", "--help", cwd=tmp_path).returncode == 0
    assert base.run("rolehost", "new", "cat", cwd=tmp_path).returncode == 0
    assert base.run("rolehost", "check", "cat", cwd=tmp_path).stdout == "cat: good\n"
    imported = base.run("python", "-c", "import sys, rolehost.client; print(*sys.modules)", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert not {"aiohttp", "click", "cryptography", "fastapi", "kopf", "yaml"} & set(imported.stdout.split())
    for command in ("chat", "logs", "push", "deploy", "keys", "tenants"):
        helped = base.run("rolehost", command, "--help", cwd=tmp_path)
        assert helped.returncode == 0, helped.stderr
    planned = base.run("rolehost", "plan", str(REPOSITORY / "examples/cat/role.yaml"), cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    for command, line in (
        ("dev", "pip install 'rolehost[dev]'"),
        ("gateway", "pip install 'rolehost[gateway]'"),
        ("sandbox", "pip install 'rolehost[sandbox]'"),
        ("test", "pip install pytest"),
    ):
        refused = base.run("rolehost", command, cwd=tmp_path)
        assert refused.returncode == 1
        assert line in refused.stderr
        assert "Traceback" not in refused.stderr


def test_what_a_tenant_imports_is_typed(dev: Environment, tmp_path: Path) -> None:
    """A type checker that looks at the installed package, not at the repository."""
    dev.run("rolehost", "new", "cat", cwd=tmp_path)
    argv = ("-m", "mypy", "--strict", "--python-executable", str(dev.folder / "bin/python"), "cat.py")
    done = subprocess.run(
        [sys.executable, *argv], cwd=tmp_path / "cat", capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout
