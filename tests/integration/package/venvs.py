"""Environments that hold the built wheel, what it says that it needs, and nothing else.

What is needed lies in this environment already and is only linked, so that it is quick and
asks no index; but each link is there because the wheel's own metadata asked for it.
"""

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from zipfile import Path as ZipPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Environment:
    """A venv with the wheel in it, and a home folder that holds nothing."""

    folder: Path
    site: Path
    """Where its packages are."""

    @property
    def variables(self) -> dict[str, str]:
        """Of a person who has just logged in and activated it."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            cwd=cwd,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def wheel(into: Path) -> Path:
    """Build the wheel as anybody would, by its own build backend."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(into), str(REPOSITORY)], check=True, capture_output=True, timeout=120)
    (built,) = into.glob("*.whl")
    return built


def environment(folder: Path, built: Path, *extras: str) -> Environment:
    """A fresh venv in `folder` in which `pip install 'rolehost[extras]'` was done."""
    venv.create(folder, with_pip=False)
    made = Environment(
        folder, folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    )
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-compile", str(built)], check=True, capture_output=True, timeout=120)
    needed = _needed(_of_wheel(built), extras)
    for one in needed:
        _link(one, made.site)
    if "pytest" in {one.name for one in needed}:
        script = folder / "bin/pytest"
        script.write_text(f"#!{folder}/bin/python\nimport pytest\nraise SystemExit(pytest.console_main())\n")
        script.chmod(0o755)
    return made


def _of_wheel(built: Path) -> Distribution:
    name, version, *_ = built.name.split("-")
    return PathDistribution(ZipPath(str(built)) / f"{name}-{version}.dist-info")


def _needed(root: Distribution, extras: tuple[str, ...]) -> list[Distribution]:
    """Everything that `root[extras]` asks for, directly or not."""
    own = canonicalize_name(root.name)
    found: dict[str, Distribution] = {}
    asked: list[tuple[Distribution, str]] = [(root, extra) for extra in ("", *extras)]
    seen: set[tuple[str, str]] = set()
    while asked:
        of, extra = asked.pop()
        if (of.name, extra) in seen:
            continue
        seen.add((of.name, extra))
        for requirement in map(Requirement, of.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            name = canonicalize_name(requirement.name)
            wanted = root if name == own else found.setdefault(name, distribution(name))
            asked += [(wanted, more) for more in ("", *requirement.extras)]
    return list(found.values())


def _link(needed: Distribution, site: Path) -> None:
    tops = {Path(file.parts[0]) for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        target = Path(str(needed.locate_file(top)))
        if target.exists() and not (site / top).exists():
            os.symlink(target, site / top)
