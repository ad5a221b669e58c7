"""Writes what is rendered: `python -m rolehost_dashboards.render [--check] [--root .]`.

`--check` writes nothing and exits 1 where a file is not what the code says, or lies in `dashboards/generated` and is
rendered by nobody.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rolehost_dashboards import boards, rules

GENERATED = Path("dashboards/generated")
PARTS: tuple[Callable[[], Mapping[Path, str]], ...] = (rules.rendered, boards.rendered)
"""Each gives its files by their path under the repository's root."""


def rendered() -> dict[Path, str]:
    """Every rendered file. Raises ValueError where two parts render the same one."""
    files: dict[Path, str] = {}
    for part in PARTS:
        for path, text in part().items():
            if path in files:
                raise ValueError(f"{path} is rendered twice")
            files[path] = text
    return files


def stale(files: Mapping[Path, str], root: Path) -> list[Path]:
    """What has to be written."""
    return [path for path, text in files.items() if not _same(root / path, text)]


def orphans(files: Mapping[Path, str], root: Path) -> list[Path]:
    """What lies among the generated files and is rendered by nobody."""
    there = (path.relative_to(root) for path in (root / GENERATED).rglob("*") if path.is_file())
    return sorted(path for path in there if path not in files)


def _same(target: Path, text: str) -> bool:
    return target.is_file() and target.read_text(encoding="utf-8") == text


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rolehost_dashboards.render", description="Render rules and dashboards."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository's root")
    options = parser.parse_args(arguments)
    files = rendered()
    wrong, left = stale(files, options.root), orphans(files, options.root)
    for path in wrong:
        if not options.check:
            target = options.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path], encoding="utf-8")
        print(f"{path} is not what the code says; run `make render`" if options.check else f"wrote {path}")
    for path in left:
        if not options.check:
            (options.root / path).unlink()
        print(f"{path} is rendered by nobody; run `make render`" if options.check else f"removed {path}")
    return 1 if options.check and (wrong or left) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
