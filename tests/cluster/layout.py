"""The OCI layout between the builder and containerd: export, swap the code layer, send what is missing.

A code edit changes the last layer of an image and nothing below it. So the Containerfile is built only when something
else changed; the last layer is then packed here from the working tree, in well under a second, and is all that travels.
"""

import hashlib
import io
import json
import runpy
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

REF = "org.opencontainers.image.ref.name"
Descriptor = Mapping[str, Any]
PACKAGES = ("runtime/rolehost_api", "runtime/rolehost", "runtime/rolehost_runtime", "operator/rolehost_operator")


class Layout:
    """A folder of blobs and the names of the manifests among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def read(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(digest).read_bytes())
        return found

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store bytes; returns the descriptor that names them."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.blob(digest).exists():
            self.blob(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def names(self) -> dict[str, Descriptor]:
        """Name -> descriptor of the manifest."""
        file = self.folder / "index.json"
        index = json.loads(file.read_text()) if file.exists() else {"manifests": []}
        return {entry["annotations"][REF]: entry for entry in index["manifests"] if REF in entry.get("annotations", {})}

    def name(self, name: str, descriptor: Descriptor) -> None:
        """Give a manifest a name, taking it from whatever had it."""
        self._write({**self.names(), name: {**descriptor, "annotations": {REF: name}}})

    def forget(self, name: str) -> None:
        self._write({known: descriptor for known, descriptor in self.names().items() if known != name})

    def _write(self, named: Mapping[str, Descriptor]) -> None:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(named.values())}))

    def blobs_of(self, manifest: Descriptor) -> Iterator[str]:
        """Every digest that an image consists of."""
        yield manifest["digest"]
        content = self.read(manifest["digest"])
        yield content["config"]["digest"]
        for layer in content["layers"]:
            yield layer["digest"]

    def with_last_layer(self, manifest: Descriptor, layer: bytes) -> dict[str, Any]:
        """The same image with other content in its last layer; the same bytes give the same image."""
        content = self.read(manifest["digest"])
        settings = self.read(content["config"]["digest"])
        fresh = self.add(layer, "application/vnd.oci.image.layer.v1.tar")
        settings["rootfs"]["diff_ids"][-1] = fresh["digest"]
        config = self.add(json.dumps(settings).encode(), content["config"]["mediaType"])
        content["layers"][-1], content["config"] = fresh, config
        return self.add(json.dumps(content).encode(), manifest["mediaType"])

    def archive(self, names: Iterable[str], there: set[str], target: Path) -> int:
        """An archive that containerd imports, without the blobs that it has; returns the bytes of blobs in it."""
        known = self.names()
        chosen = [{**known[name], "annotations": {"io.containerd.image.name": name}} for name in names]
        index = {"schemaVersion": 2, "manifests": chosen}
        total = 0
        with tarfile.open(target, "w") as tar:
            for file, text in (("oci-layout", '{"imageLayoutVersion": "1.0.0"}'), ("index.json", json.dumps(index))):
                _add(tar, file, text.encode())
            for digest in dict.fromkeys(digest for manifest in chosen for digest in self.blobs_of(manifest)):
                if digest not in there:
                    tar.add(self.blob(digest), f"blobs/{digest.replace(':', '/')}", recursive=False)
                    total += self.blob(digest).stat().st_size
        return total

    def prune(self) -> None:
        """Remove the blobs that no name leads to: one per edit would add up."""
        kept = {digest for manifest in self.names().values() for digest in self.blobs_of(manifest)}
        for file in (self.folder / "blobs/sha256").iterdir():
            if f"sha256:{file.name}" not in kept:
                file.unlink()


def code_layer(repository: Path, image: str, old_layer: Path) -> bytes:
    """The image's part of the working tree below /app; the wheel's metadata is kept from the built layer.

    Which part that is, the working tree itself says. Order, owners and times are fixed, so that unchanged code gives the layer that the node already has.
    """
    belongs = runpy.run_path(str(repository / "tests/cluster/trees.py"))["belongs"]
    files: dict[str, bytes] = {}
    with tarfile.open(old_layer) as old:
        for entry in old:
            kept = ".dist-info/" in entry.name and belongs(image, entry.name.removeprefix("app/"))
            if kept and entry.isfile() and (taken := old.extractfile(entry)) is not None:
                files[entry.name] = taken.read()
    for package in PACKAGES:
        root = (repository / package).parent
        for file in (repository / package).rglob("*"):
            name = file.relative_to(root).as_posix()
            if file.is_file() and "__pycache__" not in name and belongs(image, name):
                files[f"app/{name}"] = file.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folders = {parent.as_posix() for name in files for parent in Path(name).parents} - {"."}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in sorted(files):
            _add(tar, name, files[name])
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))
