"""A Role as it lies in a checkout: a manifest, and beside it the files of its logic.

`spec.template.logic.entrypoint` without a source means those files. They are packed
without the manifest itself, so that writing the digest into it changes no digest.
"""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rolehost_api import bundle
from rolehost_api.crd.modelbackend import ModelBackend
from rolehost_api.crd.role import Logic, Role
from rolehost_api.errors import BadRequest, Finding, InvalidManifest
from rolehost_api.manifest import load
from rolehost_runtime.core.dsl.manifests import COMPILER

MANIFEST = "role.yaml"


@dataclass(frozen=True, slots=True)
class Packed:
    """The logic's files as they travel."""

    digest: str
    archive: bytes
    """Compressed."""


@dataclass(frozen=True, slots=True)
class Checkout:
    manifest: Path
    text: str
    objects: tuple[Role | ModelBackend | dict[str, Any], ...]

    @property
    def folder(self) -> Path:
        return self.manifest.parent

    @property
    def roles(self) -> list[Role]:
        return [item for item in self.objects if isinstance(item, Role)]

    @property
    def backends(self) -> list[ModelBackend]:
        return [item for item in self.objects if isinstance(item, ModelBackend)]

    @property
    def config_maps(self) -> dict[str, dict[str, str]]:
        """ConfigMaps of the same file, by name: what `personaFrom` and `configMapRef` may name locally."""
        return {
            str(item["metadata"]["name"]): dict(item.get("data") or {})
            for item in self.objects
            if isinstance(item, dict) and item.get("kind") == "ConfigMap" and "name" in (item.get("metadata") or {})
        }


def manifests(path: Path) -> list[Path]:
    """The manifests that `path` means: itself, its role.yaml, or else its *.yaml files."""
    if path.is_file():
        return [path]
    if (path / MANIFEST).is_file():
        return [path / MANIFEST]
    found = sorted(file for file in path.glob("*.y*ml") if file.suffix in (".yaml", ".yml") and file.is_file())
    if not found:
        raise BadRequest(
            f"there is no {MANIFEST} in {path.resolve()}", hint="Start one with `rolehost new NAME`", code="no_manifest"
        )
    return found


def read(manifest: Path) -> Checkout:
    """The checkout of one manifest. Raises InvalidManifest with all of its faults, OSError."""
    text = manifest.read_bytes()
    objects = load(text, str(manifest), local=True, compiler=COMPILER)
    return Checkout(manifest.resolve(), text.decode(), tuple(objects))


def uses_files(logic: Logic | None) -> bool:
    """Whether the logic is the files beside the manifest (pushed before or not)."""
    return logic is not None and bool(logic.entrypoint) and not logic.inline and logic.config_map_ref is None


def pack(checkout: Checkout, role: Role) -> Packed:
    """The files of the Role's logic. Raises InvalidBundle, or InvalidManifest for a missing entrypoint."""
    logic = role.spec.template.logic
    assert logic is not None
    module = logic.entrypoint.partition(":")[0].replace(".", "/")
    folder = checkout.folder
    if not any((folder / name).is_file() for name in (f"{module}.py", f"{module}/__init__.py")):
        finding = Finding(
            "spec.template.logic.entrypoint", f"there is no {module}.py beside the manifest", "Write module:object"
        )
        raise InvalidManifest(str(checkout.manifest), [finding])
    tar = bundle.pack(folder, skip={checkout.manifest.name})
    return Packed(bundle.digest(tar), bundle.compress(tar))


def sources(folder: Path) -> list[Path]:
    """The Python files of the logic."""
    return [
        file
        for file in sorted(folder.rglob("*.py"))
        if not any(part.startswith(".") or part == "__pycache__" for part in file.relative_to(folder).parts)
    ]


def syntax_faults(folder: Path) -> list[str]:
    """`file:line: what is wrong` of Python files that do not even parse. Nothing is run."""
    faults = []
    for file in sources(folder):
        relative = file.relative_to(folder)
        try:
            ast.parse(file.read_bytes(), str(relative))
        except SyntaxError as error:
            faults.append(f"{relative}:{error.lineno or 1}: {error.msg}")
        except (ValueError, RecursionError, MemoryError):
            faults.append(f"{relative}:1: is no Python source that can be read")
    return faults
