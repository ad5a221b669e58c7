"""The sandbox's image holds all that its code imports: its files and its list of packages, and nothing else of ours."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from tests.cluster.requirements import requirements
from tests.cluster.trees import belongs

REPOSITORY = Path(__file__).parents[3]

IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path[:0] = sys.argv[1:]
left_out = ("rolehost.testing", "rolehost_runtime.sandbox.__main__", "rolehost_runtime.sandbox.commands")  # of tenants, run
import rolehost, rolehost_api, rolehost_runtime.core, rolehost_runtime.sandbox
count = 0
for package in (rolehost, rolehost_api, rolehost_runtime.core, rolehost_runtime.sandbox):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name not in left_out:
            importlib.import_module(found.name)
            count += 1
print(count)
"""


def _whole(name: str) -> set[str]:
    """A distribution and all that it needs."""
    found, wanted = set[str](), [name]
    while wanted:
        name = wanted.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        for need in metadata.requires(name) or ():
            if ";" not in need or ("extra" not in need and "python_version" not in need):
                wanted.append(re.split(r"[^\w.-]", need)[0])
    return found


def test_everything_that_a_pod_imports_is_in_its_image(tmp_path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    packages, code = tmp_path / "packages", tmp_path / "code"
    packages.mkdir()
    listed = [re.split(r"[^\w.-]", one)[0] for one in requirements(project)["sandbox"]]
    for name in {one for each in listed for one in _whole(each)}:
        for file in metadata.files(name) or ():
            top = packages / file.parts[0]
            if ".." not in file.parts and not top.exists() and not file.parts[0].endswith(".dist-info"):
                top.symlink_to(
                    Path(str(file.locate())).parents[len(file.parts) - 2] if file.parts[1:] else file.locate()
                )
    runtime = REPOSITORY / "runtime"
    for source in runtime.rglob("*.py"):
        name = source.relative_to(runtime).as_posix()
        if belongs("sandbox", name):
            place = code / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(code), str(packages)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
