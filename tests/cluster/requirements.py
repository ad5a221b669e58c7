"""Writes one requirements file for each image, read from pyproject.toml; the Containerfile runs it.

The sandbox gets of the base dependencies only what decodes and signs the link, and what a behaviour graph is read with
(its compiler walks YAML's nodes, wherever it runs): what is not in the image cannot be
turned against us by role logic.
"""

import re
import sys
import tomllib
from pathlib import Path

IN_SANDBOX = ("msgspec", "pyyaml", "rfc8785")


def requirements(project: dict[str, object]) -> dict[str, list[str]]:
    """Image -> what to install.

    >>> extras = {"sandbox": ["cryptography>=45"], "gateway": ["uvicorn"], "operator": ["kopf"], "embeddings": ["numpy"]}
    >>> wanted = requirements({"dependencies": ["click>=8", "msgspec>=0.20"], "optional-dependencies": extras})
    >>> wanted["sandbox"], wanted["operator"]
    (['msgspec>=0.20', 'cryptography>=45'], ['click>=8', 'msgspec>=0.20', 'kopf'])
    """
    base, extras = project["dependencies"], project["optional-dependencies"]
    assert isinstance(base, list)
    assert isinstance(extras, dict)
    small = [one for one in base if re.split(r"[^\w.-]", one)[0] in IN_SANDBOX]
    return {
        "sandbox": [*small, *extras["sandbox"]],
        "gateway": [*base, *extras["gateway"]],
        "operator": [*base, *extras["operator"]],
        "embedder": [*small, *extras["embeddings"]],
    }


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    project = tomllib.loads(source.read_text())["project"]
    for name, wanted in requirements(project).items():
        (folder / f"{name}.txt").write_text("\n".join(wanted) + "\n")


if __name__ == "__main__":
    main()
