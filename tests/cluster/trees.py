"""Which of our files each image gets. The Containerfile runs this; quick reloads of edited code ask it too.

The sandbox holds the contract, the SDK, the core and its own room: no gateway, no operator, no command line, no evals, no
client library (there is nowhere to connect to), and no metadata from which plugins could be found.
"""

import shutil
import sys
from pathlib import Path, PurePosixPath

IMAGES = ("sandbox", "runtime", "operator", "embedder")
OF_SERVERS = ("rolehost_api/vitals.py",)
"""Of the contract's package, what only processes with a metrics port import."""


def belongs(image: str, path: str) -> bool:
    """Whether a file of the wheel, named from its root, is part of an image.

    >>> [belongs("sandbox", p) for p in ("rolehost/role.py", "rolehost/cli/new.py", "rolehost_runtime/core/engine.py")]
    [True, False, True]
    >>> [belongs("sandbox", p) for p in ("rolehost_runtime/__init__.py", "rolehost_runtime/gateway/app.py")]
    [True, False]
    >>> [belongs(i, "rolehost-1.0.dist-info/entry_points.txt") for i in IMAGES]
    [False, True, True, False]
    >>> [belongs("embedder", f"rolehost_runtime/{p}") for p in ("embedder/minilm.py", "gateway/app.py", "core/engine.py")]
    [True, False, False]
    >>> [belongs(image, "rolehost_api/vitals.py") for image in IMAGES]
    [False, True, True, False]
    """
    if path in OF_SERVERS:
        return image in ("runtime", "operator")
    parts = PurePosixPath(path).parts
    package, inner = parts[0], parts[1] if len(parts) > 2 else ""
    if image == "embedder":
        return package == "rolehost_api" or (package == "rolehost_runtime" and inner in ("", "embedder", "__pycache__"))
    if package in ("rolehost_api", "rolehost"):
        return image != "sandbox" or package != "rolehost" or inner not in ("cli", "client", "evals")
    if package == "rolehost_runtime":
        return image == "runtime" or (image == "sandbox" and inner in ("", "core", "plugins", "sandbox", "__pycache__"))
    if package == "rolehost_operator":
        return image == "operator"
    return package.endswith(".dist-info") and image != "sandbox"


def main() -> None:
    whole, target = Path(sys.argv[1]), Path(sys.argv[2])
    for file in sorted(whole.rglob("*")):
        name = file.relative_to(whole).as_posix()
        for image in IMAGES:
            if file.is_file() and belongs(image, name):
                place = target / image / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, place)


if __name__ == "__main__":
    main()
